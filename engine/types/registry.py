"""The registry of node types, port types and extensions, each with the distribution that provides it."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from latentloom.engine.errors import DuplicateError, PluginError, UnknownError, nearest
from latentloom.engine.files.code_files import CodeFiles
from latentloom.engine.types.node import Definition, definition
from latentloom.engine.types.port_types import Codec, PortType, ValueCodec
from latentloom.engine.types.spec import NodeSpec, spec_from_record
from latentloom.engine.types.values import Value

ExtensionKind = Literal["sampler", "schedule", "model_kind", "patch", "importer", "checker"]


@dataclass(frozen=True, slots=True)
class Distribution:
    """An installed distribution that provides node types. `code` is the hash of all its code."""

    name: str
    version: str
    plugin: str
    code: str
    builtin: bool = False
    files: CodeFiles = field(default=CodeFiles(), compare=False, repr=False)
    """The files that `code` is the hash of."""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference "module:name" to a module-level object, imported on demand."""

    target: str

    @classmethod
    def of(cls, thing: Any) -> "Ref":
        """Return the reference to a module-level function or class. A "module:name" string avoids its import.

        Raises PluginError for anything else.
        """
        if isinstance(thing, str) and ":" in thing:
            return cls(thing)
        module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", "<unnamed>")
        if module is None or "<" in name:
            raise PluginError(
                "only functions and classes at the top of a module can be registered", got=f"{module}:{name}"
            )
        return cls(f"{module}:{name}")

    def load(self) -> Any:
        """Import and return the object. Raises PluginError if the module does not have it."""
        module, _, name = self.target.partition(":")
        found: Any = sys.modules.get(module)
        if getattr(getattr(found, "__spec__", None), "_initializing", True):  # also waits for another thread's import
            found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is None:
            raise PluginError(f"{self.target} is gone", hint="reinstall the distribution that provides it")
        return found


@dataclass(frozen=True, slots=True)
class NodeType:
    """A registered node type."""

    spec: NodeSpec
    distribution: Distribution
    isolated: bool = False
    """Whether its functions run in a process of their own."""

    def definition(self) -> Definition:
        """Import the node's module and return the definition."""
        return definition(Ref(self.spec.function).load())


@dataclass(frozen=True, slots=True)
class Extension:
    """A registered sampler, schedule, model kind, patch, importer or checker: a reference to its code, and facts."""

    kind: ExtensionKind
    name: str
    ref: Ref
    distribution: Distribution
    info: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Any:
        """Import the module and return the registered function or class."""
        return self.ref.load()


@dataclass(frozen=True, slots=True)
class RegisteredType:
    """A registered port type, created on first use."""

    kind: str
    cls: Ref
    codec: Ref | None
    distribution: Distribution
    colour: str = "#8a8f98"
    help: str = ""

    def load(self) -> PortType:
        """Import the module and return the port type."""
        cls = self.cls.load()
        if self.codec is not None:
            codec: Codec | None = self.codec.load()()
        else:
            codec = ValueCodec(cls) if issubclass(cls, Value) else None
        return PortType(self.kind, cls, codec, self.colour, self.help)


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder in an installed package whose model files appear in a source, such as "models/checkpoints"."""

    source: str
    package: str
    folder: str

    def path(self) -> Path | None:
        """Return the folder's path without importing the package."""
        spec = importlib.util.find_spec(self.package)
        places = list(spec.submodule_search_locations or ()) if spec else []
        return Path(places[0]) / self.folder if places else None


class Registration:
    """What one distribution registers. Passed to its `register(registry)` hook; takes effect when the hook returns."""

    def __init__(self, distribution: Distribution) -> None:
        self.distribution = distribution
        self.nodes: list[NodeType] = []
        self.types: list[RegisteredType] = []
        self.extensions: list[Extension] = []
        self.folders: list[ModelFolder] = []
        self.listens = False
        self.note = ""
        """What the import did that it should not do."""

    def node(self, *functions: Callable[..., Any]) -> None:
        """Register functions decorated with `@node`. The ids of a plugin get its entry point's name as a prefix."""
        for function in functions:
            Ref.of(function)
            spec = definition(function).spec
            prefix = "" if self.distribution.builtin else f"{self.distribution.plugin}/"
            self.nodes.append(NodeType(replace(spec, type=prefix + spec.type), self.distribution))

    def type(self, cls: type, codec: type | None = None, *, colour: str = "#8a8f98", help: str = "") -> None:
        """Register a port class (with a `kind`) and the class of its codec. Without a codec, values stay in memory."""
        kind = getattr(cls, "kind", None)
        if not isinstance(kind, str):
            raise PluginError("a port class needs `kind: ClassVar[str]`", got=cls.__name__)
        ref = None if codec is None else Ref.of(codec)
        self.types.append(RegisteredType(kind, Ref.of(cls), ref, self.distribution, colour, help or _summary(cls)))

    def sampler(self, name: str, function: Callable[..., Any] | str, **info: Any) -> None:
        """Register a sampler: function(denoised, x, sigmas, noise, report) -> x."""
        self._extension("sampler", name, function, info)

    def schedule(self, name: str, function: Callable[..., Any] | str, **info: Any) -> None:
        """Register a schedule: function(steps, table) -> sigmas in descending order, ending with 0."""
        self._extension("schedule", name, function, info)

    def model_kind(self, name: str, loader: Callable[[], Any] | str, **info: Any) -> None:
        """Register the class that recognises and loads one kind of model (docs/adr/0001)."""
        self._extension("model_kind", name, loader, info)

    def patch(self, name: str, apply: Callable[..., Any] | str, **info: Any) -> None:
        """Register the function that applies one kind of patch to a loaded model (docs/adr/0001)."""
        self._extension("patch", name, apply, info)

    def importer(self, name: str, function: Callable[..., Any] | str, **info: Any) -> None:
        """Register a reader of foreign workflow files: function(bytes) -> (document, report) or None.

        The report is JSON with "source", a string, and "lines", strings that describe what was changed or lost.
        """
        self._extension("importer", name, function, info)

    def checker(self, name: str, function: Callable[..., Any] | str, **info: Any) -> None:
        """Register a check of pictures before they are saved: function(pixels) -> (action, reason) or None.

        `pixels` are float32 [H, W, C] in 0..1. The action is "flag", "blur" or "refuse".
        """
        self._extension("checker", name, function, info)

    def models(self, source: str, package: str, folder: str) -> None:
        """Register a folder of model files inside a package, for a source such as "models/checkpoints"."""
        self.folders.append(ModelFolder(source, package, folder))

    def _extension(self, kind: ExtensionKind, name: str, thing: Any, info: Mapping[str, Any]) -> None:
        self.extensions.append(
            Extension(kind, name, Ref.of(thing), self.distribution, {"help": _summary(thing), **info})
        )

    def record(self) -> dict[str, Any]:
        """Return everything that was registered, as JSON."""
        return {
            "nodes": [item.spec.record() for item in self.nodes],
            "types": [
                {
                    "kind": t.kind,
                    "cls": t.cls.target,
                    "codec": t.codec.target if t.codec else None,
                    "colour": t.colour,
                    "help": t.help,
                }
                for t in self.types
            ],
            "extensions": [
                {"kind": e.kind, "name": e.name, "ref": e.ref.target, "info": dict(e.info)} for e in self.extensions
            ],
            "folders": [[f.source, f.package, f.folder] for f in self.folders],
            "listens": self.listens,
            "note": self.note,
        }

    @classmethod
    def from_record(cls, distribution: Distribution, record: Mapping[str, Any]) -> "Registration":
        """Return the registration that `record` wrote. Imports none of its code."""
        made = cls(distribution)
        made.nodes = [NodeType(spec_from_record(item), distribution) for item in record["nodes"]]
        made.types = [
            RegisteredType(
                t["kind"],
                Ref(t["cls"]),
                Ref(t["codec"]) if t["codec"] else None,
                distribution,
                t["colour"],
                t["help"],
            )
            for t in record["types"]
        ]
        made.extensions = [
            Extension(e["kind"], e["name"], Ref(e["ref"]), distribution, e["info"]) for e in record["extensions"]
        ]
        made.folders = [ModelFolder(*folder) for folder in record["folders"]]
        made.listens, made.note = record["listens"], record["note"]
        return made


def _summary(thing: Any) -> str:
    return "" if isinstance(thing, str) else (getattr(thing, "__doc__", None) or "").strip().partition("\n")[0]


class Registry:
    """All node types, port types and extensions by name. Names are unique; a conflict is an error."""

    def __init__(self, registrations: Iterable[Registration] = ()) -> None:
        self.distributions: dict[str, Distribution] = {}
        self.nodes: dict[str, NodeType] = {}
        self._types: dict[str, RegisteredType] = {}
        self._loaded: dict[str, PortType] = {}
        self._extensions: dict[tuple[str, str], Extension] = {}
        self.folders: list[ModelFolder] = []
        self.foreign = False
        """Whether a plugin provides samplers, model kinds or other code that built-in nodes may run."""
        for registration in registrations:
            self.add(registration)

    def add(self, registration: Registration) -> None:
        """Add a registration completely or not at all. Raises DuplicateError, which names both distributions."""
        new: dict[tuple[str, str], Any] = {}
        taken = self._taken()
        for kind, name, item in _items(registration):
            other = taken.get((kind, name)) or new.get((kind, name))
            if other is not None:
                raise DuplicateError(
                    f"two distributions provide the {kind} '{name}': {other.distribution} and {item.distribution}",
                    hint="uninstall one of them",
                )
            new[(kind, name)] = item
        self.distributions[registration.distribution.plugin] = registration.distribution
        self.nodes |= {item.spec.type: item for item in registration.nodes}
        self._types |= {item.kind: item for item in registration.types}
        self.folders += registration.folders
        self._extensions |= {(item.kind, item.name): item for item in registration.extensions}
        runs = any(item.kind not in ("importer", "checker") for item in registration.extensions)
        self.foreign |= runs and not registration.distribution.builtin

    def fitting(self, registration: Registration) -> tuple[Registration, list[str]]:
        """Return a registration without the names that others have or that it has twice, and a text for each of them.

        The first with a name keeps it.
        """
        names, texts, left = self._taken(), list[str](), list[int]()
        for kind, name, item in _items(registration):
            other = names.setdefault((kind, name), item)
            if other is item:
                continue
            left.append(id(item))
            own = other.distribution.plugin == item.distribution.plugin
            texts.append(f"{kind} '{name}' is left out: " + ("it is registered twice" if own else _of(other)))
        made = Registration(registration.distribution)
        made.nodes = [item for item in registration.nodes if id(item) not in left]
        made.types = [item for item in registration.types if id(item) not in left]
        made.extensions = [item for item in registration.extensions if id(item) not in left]
        made.folders, made.listens, made.note = registration.folders, registration.listens, registration.note
        return made, texts

    def _taken(self) -> dict[tuple[str, str], Any]:
        return {
            **{("node type", name): item for name, item in self.nodes.items()},
            **{("port type", name): item for name, item in self._types.items()},
            **self._extensions,
        }

    def types(self) -> list[RegisteredType]:
        """Return all registered port types."""
        return list(self._types.values())

    def type_of(self, kind: str) -> PortType | None:
        """Return the port type of a kind, or None."""
        if kind not in self._loaded and kind in self._types:
            self._loaded[kind] = self._types[kind].load()
        return self._loaded.get(kind)

    def type_of_value(self, value: Any) -> PortType | None:
        """Return the port type of a value; None for a literal."""
        kind = getattr(value, "kind", None)
        return self.type_of(kind) if isinstance(kind, str) else None

    def knows_type(self, kind: str) -> bool:
        """Whether a port type of this kind is registered."""
        return kind in self._types

    def extensions(self, kind: str) -> dict[str, Extension]:
        """Return all extensions of a kind by name, in the order of registration."""
        return {name: item for (of, name), item in self._extensions.items() if of == kind}

    def extension(self, kind: str, name: str) -> Extension:
        """Return an extension. Raises UnknownError with the nearest name."""
        found = self._extensions.get((kind, name))
        if found is None:
            raise UnknownError(f"there is no {kind} '{name}'", nearest=nearest(name, self.extensions(kind)))
        return found


def _items(registration: Registration) -> Iterable[tuple[str, str, Any]]:
    yield from (("node type", item.spec.type, item) for item in registration.nodes)
    yield from (("port type", item.kind, item) for item in registration.types)
    yield from ((item.kind, item.name, item) for item in registration.extensions)


def _of(item: Any) -> str:
    return f"{item.distribution} provides it"
