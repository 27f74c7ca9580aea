"""What travels about nodes, models and plugins: what is installed, and what a workflow would do."""

from typing import Any, Literal

from pydantic import Field

from latentloom.api.wire import Answer, Body, Problem


class Choices(Answer):
    """What may stand in an input whose `source` was asked for."""

    choices: list[str]


class NodeTypes(Answer):
    """Every node type with all that a form needs to show it, and every port type."""

    nodes: list[dict[str, Any]]
    types: list[dict[str, Any]]


class Interface(Answer):
    """A named input of a workflow: the port that it goes to, and the value that stands in the document."""

    name: str
    port: dict[str, Any] | None
    value: Any


class Validation(Answer):
    """All that is wrong with a workflow, and its own interface."""

    problems: list[Problem]
    inputs: list[Interface]
    outputs: list[str]


class Step(Answer):
    """What would happen at a node: "hit", "run" or "unknown", and why."""

    node: str
    type: str
    status: str
    reason: str


class Explanation(Answer):
    """What would run."""

    steps: list[Step]


class ModelFile(Answer):
    """A model file. `sha256` is None until it has been computed."""

    source: str
    name: str
    bytes: int
    sha256: str | None


class ModelList(Answer):
    """The model files that workflows may name."""

    models: list[ModelFile]


class ModelName(Body):
    """A model file."""

    source: str = Field(max_length=200)
    name: str = Field(max_length=1000)


class Prompt(Body):
    """A text, and the model that is to read it."""

    text: str = Field(max_length=20_000)
    source: Literal["models/checkpoints", "models/clip"] = "models/checkpoints"
    name: str = Field(max_length=1000, description="A checkpoint or a CLIP, as in a workflow.")
    grammar: Literal["a1111", "comfyui", "plain"] = Field("a1111", description="As CLIPEncode's.")
    steps: int = Field(20, ge=1, le=10_000, description="The sampler's steps; counts where a prompt names one.")


class Token(Answer):
    """A token: its number, the text that it stands for, and how much it counts."""

    id: int
    text: str
    weight: float
    known: bool = Field(description="False for a word that the embedded model has no token for.")


class TokenPart(Answer):
    """What the encoder reads at once, from start to end shares of the steps, at step % period == turn."""

    start: float
    end: float
    turn: int
    period: int
    count: int = Field(description="Its tokens with start and end, of `length`.")
    tokens: list[Token]


class Tokens(Answer):
    """How a prompt is read. `length`: the places of a part, start and end among them."""

    length: int
    parts: list[TokenPart]


class Plugin(Answer):
    """How a plugin fared."""

    plugin: str
    distribution: str
    status: str
    nodes: int
    error: str | None
    missing: str | None


class PluginList(Answer):
    """The installed plugins."""

    plugins: list[Plugin]
