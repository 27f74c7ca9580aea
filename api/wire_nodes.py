"""The HTTP data models for nodes, models, plugins, validation and explanation."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from latentloom.api.wire import DOCUMENT, Answer, Body, Problem
from latentloom.engine.types.spec import Purity


class Choices(Answer):
    """Allowed values of inputs with the requested `source`."""

    choices: list[str]


class InputPort(Answer):
    """An input of a node type: its kind, and the bounds of its values."""

    name: str
    kind: str = Field(description="INT, FLOAT, STRING, BOOLEAN, CHOICE, JSON, FILE, MODEL_FILE, ANY, or a port type.")
    required: bool
    default: Any
    optional: bool = Field(description="Whether null is a valid value.")
    is_list: bool
    lazy: bool
    minimum: float | None
    maximum: float | None
    multiple_of: float | None
    min_length: int | None
    max_length: int | None
    choices: tuple[str, ...]
    source: str | None = Field(description="Source of the choices; get them from `choices?source=...`.")
    mentions: str | None = Field(description="Source of the files that its texts can name.")
    widget: str | None = Field(description="Suggested widget: multiline, seed, slider, colour, mask, ...")
    advanced: bool = Field(description="Whether a form hides it while it has its default.")
    help: str


class OutputPort(Answer):
    """An output of a node type."""

    name: str
    kind: str
    is_list: bool


class NodeTypeInfo(Answer):
    """A node type."""

    type: str
    version: int
    category: str
    display_name: str = Field(description="Shown instead of the type; empty: the type.")
    aliases: tuple[str, ...] = Field(description="Other words that people search for.")
    deprecated: str = Field(description="What to use instead; empty: the type is not deprecated.")
    help: str
    purity: Purity
    device: bool
    asynchronous: bool
    inputs: list[InputPort]
    outputs: list[OutputPort]
    distribution: str


class PortTypeInfo(Answer):
    """A type of values on edges."""

    kind: str
    colour: str
    help: str


class NodeTypes(Answer):
    """All node types with everything that a form needs, and all port types."""

    nodes: list[NodeTypeInfo]
    types: list[PortTypeInfo]


class Interface(Answer):
    """A named input of a workflow: the port that it is connected to, and its value in the document."""

    name: str
    port: InputPort | None
    value: Any


class Validation(Answer):
    """All problems of a workflow, and its named inputs and outputs."""

    problems: list[Problem]
    inputs: list[Interface]
    outputs: list[str]


class Step(Answer):
    """What a run would do at a node: "hit", "run" or "unknown", and why."""

    node: str
    type: str
    status: str
    reason: str


class Explanation(Answer):
    """What a run would do, node by node."""

    steps: list[Step]


class ComparedWorkflows(Body):
    """Two workflows to compare, as documents."""

    example: ClassVar[Mapping[str, Any]] = {"before": DOCUMENT, "after": {**DOCUMENT, "name": "Gray"}}

    before: dict[str, Any]
    after: dict[str, Any]


class NodeName(Answer):
    """A node and its type."""

    node: str
    type: str


class Rename(Answer):
    """A node's id before and after. In a sub-workflow it is `parent/child`."""

    before: str
    after: str


class Change(Answer):
    """A value before and after; null if there was none. An edge is `{"node", "output"}`."""

    name: str
    before: Any
    after: Any


class NodeChange(NodeName):
    """The changed inputs and properties (version, mode, title) of a node. `node` is its id after the change."""

    inputs: list[Change]
    properties: list[Change]


class Difference(Answer):
    """What distinguishes two workflows, by meaning: sub-workflows are compared as the nodes inside them."""

    same_results: bool = Field(description="Whether only ids, titles, the name or the layout differ, or nothing.")
    added: list[NodeName]
    removed: list[NodeName]
    changed: list[NodeChange]
    inputs: list[Change] = Field(description="Named inputs, with the inputs of nodes that they set.")
    outputs: list[Change] = Field(description="Named outputs, with where they come from.")
    renamed: list[Rename]
    name: Change | None
    layout: bool = Field(description="Whether positions, notes, groups or extra data differ.")


class ModelFile(Answer):
    """A model file. `sha256` is None until it has been computed."""

    source: str
    name: str
    bytes: int
    sha256: str | None


class ModelList(Answer):
    """The model files that workflows can use."""

    models: list[ModelFile]


class ModelDefaults(Answer):
    """The inputs of nodes that suit a model. None where its family names none."""

    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    schedule: str | None = None
    width: int | None = Field(None, description="Pixels of its training.")
    height: int | None = None


class ModelFacts(Answer):
    """What a model file is, by its header."""

    about: str = Field(description="In a few words.")
    weights: str = Field(description="The formats of its weights, the most frequent first.")
    parts: list[str] = Field(description="Of model, clip and vae.")
    defaults: ModelDefaults


class ModelName(Body):
    """A model file."""

    example: ClassVar[Mapping[str, Any]] = {"source": "models/checkpoints", "name": "shapes"}

    source: str = Field(max_length=200)
    name: str = Field(max_length=1000)


class Prompt(Body):
    """A prompt, and the model whose text encoder reads it."""

    example: ClassVar[Mapping[str, Any]] = {"text": "a (red:1.2) star", "name": "shapes"}

    text: str = Field(max_length=20_000)
    source: Literal["models/checkpoints", "models/clip"] = "models/checkpoints"
    name: str = Field(max_length=1000, description="Name of a checkpoint or a text encoder, as in a workflow.")
    grammar: Literal["a1111", "comfyui", "plain"] = Field("a1111", description="The prompt syntax, as in CLIPEncode.")
    steps: int = Field(
        20, ge=1, le=10_000, description="Number of sampling steps; used only if the prompt names a step."
    )


class Token(Answer):
    """A token: its id, its text and its weight."""

    id: int | None = Field(description="null for a vector of an embedding.")
    text: str
    weight: float
    known: bool = Field(description="False for a word that the embedded model has no token for.")


class TokenPart(Answer):
    """One chunk of the prompt. It is used from start to end (fractions of the steps) where step % period == turn."""

    start: float
    end: float
    turn: int
    period: int
    count: int = Field(description="Number of tokens with the start and end tokens, out of `length`.")
    tokens: list[Token]


class Tokens(Answer):
    """How a prompt is read. `length`: the number of tokens in a chunk, with the start and end tokens."""

    length: int
    parts: list[TokenPart]


class Plugin(Answer):
    """A plugin and whether it was loaded."""

    plugin: str
    distribution: str
    status: str
    nodes: int
    error: str | None
    missing: str | None


class PluginList(Answer):
    """The installed plugins."""

    plugins: list[Plugin]
