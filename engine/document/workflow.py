"""A workflow in memory: nodes, edges, its own inputs and outputs, and values for them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from latentloom.engine.errors import Problem, WorkflowError, nearest

FORMAT = "latentloom/1"
EXACT_INTEGER = 2**53 - 1  # JavaScript's limit
MODES = ("active", "bypass", "mute")
_WHERE = ("device", "dtype", "vram-budget", "ram-budget")
FLAGS = ("set", "out", "output", "json", "no-cache", *_WHERE, "explain-memory", "no-metadata", "help")  # of `loom run`
_SUBMIT = ("server", "token", "priority", "tag", "watch", "front", "tags", "idempotency-key")
RESERVED_INPUTS = (*FLAGS, *_SUBMIT, "workflow", "outputs", "cache", "previews", "on-event")  # and Python's arguments
Mode = Literal["active", "bypass", "mute"]


class Edge(NamedTuple):
    """The output of a node, as a value of an input."""

    node: str
    output: str


class Target(NamedTuple):
    """An input of a node that a named input of the workflow sets."""

    node: str
    input: str


@dataclass(frozen=True, slots=True)
class Node:
    """One use of a node type. An input's value is a literal, an Edge, or a list that may hold Edges."""

    type: str
    version: int
    inputs: Mapping[str, Any] = field(default_factory=dict)
    title: str | None = None
    mode: Mode = "active"
    extra: Any = None


@dataclass(frozen=True, slots=True)
class NamedInput:
    """An input of the workflow itself."""

    name: str
    to: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class NamedOutput:
    """An output of the workflow itself."""

    name: str
    source: Edge


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow document in memory. Frozen: the methods return changed copies."""

    nodes: Mapping[str, Node]
    name: str = ""
    inputs: tuple[NamedInput, ...] = ()
    outputs: tuple[NamedOutput, ...] = ()
    layout: Any = None
    extra: Any = None

    def input(self, name: str) -> NamedInput | None:
        """The named input of that name, or None."""
        return next((item for item in self.inputs if item.name == name), None)

    def with_values(self, values: Mapping[Target, Any]) -> "Workflow":
        """The same workflow with other literals at some inputs."""
        nodes = dict(self.nodes)
        for target, value in values.items():
            node = nodes[target.node]
            nodes[target.node] = replace(node, inputs={**node.inputs, target.input: value})
        return replace(self, nodes=nodes)

    def with_inputs(self, values: Mapping[str, Any]) -> "Workflow":
        """The same workflow with its named inputs set. Raises WorkflowError for names that it does not have."""
        problems: list[Problem] = []
        found: dict[Target, Any] = {}
        for name, value in values.items():
            named = self.input(name)
            if named is None:
                problems.append(_unknown_name(name, [item.name for item in self.inputs]))
            else:
                found |= {target: value for target in named.to if target.node in self.nodes}
        if problems:
            raise WorkflowError(problems)
        return self.with_values(found)


def _unknown_name(name: str, names: list[str]) -> Problem:
    return Problem(
        code="unknown_workflow_input",
        message=f"the workflow has no input '{name}'",
        expected=", ".join(names) or "none: it has no named inputs",
        nearest=nearest(name, names),
    )


def edges_in(value: Any) -> Iterable[Edge]:
    """The edges that an input's value holds."""
    if type(value) is Edge:
        return (value,)
    if type(value) is list:
        return (item for item in value if type(item) is Edge)
    return ()
