"""The functions of node types that a pack brings. A type's function is named by what it needs to be called.

`calls:c_HEX`, where HEX is JSON: [pack, model folders, input folder, time limit, description of the class]. So a spec
refers to no state of this process.
"""

import atexit
import json
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from latentloom.engine.errors import BadValueError
from latentloom.engine.types.absent import Absent
from latentloom.engine.types.context import Context
from latentloom.engine.types.node import Definition
from latentloom.engine.types.spec import NodeSpec
from latentloom.engine.types.values import Image, Latent, Mask
from latentloom.plugins.isolation.frames import Message
from latentloom.plugins.isolation.process import Hear, Process, ProcessError, Program, python

CONTEXT = "loom context"  # no class has an input of this name
PREFIX = "c_"
PROGRAM = "latentloom.plugins.comfyui.bridge.child"


class PackError(ProcessError):
    """A pack's code failed, its process ended, or it ran too long."""

    code = "pack_failed"


def target(pack: str, models: Sequence[str], input: str, seconds: float, described: Mapping[str, Any]) -> str:
    """Return the reference to the function of a class."""
    data = json.dumps([pack, list(models), input, seconds, dict(described)])
    return f"{__name__}:{PREFIX}{data.encode().hex()}"


def __getattr__(name: str) -> Any:
    """Return the function for a reference of this module."""
    if not name.startswith(PREFIX):
        raise AttributeError(name)
    return _function(name)


@cache
def _function(name: str) -> Any:
    pack, models, input, seconds, described = json.loads(bytes.fromhex(name.removeprefix(PREFIX)))
    process = process_of(pack, tuple(models), input, seconds)
    return PackFunction(process, described)


@cache
def process_of(pack: str, models: tuple[str, ...], input: str, seconds: float) -> Process:
    """Return the process of a pack; there is one for all of its classes."""
    path = Path(pack)
    made = Process(
        Program(
            name=f"the pack '{path.name}'",
            command=(*python(PROGRAM), pack, input, *models),
            seconds=seconds,
            hint="raise the setting comfy_pack_seconds, if the class needs longer",
            error=PackError,
            folder=path if path.is_dir() else path.parent,
        )
    )
    atexit.register(made.end)
    return made


def ask(process: Process, body: dict[str, Any], arrays: Sequence[Any] = (), *watch: Any) -> Message:
    """Send a message to a pack and return the answer. `watch`: see `Process.ask`. Raises PackError."""
    answer = process.ask(body, arrays, *watch)
    if answer.body["is"] == "error":
        place, module = answer.body.get("where"), answer.body.get("module")
        hint = f"install the module {module} where Latentloom is installed" if module else None
        raise PackError(answer.body["message"] + (f" ({place})" if place else ""), hint=hint)
    return answer


def _progress(ctx: Context) -> Hear:
    return lambda message: ctx.progress(message.body["step"], max(1, message.body["total"]))


class PackFunction:
    """Calls a class in the process of its pack."""

    def __init__(self, process: Process, described: Mapping[str, Any]) -> None:
        self._process = process
        self._described = described
        external = described["changes"] and not described["output"]
        self.__loom_node__ = Definition(
            NodeSpec(type=described["class"], version=1, function=""),  # the ports are in the registry's spec
            self,
            needs=self.needs if lazy_ports(described) else None,
            fingerprint=self.fingerprint if external else None,
        )

    def __call__(self, **given: Any) -> Any:
        """Run the class. Raises PackError, Cancelled."""
        ctx: Context = given.pop(CONTEXT)
        with tempfile.TemporaryDirectory(prefix="loom-pack-") as keep:
            answer = self._ask("run", given, ctx, keep if self._described["output"] else "")
            for name in answer.body["files"]:
                stem, dot, suffix = name.rpartition(".")
                template = f"{stem}_{{counter}}.{suffix}" if dot else f"{name}_{{counter}}"
                ctx.save("bytes", Path(keep, name).read_bytes(), template)
        for text in answer.body["texts"]:
            ctx.progress(1, 1, message=text)
        values = tuple(_taken(value, answer.arrays) for value in answer.body["outputs"])
        return values if len(values) > 1 else values[0] if values else None

    def fingerprint(self, **given: Any) -> Any:
        """Return what the class says of the world outside; a new text if it always changes. Raises PackError."""
        body = {"is": "fingerprint", "class": self._described["class"], "inputs": given}
        found = ask(self._process, body).body["value"]
        return secrets.token_hex(16) if found is None else found

    def needs(self, **given: Any) -> list[str]:
        """Return the lazy inputs that the class wants. Raises PackError."""
        arrays: list[Any] = []
        body = {"is": "lazy", "class": self._described["class"], "inputs": self._inputs(given, arrays)}
        answer = ask(self._process, {**body, "lazy": lazy_ports(self._described)}, arrays)
        return list(answer.body["names"])

    def _inputs(self, given: Mapping[str, Any], arrays: list[Any]) -> dict[str, Any]:
        described = self._described
        names = [port["name"] for port in described["inputs"] if given.get(port["name"]) is not None]
        sent = {name: _sent(given[name], arrays) for name in names}
        return {name: [value] if _wrapped(described, given[name]) else value for name, value in sent.items()}

    def _ask(self, what: str, given: Mapping[str, Any], ctx: Context, keep: str) -> Any:
        arrays: list[Any] = []
        described = self._described
        inputs = self._inputs(given, arrays)
        inputs = {**dict.fromkeys(name for name in lazy_ports(described, required=True)), **inputs}
        hidden: dict[str, Any] = {"UNIQUE_ID": ctx.node, "PROMPT": {}, "EXTRA_PNGINFO": {"workflow": {"nodes": []}}}
        if described["takes_lists"]:
            hidden = {name: [value] for name, value in hidden.items()}
        body = {"is": what, "inputs": inputs, "hidden": hidden, "node": ctx.node, "keep": keep}
        types = {port["name"]: port["type"] for port in described["inputs"]}
        body |= {"wants": described["hidden"], "lazy": lazy_ports(described), "types": types} | {
            name: described[name] for name in ("class", "function", "returns", "lists")
        }
        return ask(self._process, body, arrays, ctx.check, _progress(ctx))


def lazy_ports(described: Mapping[str, Any], *, required: bool = False) -> list[str]:
    """Return the inputs that are computed only if the class asks for them."""
    lazy = [port for port in described["inputs"] if port["options"].get("lazy") and described.get("asks")]
    return [port["name"] for port in lazy if not (required and port["optional"])]


def _wrapped(described: Mapping[str, Any], value: Any) -> bool:
    return bool(described["takes_lists"]) and type(value) is not list


def _sent(value: Any, arrays: list[Any]) -> Any:
    """Return a value as JSON and append its arrays. Raises BadValueError for other values than these."""
    if type(value) is list:
        return [_sent(item, arrays) for item in value]
    parts = []
    if isinstance(value, Image | Mask):
        parts = [value.numpy()]
    elif isinstance(value, Latent):
        parts = [value.numpy(), *([value.noise_mask.numpy()] if value.noise_mask else [])]
    elif value is not None and type(value) not in (bool, int, float, str, dict):
        raise BadValueError(f"a {getattr(value, 'kind', type(value).__name__)} cannot go to a pack")
    elif type(value) is dict:
        return {"is": "JSON", "value": value}
    else:
        return value
    first = len(arrays)
    arrays += parts
    return {"is": value.kind, "arrays": list(range(first, len(arrays)))}


def _taken(value: Any, arrays: list[Any]) -> Any:
    """Return the value for an output."""
    if type(value) is list:
        return [_taken(item, arrays) for item in value]
    if type(value) is dict and value.get("is") == "absent":
        why = f": {value['message']}" if value["message"] else ""
        return Absent(f"the class stops the nodes that use this output{why}")
    if type(value) is not dict or "arrays" not in value:
        return value
    parts = [arrays[index] for index in value["arrays"]]
    if value["is"] == "LATENT":
        return Latent(parts[0], Mask(parts[1]) if len(parts) > 1 else None)
    return Image(parts[0]) if value["is"] == "IMAGE" else Mask(parts[0])
