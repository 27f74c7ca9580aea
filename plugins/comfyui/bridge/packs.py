"""Registers the packs in a folder: a node type for each class that runs, and a reason for each that does not.

Scanning a pack runs its code, in its own process, once for each version of the code; the result is kept on disk.
"""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from latentloom.engine.errors import LoomError
from latentloom.engine.files.code_files import CodeFiles
from latentloom.engine.files.partial import partial_path
from latentloom.engine.keys import digest
from latentloom.engine.settings import Settings
from latentloom.engine.types.registry import Distribution, NodeType, Registration
from latentloom.engine.types.spec import ANY, MAX_SEED, InputSpec, NodeSpec, OutputSpec, Purity
from latentloom.plugins.code import site_stamp, tree_code
from latentloom.plugins.comfyui.bridge.calls import CONTEXT, ask, lazy_ports, process_of, target
from latentloom.plugins.comfyui.bridge.schemas import MANY
from latentloom.plugins.comfyui.bridge.type_names import DEEP
from latentloom.plugins.isolation.process import Process
from latentloom.plugins.sources import Reading

SCHEMA = 2
KINDS = {
    "IMAGE": "IMAGE", "MASK": "MASK", "LATENT": "LATENT", "INT": "INT", "FLOAT": "FLOAT", "STRING": "STRING",
    "BOOLEAN": "BOOLEAN", "COMBO": "CHOICE", MANY: "JSON",
}  # fmt: skip
LIBRARIES = ("numpy", "pillow", "scipy", "opencv-python", "opencv-python-headless", "scikit-image")
SEEDS = ("seed", "noise_seed")
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Packs(NamedTuple):
    """Where packs are, and what their processes need."""

    folder: Path
    scans: Path  # where descriptions are kept
    models: tuple[Path, ...]
    input: Path
    seconds: float


class Pack(NamedTuple):
    """A pack: its registration, and why each other class does not run. `error`: why the whole pack does not."""

    name: str
    registration: Registration | None
    reasons: Mapping[str, str]
    error: str | None = None
    seconds: float = 0.0


def packs_of(settings: Settings) -> Packs | None:
    """Return the packs of the settings; None if no folder is set."""
    if settings.comfy_packs is None:
        return None
    scans = settings.data / "specs"
    return Packs(settings.comfy_packs, scans, settings.models, settings.input, settings.comfy_pack_seconds)


def found_in(packs: Packs, *, imports: bool) -> Iterator[Pack | str]:
    """Yield the packs in the folder by name. With `imports=False` a pack that was not scanned is only named."""
    taken: set[str] = set()
    for path in _paths(packs.folder):
        begin = perf_counter()
        pack = _pack(packs, path, taken, imports=imports)
        yield pack if isinstance(pack, str) else pack._replace(seconds=perf_counter() - begin)


def _paths(folder: Path) -> list[Path]:
    """Return the packs: folders with an __init__.py, and single modules."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    visible = [path for path in entries if not path.name.startswith((".", "_")) and not path.name.endswith(".disabled")]
    return [path for path in visible if path.suffix == ".py" or (path / "__init__.py").is_file()]


def _pack(packs: Packs, path: Path, taken: set[str], *, imports: bool) -> Pack | str:
    code, files = _code(path)
    place = packs.scans / f"pack-{digest(str(path), code)[:32]}.json"
    known = _read(place, code)
    if known is None and not imports:
        return path.name
    if known is None:
        known = _scanned(packs, path)
        _write(place, code, known)
    if isinstance(known, str):
        return Pack(path.name, None, {}, known)
    return _registered(
        packs, path, Distribution(path.name, "1", f"comfyui/{path.name}", code, files=files), known, taken
    )


def _scanned(packs: Packs, path: Path) -> list[dict[str, Any]] | str:
    """Return the descriptions of a pack's classes, or why it cannot be imported."""
    process = _process(packs, path)
    try:
        return list(ask(process, {"is": "scan"}).body["classes"])
    except LoomError as error:
        return f"{error.problem.message}: {error.problem.got}" if error.problem.got else error.problem.message
    finally:
        process.end()


def _process(packs: Packs, path: Path) -> Process:
    return process_of(str(path), tuple(map(str, packs.models)), str(packs.input), packs.seconds)


# Identity


def _code(path: Path) -> tuple[str, CodeFiles]:
    """Return the identity of a pack: its files, the libraries that it may use, and the code of the bridge."""
    reading = Reading()
    files = list(reading.below(path)) if path.is_dir() else [(path.name, reading.content(path))]
    return digest("pack", sorted(files), _libraries(path), tree_code([Path(__file__).parent]).identity), reading.files()


def _libraries(path: Path) -> list[list[str]]:
    wanted = set(LIBRARIES)
    with contextlib.suppress(OSError, UnicodeDecodeError):
        lines = (path / "requirements.txt").read_text(encoding="utf-8").splitlines()
        wanted |= {found[0].lower() for line in lines if (found := _REQUIREMENT.match(line.strip()))}
    versions = []
    for name in sorted(wanted):
        with contextlib.suppress(PackageNotFoundError, ValueError):
            versions.append([name, version(name)])
    return versions


def _read(place: Path, code: str) -> list[dict[str, Any]] | str | None:
    """Return what `_write` stored, or None. A failure is valid until a package is installed."""
    try:
        record = json.loads(place.read_text(encoding="utf-8"))
        if (record["schema"], record["code"]) != (SCHEMA, code):
            return None
        failed = isinstance(record["classes"], str)
        return None if failed and record["installed"] != site_stamp() else record["classes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(place: Path, code: str, classes: Any) -> None:
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = partial_path(place.parent)
        record = {"schema": SCHEMA, "code": code, "classes": classes, "installed": site_stamp()}
        partial.write_text(json.dumps(record), encoding="utf-8")
        partial.replace(place)


# Specs


def _registered(
    packs: Packs, path: Path, distribution: Distribution, classes: Iterable[dict[str, Any]], taken: set[str]
) -> Pack:
    made, reasons = Registration(distribution), dict[str, str]()
    for described in classes:
        name = str(described["class"])
        reason = described["missing"] or ("another pack brings this class too" if name in taken else "")
        if not reason:
            try:
                made.nodes.append(NodeType(_spec(packs, path, described), distribution))
                taken.add(name)
            except (KeyError, TypeError, ValueError) as error:
                reason = f"cannot be described: {type(error).__name__}: {error}"
        if reason:
            reasons[name] = reason
    return Pack(path.name, made, reasons)


def _spec(packs: Packs, path: Path, described: Mapping[str, Any]) -> NodeSpec:
    lazy = lazy_ports(described)
    inputs = tuple(
        _input(port, lists=described["takes_lists"], lazy=port["name"] in lazy)
        for port in described["inputs"]
        if not _deep(port)
    )
    outputs = tuple(
        OutputSpec(name=f"output-{n}", kind=KINDS.get(kind, ANY), is_list=many)
        for n, (kind, many) in enumerate(zip(described["returns"], described["lists"], strict=True))
    )
    return NodeSpec(
        type=f"comfyui/{described['class']}", version=1,
        function=target(str(path), [str(root) for root in packs.models], str(packs.input), packs.seconds, described),
        category=f"packs/{path.stem}", help=_help(path, described), inputs=inputs, outputs=outputs,
        purity=_purity(described), context=CONTEXT, several=len(outputs) > 1,
    )  # fmt: skip


def _deep(port: Mapping[str, Any]) -> bool:
    """Whether an optional input takes a value that cannot go to a pack's process."""
    return port["type"] in DEEP


def _purity(described: Mapping[str, Any]) -> Purity:
    if described["output"]:
        return "sink"
    if described["changes"]:
        return "external"
    return "nondeterministic" if described["files"] or described.get("fresh") else "pure"


def _help(path: Path, described: Mapping[str, Any]) -> str:
    names = [*described["names"], *described["returns"][len(described["names"]) :]]
    pairs = enumerate(zip(names, described["returns"], strict=False))
    outputs = ", ".join(f"output-{n} is {name} ({kind})" for n, (name, kind) in pairs)
    lazy = [port["name"] for port in described["inputs"] if port["options"].get("lazy")]
    lazy = [name for name in lazy if name not in lazy_ports(described)]
    parts = [
        described["help"].strip() or f"{described['title']}, a class of the pack {path.stem}.",
        f"Outputs: {outputs}." if outputs else "",
        f"Computed even where they are not needed: {', '.join(lazy)}." if lazy else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _input(port: Mapping[str, Any], *, lists: bool, lazy: bool) -> InputSpec:
    kind, options = KINDS.get(port["type"], ANY), port["options"]
    choices = tuple(dict.fromkeys(port["choices"] or ()))
    if kind == "CHOICE" and (port["files"] or not choices):
        kind, choices = "STRING", ()
    seed = kind == "INT" and (port["name"] in SEEDS or bool(options.get("control_after_generate")))
    fields: dict[str, Any] = {"name": port["name"], "kind": kind, "choices": choices, "lazy": lazy}
    fields["help"] = str(options.get("tooltip", ""))
    fields["is_list"] = lists and kind in ("IMAGE", "MASK", "LATENT", ANY)
    fields |= _bounds(kind, options)
    if seed:
        fields |= {"widget": "seed", "minimum": max(0, fields.get("minimum") or 0)}
        fields["maximum"] = min(MAX_SEED, fields.get("maximum") or MAX_SEED)
    if kind == "STRING" and options.get("multiline"):
        fields["widget"] = "multiline"
    return InputSpec(**fields, **_default(kind, choices, options, fields, optional=port["optional"]))


def _bounds(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    if kind not in ("INT", "FLOAT"):
        return {}
    number = int if kind == "INT" else float
    return {ours: number(options[name]) for ours, name in (("minimum", "min"), ("maximum", "max")) if name in options}


def _default(
    kind: str, choices: tuple[str, ...], options: Mapping[str, Any], fields: Mapping[str, Any], *, optional: bool
) -> dict[str, Any]:
    """Return whether an input is needed, and its default. A widget has one; None leaves an optional input out."""
    if optional and "default" not in options:
        return {"required": False, "optional": True, "default": None}
    default = options.get("default")
    if kind == "CHOICE":
        default = str(default) if str(default) in choices else choices[0]
    elif kind in ("INT", "FLOAT"):
        number = int if kind == "INT" else float
        default = number(default) if isinstance(default, (int, float)) else number(0)
        low, high = fields.get("minimum"), fields.get("maximum")
        default = default if low is None else max(low, default)
        default = default if high is None else min(high, default)
    elif kind == "BOOLEAN":
        default = bool(default)
    elif kind == "JSON":
        default = []
    elif kind == "STRING" and not fields.get("choices"):
        default = str(default) if default is not None else None
    else:
        default = None
    if default is None:
        return {"required": False, "optional": True, "default": None} if optional else {}
    return {"required": False, "default": default}
