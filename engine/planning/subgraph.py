"""Adds a node's expansion to the graph: validates it, gives its nodes the ids `parent/child` and connects them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from latentloom.engine.cache.cache import Item, Result
from latentloom.engine.document.reading import from_json
from latentloom.engine.document.workflow import Edge, NamedOutput, Node, Workflow
from latentloom.engine.document.writing import to_json
from latentloom.engine.errors import NodeError, Problem, WorkflowError
from latentloom.engine.planning.connections import accepts
from latentloom.engine.planning.graph import Graph
from latentloom.engine.planning.identity import output_of
from latentloom.engine.planning.step import Checked, Files, Step
from latentloom.engine.planning.validate import unresolved, validate
from latentloom.engine.types.expansion import Expansion, Given
from latentloom.engine.types.registry import NodeType, Registry

MAX_DEPTH = 16
MAX_STEPS = 1_000_000


class Grafted(NamedTuple):
    """A validated expansion: its steps, the edge for each output of the parent, and the sinks that must run."""

    steps: dict[str, Step]
    outputs: dict[str, Edge]
    sinks: list[str]
    graph: Graph
    record: Mapping[str, Any]
    """The expansion as JSON, for the cache."""

    def order(self) -> list[str]:
        """Return the new steps that must run, in topological order."""
        ends = [*(edge.node for edge in self.outputs.values()), *self.sinks]
        needed = self.graph.upstream([id for id in ends if id in self.steps])
        return [id for id in self.graph.order() if id in needed]


def graft(parent: Step, expansion: Expansion, registry: Registry, files: Files, steps: Mapping[str, Step]) -> Grafted:
    """Return the steps that replace a node. Raises NodeError or WorkflowError, which name `parent/child`."""
    if parent.depth >= MAX_DEPTH or len(steps) + len(expansion.nodes) > MAX_STEPS:
        raise NodeError("its expansions do not end", node=parent.id, expected=f"at most {MAX_DEPTH} levels")
    inner, nodes, outputs = _read(parent, expansion)
    _check_outputs(parent, outputs)
    outer = {id: steps[id].type for id in parent.sources(lazy=True)}
    checked = validate(Workflow(nodes, outputs=outputs), registry, files, outer=outer)
    problems = [*checked.problems, *(_unresolved(*place) for place in unresolved(checked.steps))]
    if problems:
        raise WorkflowError(problems)
    _check_kinds(parent, checked, outer)
    for step in checked.steps.values():
        step.depth = parent.depth + 1
    sinks = [id for id, step in checked.steps.items() if step.spec.purity == "sink"]
    return Grafted(checked.steps, checked.outputs, sinks, checked.graph, _record(inner, expansion, registry))


def given(step: Step) -> dict[str, Any]:
    """Return what `ctx.edge` returns for each connected input of a step."""
    return {name: _given(name, value) for name, value in step.edges.items()}


def _given(name: str, value: Any) -> Any:
    if type(value) is not list:
        return Given(name)
    return [Given(name, n) if type(item) is Edge else item for n, item in enumerate(value)]


def _record(inner: Mapping[str, Node], expansion: Expansion, registry: Registry) -> dict[str, Any]:
    """Return the expansion as JSON that shares no object with it."""
    nodes = to_json(Workflow(inner), lambda type: registry.nodes[type].spec)["nodes"]
    outputs = {
        name: edge if type(edge) is Given else {"node": edge["node"], "output": edge["output"]}
        for name, edge in expansion.outputs.items()
    }
    record: dict[str, Any] = json.loads(json.dumps(Expansion(nodes, outputs).record()))
    return record


def _read(parent: Step, expansion: Expansion) -> tuple[dict[str, Node], dict[str, Node], tuple[NamedOutput, ...]]:
    """Return the nodes as written in the expansion, the nodes for the graph, and the outputs."""
    try:
        outputs = tuple(NamedOutput(name, _edge(parent, edge)) for name, edge in expansion.outputs.items())
        inner = from_json(
            {"format": "latentloom/1", "nodes": {id: {**data} for id, data in expansion.nodes.items()}}
        ).nodes
        return dict(inner), _nodes(parent, inner), outputs
    except WorkflowError as error:
        inside = [replace(p, node=f"{parent.id}/{p.node}" if p.node else parent.id) for p in error.problems]
        raise WorkflowError(inside) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NodeError(f"its expansion is malformed: {type(error).__name__}: {error}", node=parent.id) from error


def _nodes(parent: Step, inner: Mapping[str, Node]) -> dict[str, Node]:
    """Return the nodes with full ids. Each Given is replaced by the parent's edge or literal."""
    return {
        f"{parent.id}/{id}": replace(node, inputs={name: _shown(parent, value) for name, value in node.inputs.items()})
        for id, node in inner.items()
    }


def _shown(parent: Step, value: Any) -> Any:
    if type(value) is list:
        return [_placed(parent, item) for item in value]
    return _placed(parent, value)


def _placed(parent: Step, value: Any) -> Any:
    if type(value) is Given:
        found = parent.edges[value.input]
        return found if value.item is None else found[value.item]
    return Edge(f"{parent.id}/{value.node}", value.output) if type(value) is Edge else value


def _edge(parent: Step, edge: Any) -> Edge:
    if type(edge) is not Given:
        return Edge(f"{parent.id}/{edge['node']}", edge["output"])
    found: Edge = _placed(parent, edge)
    return found


def _check_outputs(parent: Step, outputs: tuple[NamedOutput, ...]) -> None:
    expected, got = [port.name for port in parent.spec.outputs], [output.name for output in outputs]
    if sorted(expected) != sorted(got):
        raise NodeError(
            "its expansion has different outputs than the node",
            node=parent.id,
            expected=", ".join(expected),
            got=", ".join(got),
        )


def _check_kinds(parent: Step, checked: Checked, outer: Mapping[str, NodeType]) -> None:
    """Raise NodeError if an output of the node would get a value of another kind."""
    types = {**outer, **{id: step.type for id, step in checked.steps.items()}}
    for name, source in checked.outputs.items():
        port, inner = parent.spec.output(name), types[source.node].spec.output(source.output)
        if port is not None and inner is not None and not accepts(port, inner):
            raise NodeError(
                f"its expansion returns the wrong type at its output '{name}'",
                node=parent.id,
                expected=f"list of {port.kind}" if port.is_list else port.kind,
                got=f"list of {inner.kind}" if inner.is_list else inner.kind,
            )


def _unresolved(node: str, name: str) -> Problem:
    return Problem(
        code="unresolved_seed", message='an expansion\'s seed is a number, not "random"', node=node, input=name
    )


Outputs = Mapping[str, Edge | list[Edge]]
"""The edges that deliver the outputs of an expanded step. A list of edges delivers a list."""


class _Expanded(NamedTuple):
    """An expanded step: the sources of its outputs, and the time of its own body."""

    outputs: Outputs
    seconds: float
    known: bool
    """Whether the expansion came from the cache, so that the body did not run."""


class Expansions:
    """The expanded steps of one run."""

    def __init__(self) -> None:
        self._expanded: dict[str, _Expanded] = {}

    def __contains__(self, id: str) -> bool:
        return id in self._expanded

    def put(self, id: str, grafted: Grafted, seconds: float, *, known: bool) -> None:
        """Record that a step was expanded, by its body or because its expansion was `known`."""
        self._expanded[id] = _Expanded(grafted.outputs, seconds, known)

    def put_lists(self, id: str, outputs: Outputs) -> None:
        """Record that a step was expanded to items or turns; again when there is one more, or when one is left out."""
        self._expanded[id] = _Expanded(outputs, 0.0, known=False)

    def known(self, id: str) -> bool:
        """Whether the body of an expanded step did not run."""
        return self._expanded[id].known

    def inside(self, id: str) -> set[str]:
        """Return the steps that deliver the outputs of an expanded step; none for any other step."""
        found = self._expanded[id].outputs.values() if id in self._expanded else ()
        return {edge.node for value in found for edge in (value if isinstance(value, list) else [value])}

    def result(self, id: str, results: Mapping[str, Result]) -> Result:
        """Return the result of an expanded step. The steps inside must have results."""
        outputs, seconds, _ = self._expanded[id]
        return Result({name: _delivered(value, results) for name, value in outputs.items()}, seconds)


def _delivered(value: Edge | list[Edge], results: Mapping[str, Result]) -> Item | tuple[Item, ...]:
    if not isinstance(value, list):
        return output_of(value, results)
    return tuple(item for edge in value for item in results[edge.node].items(edge.output))
