"""A workflow in memory: nodes, edges, and the named inputs and outputs of the workflow."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal, NamedTuple

from latentloom.engine.document.drawing import svg
from latentloom.engine.errors import Problem, Problems, WorkflowError

FORMAT = "latentloom/1"
EXACT_INTEGER = 2**53 - 1  # JavaScript's limit
MAX_NAMED = 50  # maximum number of names in a problem
MODES = ("active", "bypass", "mute")
_WHERE = ("device", "dtype", "vram-budget", "ram-budget")
_MORE = ("sweep", "rows", "grid", "server", "token")
_BARE = ("no-metadata", "no-label")
FLAGS = ("set", "out", "output", "json", "no-cache", *_WHERE, "explain-memory", *_BARE, *_MORE, "help")
_SUBMIT = ("priority", "tag", "watch", "front", "tags", "idempotency-key")
RESERVED_INPUTS = (*FLAGS, *_SUBMIT, "workflow", "outputs", "cache", "previews", "on-event")  # and arguments in Python
Mode = Literal["active", "bypass", "mute"]
OnError = Literal["stop", "keep"]
GRAPH = "graph/"  # prefix of the type of a node that uses a sub-workflow
TURNS = "turns"  # the input of a repeated node that says how often it runs
MAX_TURNS = 10_000


class Edge(NamedTuple):
    """A reference to the output of a node, used as the value of an input.

    Within a run, it can refer to one `item` of a list output. No document contains such an edge.
    """

    node: str
    output: str
    item: int | None = None

    def record(self) -> dict[str, str]:
        """Return this edge as JSON."""
        return {"node": self.node, "output": self.output}


class Target(NamedTuple):
    """An input of a node that a named input sets; in a sub-workflow also one `item` of a list input."""

    node: str
    input: str
    item: int | None = None

    def record(self) -> dict[str, Any]:
        """Return this target as JSON."""
        return {name: value for name, value in self._asdict().items() if value is not None}


@dataclass(frozen=True, slots=True)
class Repeat:
    """How a node is repeated, turn by turn. All fields name inputs and outputs of the node."""

    carry: Mapping[str, str] = field(default_factory=dict)
    """Inputs that get an output of the turn before."""
    collect: tuple[str, ...] = ()
    """Outputs that become lists with an item for each turn. The others have the value of the last turn."""
    until: str | None = None
    """A BOOLEAN output that ends the loop after a turn in which it is true."""
    number: str | None = None
    """An input that gets the number of the turn, from 0."""

    def record(self) -> dict[str, Any]:
        """Return this as JSON."""
        fields = {"carry": dict(self.carry), "collect": list(self.collect), "until": self.until, "number": self.number}
        return {name: value for name, value in fields.items() if value}


@dataclass(frozen=True, slots=True)
class Node:
    """An instance of a node type. An input's value is a literal, an Edge, or a list that may contain Edges.

    `each` names the inputs whose lists go item by item. `on_error` says whether a failed item ends the run. `repeat`
    says how it runs turn by turn.
    """

    type: str
    version: int
    inputs: Mapping[str, Any] = field(default_factory=dict)
    title: str | None = None
    mode: Mode = "active"
    extra: Any = None
    each: tuple[str, ...] = ()
    on_error: OnError = "stop"
    repeat: Repeat | None = None


@dataclass(frozen=True, slots=True)
class NamedInput:
    """A named input of the workflow, which sets inputs of nodes."""

    name: str
    to: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class NamedOutput:
    """A named output of the workflow."""

    name: str
    source: Edge


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow document in memory. Immutable: the methods return changed copies.

    `graphs` contains its sub-workflows by name. They have no `graphs` of their own: all share those of the document.
    """

    nodes: Mapping[str, Node]
    name: str = ""
    inputs: tuple[NamedInput, ...] = ()
    outputs: tuple[NamedOutput, ...] = ()
    layout: Any = None
    extra: Any = None
    graphs: Mapping[str, "Workflow"] = field(default_factory=dict)

    def _repr_svg_(self) -> str:
        """Return a drawing for a notebook."""
        nodes = {id: (node.title or id, node.type) for id, node in self.nodes.items()}
        values = [(id, value) for id, node in self.nodes.items() for value in node.inputs.values()]
        edges = [(edge.node, id) for id, value in values for edge in edges_in(value)]
        return svg(nodes, edges, {output.source.node for output in self.outputs})

    def scopes(self) -> Iterator["Workflow"]:
        """Iterate over this workflow and its sub-workflows."""
        yield self
        yield from self.graphs.values()

    def with_scopes(self, change: Callable[["Workflow"], "Workflow"]) -> "Workflow":
        """Return a copy in which the workflow and each sub-workflow are replaced by what `change` returns."""
        return replace(change(self), graphs={name: change(graph) for name, graph in self.graphs.items()})

    def input(self, name: str) -> NamedInput | None:
        """Return the named input, or None."""
        return next((item for item in self.inputs if item.name == name), None)

    def named_values(self) -> dict[str, str | int | float | bool]:
        """Return the values of the named inputs that are texts, numbers or booleans."""
        firsts = {item.name: item.to[0] for item in self.inputs if item.to and item.to[0].node in self.nodes}
        found = {name: self.nodes[target.node].inputs.get(target.input) for name, target in firsts.items()}
        return {name: value for name, value in found.items() if isinstance(value, str | int | float | bool)}

    def with_values(self, values: Mapping[Target, Any]) -> "Workflow":
        """Return a copy with other literals at some inputs of nodes."""
        changed: dict[str, dict[str, Any]] = {}
        for target, value in values.items():
            changed.setdefault(target.node, {})[target.input] = value
        nodes = {id: self.nodes[id] for id in changed if id in self.nodes}
        new = {id: replace(node, inputs={**node.inputs, **changed[id]}) for id, node in nodes.items()}
        return replace(self, nodes={**self.nodes, **new}) if new else self

    def with_inputs(self, values: Mapping[str, Any]) -> "Workflow":
        """Return a copy with named inputs set. Raises WorkflowError for unknown names."""
        problems, known = Problems(), {item.name: item for item in self.inputs}
        found: dict[Target, Any] = {}
        for name, value in values.items():
            if name in known:
                found |= {target: value for target in known[name].to if target.node in self.nodes}
            else:
                problems.add(_unknown_name(name, known, problems.nearest(name, known)))
        if problems:
            raise WorkflowError(problems.told())
        return self.with_values(found)


def _unknown_name(name: str, names: Iterable[str], near: str | None) -> Problem:
    return Problem(
        code="unknown_workflow_input",
        message=f"the workflow has no input '{name}'",
        expected=", ".join(islice(names, MAX_NAMED)) or "none: it has no named inputs",
        nearest=near,
    )


def edges_in(value: Any) -> Iterable[Edge]:
    """Return the edges in an input's value."""
    if type(value) is Edge:
        return (value,)
    if type(value) is list:
        return (item for item in value if type(item) is Edge)
    return ()
