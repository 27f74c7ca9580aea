"""Describes the node classes of a pack as JSON, with the reason for each that does not run. For a pack's process."""

import dis
import inspect
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from latentloom.plugins.comfyui.bridge.missing import ROOTS, STAND_IN, Missing, MissingModule, MissingName, name_of
from latentloom.plugins.comfyui.bridge.schemas import MANY, Autogrow, ComfyNode, DynamicCombo
from latentloom.plugins.comfyui.bridge.standins import FileNames
from latentloom.plugins.comfyui.bridge.type_names import DEEP

DEPTH = 3  # levels of called functions that are searched for missing names
OPTIONS = ("default", "min", "max", "step", "multiline", "tooltip", "control_after_generate", "lazy")


def described(name: str, cls: Any, display: str) -> dict[str, Any]:
    """Return the description of a class; `missing` is why it does not run, or empty."""
    try:
        found = _schema(cls) if isinstance(cls, type) and issubclass(cls, ComfyNode) else _v1(cls)
    except MissingName as error:
        return {"class": name, "missing": f"needs {error}"}
    except Exception as error:
        return {"class": name, "missing": f"cannot be described: {type(error).__name__}: {error}"}
    found |= {"class": name, "title": display or name, "files": _reads_files(cls, found["inputs"])}
    return {**found, "missing": _reason(cls, found)}


def _v1(cls: Any) -> dict[str, Any]:
    inputs = cls.INPUT_TYPES()
    ports = [
        _port(str(name), declared, section == "optional")
        for section in ("required", "optional")
        for name, declared in (inputs.get(section) or {}).items()
    ]
    returns = [_type(one) for one in getattr(cls, "RETURN_TYPES", ())]
    lists = [bool(one) for one in getattr(cls, "OUTPUT_IS_LIST", ())]
    return {
        "category": str(getattr(cls, "CATEGORY", "")), "help": str(getattr(cls, "DESCRIPTION", "") or ""),
        "inputs": ports, "hidden": {str(name): _word(kind) for name, kind in (inputs.get("hidden") or {}).items()},
        "returns": returns, "lists": (lists + [False] * len(returns))[: len(returns)],
        "names": _names(getattr(cls, "RETURN_NAMES", ())), "asks": hasattr(cls, "check_lazy_status"),
        "takes_lists": bool(getattr(cls, "INPUT_IS_LIST", False)), "output": bool(getattr(cls, "OUTPUT_NODE", False)),
        "changes": hasattr(cls, "IS_CHANGED"), "function": str(cls.FUNCTION),
    }  # fmt: skip


def _names(given: Any) -> list[str]:
    return [given] if isinstance(given, str) else [str(one) for one in given or ()]


def _schema(cls: Any) -> dict[str, Any]:
    schema = cls.define_schema()
    ports = [port for one in schema.inputs for port in v3_ports(one)]
    return {
        "category": str(schema.category), "help": str(schema.description or ""), "inputs": ports,
        "hidden": {_word(kind).lower(): _word(kind) for kind in schema.hidden or ()},
        "returns": [one.type for one in schema.outputs], "lists": [one.is_list for one in schema.outputs],
        "names": [str(one.name) for one in schema.outputs], "takes_lists": schema.is_input_list,
        "output": schema.is_output_node, "changes": hasattr(cls, "fingerprint_inputs"), "function": "execute",
        "fresh": schema.not_idempotent, "asks": hasattr(cls, "check_lazy_status"),
    }  # fmt: skip


def v3_ports(port: Any, before: str = "", *, optional: bool = False) -> list[dict[str, Any]]:
    """Return the ports of an input. One that adds inputs has a port for each of them, named "input.added"."""
    if name_of(port) is not None:
        raise MissingName(name_of(port))
    name, optional = f"{before}{port.id}", optional or port.optional
    if isinstance(port, Autogrow):
        one, names, least = port.template
        several = [(f"{name}.{sub}", optional or n >= least) for n, sub in enumerate(names)]
        return [_v3_port(one, sub, free) for sub, free in several]
    ports = [_v3_port(port, name, optional)]
    if isinstance(port, DynamicCombo):
        added = [
            made for more in port.added.values() for one in more for made in v3_ports(one, f"{name}.", optional=True)
        ]
        ports += _merged(added)
    return ports


def _merged(ports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one port for each name. Where several choices add one name in different ways, any value is taken."""
    found: dict[str, dict[str, Any]] = {}
    for port in ports:
        same = found.setdefault(port["name"], port)
        if same != port:
            kind = port["type"] if port["type"] == same["type"] != "COMBO" else "*"
            found[port["name"]] = {**same, "type": kind, "choices": None, "options": {}}
    return list(found.values())


def _v3_port(port: Any, name: str, optional: bool) -> dict[str, Any]:
    if name_of(port) is not None:
        raise MissingName(name_of(port))
    choices = port.list_options
    listed = isinstance(choices, list) and port.type != MANY
    return _port(name, (choices if listed else port.type, port.options), optional)


def _port(name: str, declared: Any, optional: bool) -> dict[str, Any]:
    parts = declared if isinstance(declared, (tuple, list)) and declared else (declared,)
    kind, options = parts[0], parts[1] if len(parts) > 1 and isinstance(parts[1], dict) else {}
    if kind == "COMBO" and isinstance(options.get("options"), (list, tuple)):
        kind = options["options"]
    choices = None
    if isinstance(kind, (list, tuple)):
        choices = None if isinstance(kind, FileNames) else [str(one) for one in kind]
        files, kind = isinstance(kind, FileNames), "COMBO"
    else:
        files, kind = False, _type(kind)
    plain = {key: options[key] for key in OPTIONS if isinstance(options.get(key), (bool, int, float, str))}
    return {"name": name, "type": kind, "choices": choices, "files": files, "optional": optional, "options": plain}


def _type(declared: Any) -> str:
    if isinstance(declared, (list, tuple)):
        return "COMBO"
    if name_of(declared) is not None:
        raise MissingName(name_of(declared))
    return str(declared)


def _word(kind: Any) -> str:
    return str(getattr(kind, "value", kind))


def _reads_files(cls: Any, inputs: list[dict[str, Any]]) -> bool:
    """Whether a class reads files that its inputs only name: it, or its module, uses folder_paths."""
    module = sys.modules.get(cls.__module__)
    paths = sys.modules.get("folder_paths")
    return any(port["files"] for port in inputs) or any(value is paths for value in vars(module or object()).values())


def _reason(cls: Any, found: dict[str, Any]) -> str:
    deep = [port["type"] for port in found["inputs"] if port["type"] in DEEP and not port["optional"]]
    deep += [kind for kind in found["returns"] if kind in DEEP]
    if deep:
        return f"takes or gives {', '.join(sorted(set(deep)))}, which stays in ComfyUI's process"
    wanted = [kind for kind in found["hidden"].values() if kind not in ("UNIQUE_ID", "PROMPT", "EXTRA_PNGINFO")]
    if wanted:
        return f"needs {', '.join(wanted)}, which is not here"
    names = sorted(set(_missing(cls)))
    return f"needs {', '.join(names)}" if names else ""


def _missing(cls: Any) -> Iterator[str]:
    """Yield the missing names that the methods of a class use, directly or in functions that they call."""
    seen: set[int] = set()
    for base in cls.__mro__[:-1]:
        missing = name_of(base) if base.__name__ == STAND_IN else None
        if missing is not None:
            yield missing
            continue
        yield from _used_by(base, seen, DEPTH)


def _used_by(cls: type, seen: set[int], depth: int) -> Iterator[str]:
    for member in vars(cls).values():
        function = getattr(member, "__func__", member)
        if isinstance(function, FunctionType):
            yield from _used(function, seen, depth)


def _used(function: FunctionType, seen: set[int], depth: int) -> Iterator[str]:
    if id(function) in seen:
        return
    seen.add(id(function))
    for thing in _globals(function.__code__, dict(function.__globals__)):
        missing = name_of(thing)
        if missing is not None:
            yield missing
        elif depth and isinstance(thing, (FunctionType, MethodType)):
            inner: Any = getattr(thing, "__func__", thing)
            yield from _used(inner, seen, depth - 1)
        elif depth and isinstance(thing, type) and inspect.getmodule(thing) is not None and _own(thing):
            yield from _used_by(thing, seen, depth - 1)


def _own(thing: type) -> bool:
    """Whether a class is of a pack: not of an installed library, and not a stand-in."""
    return str(getattr(sys.modules.get(thing.__module__), "__package__", "")).startswith("loom_pack")


def _globals(code: CodeType, names: dict[str, Any]) -> Iterator[Any]:
    """Yield the objects that code reaches from global names through attributes of modules and missing names."""
    thing: Any = None
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield thing
            thing = names.get(step.argval)
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and isinstance(thing, (ModuleType, Missing)):
            standin = isinstance(thing, (MissingModule, Missing))
            thing = getattr(thing, step.argval, None) if standin or step.argval in vars(thing) else None
        elif step.opname in ("IMPORT_NAME", "IMPORT_FROM"):
            yield thing
            thing = _imported(step.argval, thing) if step.opname == "IMPORT_NAME" else getattr(thing, step.argval, None)
        elif step.opname not in ("CACHE", "PUSH_NULL"):
            yield thing
            thing = None
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals(constant, names)


def _imported(name: str, _: Any) -> Any:
    module = sys.modules.get(name)
    return module if isinstance(module, MissingModule) else Missing(name) if _is_theirs(name) else None


def _is_theirs(name: str) -> bool:
    return bool(name) and name.partition(".")[0] in ROOTS
