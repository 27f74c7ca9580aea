"""The spec of a node type: ports, bounds, purity and help. Validation, widgets and docs are derived from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from latentloom.engine.types.absent import ABSENT

Purity = Literal["pure", "external", "nondeterministic", "sink"]
PURITIES: tuple[Purity, ...] = ("pure", "external", "nondeterministic", "sink")

LITERAL_KINDS = ("INT", "FLOAT", "STRING", "BOOLEAN", "CHOICE", "JSON")
FILE_KINDS = ("FILE", "MODEL_FILE")
INLINE_KINDS = (*LITERAL_KINDS, ABSENT)
"""Kinds whose values are stored inside results, not separately by digest."""
ANY = "ANY"
MAX_SEED = 2**64 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """One input: its kind, whether it is required, and the bounds of a literal value."""

    name: str
    kind: str
    required: bool = True
    default: Any = None
    optional: bool = False  # None is a legal value
    is_list: bool = False
    lazy: bool = False
    minimum: float | None = None
    maximum: float | None = None
    multiple_of: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    choices: tuple[str, ...] = ()
    source: str | None = None  # the source of choices or files: "samplers", "models/loras", "input"
    mentions: str | None = None  # a source whose files the text may name, such as "models/embeddings"
    widget: str | None = None
    advanced: bool = False  # an editor shows it in a fold while it has its default
    help: str = ""

    @property
    def literal(self) -> bool:
        """Whether a value can be written into the document. Otherwise the input needs an edge."""
        return self.kind in LITERAL_KINDS or self.kind in FILE_KINDS or self.kind == ANY

    @property
    def seed(self) -> bool:
        """Whether "random" is a legal value. It is replaced by a random seed when the workflow is resolved."""
        return self.widget == "seed"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """One output: a name and a kind."""

    name: str
    kind: str
    is_list: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """A node type as data. `function` is a "module:name" reference; the function's `Definition` holds the code."""

    type: str
    version: int
    function: str
    category: str = ""
    display_name: str = ""  # what an editor shows instead of the type
    aliases: tuple[str, ...] = ()  # other words that people search for
    deprecated: str = ""  # what to use instead of a node type that nobody should add any longer
    help: str = ""
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[OutputSpec, ...] = ()
    purity: Purity = "pure"
    device: bool = False
    economies: int = 0  # levels of computing in less memory; each level needs less than the one before
    asynchronous: bool = False
    context: str | None = None  # name of the parameter that takes the Context
    several: bool = False  # returns a NamedTuple
    migrates: bool = False
    by_name: Mapping[str, InputSpec] = field(init=False, repr=False, compare=False)
    values: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """The names of the inputs that are not literals."""
    numeric: bool = field(init=False, repr=False, compare=False)
    """Whether results may depend on device, dtype and library versions: a port is neither literal nor file, or the
    node uses the device.
    """

    def __post_init__(self) -> None:
        kinds = {port.kind for port in self.inputs} | {port.kind for port in self.outputs}
        numeric = self.device or not kinds <= {*LITERAL_KINDS, *FILE_KINDS, ANY}
        object.__setattr__(self, "by_name", {port.name: port for port in self.inputs})
        object.__setattr__(self, "values", tuple(port.name for port in self.inputs if port.kind not in LITERAL_KINDS))
        object.__setattr__(self, "numeric", numeric)

    def output(self, name: str) -> OutputSpec | None:
        """Return the output of this name, or None."""
        return next((port for port in self.outputs if port.name == name), None)

    def record(self) -> dict[str, Any]:
        """Return this spec as JSON."""
        return {
            name: [_sparse(port) for port in getattr(self, name)] if name in ("inputs", "outputs") else value
            for name, value in _sparse(self).items()
        }


def _sparse(data: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that differ from their defaults."""
    return {
        item.name: getattr(data, item.name)
        for item in fields(data)
        if item.init and getattr(data, item.name) != item.default
    }


def spec_from_record(record: Mapping[str, Any]) -> NodeSpec:
    """Return the spec that `NodeSpec.record` wrote."""
    plain = {name: value for name, value in record.items() if name not in ("inputs", "outputs")}
    inputs = tuple(
        InputSpec(**{**port, "choices": tuple(port.get("choices", ()))}) for port in record.get("inputs", ())
    )
    outputs = tuple(OutputSpec(**port) for port in record.get("outputs", ()))
    plain["aliases"] = tuple(plain.get("aliases", ()))
    return NodeSpec(**plain, inputs=inputs, outputs=outputs)
