"""Node types as they travel over HTTP: all that a form or an editor needs to show them."""

from typing import Any

from pydantic import Field

from latentloom.api.wire import Answer, Problem
from latentloom.engine.spec import Purity


class InputPort(Answer):
    """An input of a node type: its kind, and what a value in the document must satisfy."""

    name: str
    kind: str = Field(description="INT, FLOAT, STRING, BOOLEAN, CHOICE, JSON, FILE, MODEL_FILE, ANY, or a port type.")
    required: bool
    default: Any
    optional: bool = Field(description="None is a value too.")
    is_list: bool
    lazy: bool
    minimum: float | None
    maximum: float | None
    multiple_of: float | None
    min_length: int | None
    max_length: int | None
    choices: tuple[str, ...]
    source: str | None = Field(description="Where choices come from; ask `choices?source=...`.")
    widget: str | None = Field(description="How to show it: multiline, seed, slider, colour, mask, ...")
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
    help: str
    purity: Purity
    device: bool
    asynchronous: bool
    inputs: list[InputPort]
    outputs: list[OutputPort]
    distribution: str


class PortTypeInfo(Answer):
    """A kind of value that travels on edges."""

    kind: str
    colour: str
    help: str


class NodeTypes(Answer):
    """Every node type with all that a form needs to show it, and every port type."""

    nodes: list[NodeTypeInfo]
    types: list[PortTypeInfo]


class Interface(Answer):
    """A named input of a workflow: the port that it goes to, and the value that stands in the document."""

    name: str
    port: InputPort | None
    value: Any


class Validation(Answer):
    """All that is wrong with a workflow, and its own interface."""

    problems: list[Problem]
    inputs: list[Interface]
    outputs: list[str]
