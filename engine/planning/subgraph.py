"""Grafts a node's expansion onto the graph: validated, with ids `parent/child` and its edges in place."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from latentloom.engine.cache.cache import Result
from latentloom.engine.document.reading import from_json
from latentloom.engine.document.workflow import Edge, NamedOutput, Node, Workflow
from latentloom.engine.errors import NodeError, Problem, WorkflowError
from latentloom.engine.planning.validate import Checked, Files, Step, accepts, unresolved, validate
from latentloom.engine.types.expansion import Expansion
from latentloom.engine.types.registry import NodeType, Registry

MAX_DEPTH = 16
MAX_STEPS = 1_000_000


class Grafted(NamedTuple):
    """The new steps, where each output of the parent comes from, and the sinks that must run."""

    steps: dict[str, Step]
    outputs: dict[str, Edge]
    sinks: list[str]


def graft(parent: Step, expansion: Expansion, registry: Registry, files: Files, steps: Mapping[str, Step]) -> Grafted:
    """The steps that stand for a node. Raises NodeError or WorkflowError naming `parent/child`."""
    if parent.id.count("/") >= MAX_DEPTH or len(steps) + len(expansion.nodes) > MAX_STEPS:
        raise NodeError("its expansions never end", node=parent.id, expected=f"at most {MAX_DEPTH} levels")
    nodes, outputs = _read(parent, expansion)
    _check_outputs(parent, outputs)
    outer = {id: steps[id].type for id in parent.sources(lazy=True)}
    checked = validate(Workflow(nodes, outputs=outputs), registry, files, outer=outer)
    problems = [*checked.problems, *(_unresolved(*place) for place in unresolved(checked.steps))]
    if problems:
        raise WorkflowError(problems)
    _check_kinds(parent, checked, outer)
    sinks = [id for id, step in checked.steps.items() if step.spec.purity == "sink"]
    return Grafted(checked.steps, checked.outputs, sinks)


def _read(parent: Step, expansion: Expansion) -> tuple[dict[str, Node], tuple[NamedOutput, ...]]:
    try:
        outputs = tuple(NamedOutput(name, _edge(parent.id, edge)) for name, edge in expansion.outputs.items())
        return _nodes(parent, expansion), outputs
    except WorkflowError as error:
        inside = [replace(p, node=f"{parent.id}/{p.node}" if p.node else parent.id) for p in error.problems]
        raise WorkflowError(inside) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NodeError(f"its expansion has the wrong form: {type(error).__name__}: {error}", node=parent.id) from error


def _nodes(parent: Step, expansion: Expansion) -> dict[str, Node]:
    """The document's nodes with full ids. Edges of the parent itself (from ctx.edge) are Edge objects already."""
    plain = {
        id: {**data, "inputs": {name: _hidden(value) for name, value in data.get("inputs", {}).items()}}
        for id, data in expansion.nodes.items()
    }
    read = from_json({"format": "latentloom/1", "nodes": plain})
    return {
        f"{parent.id}/{id}": Node(
            node.type,
            node.version,
            {name: _shown(parent.id, value) for name, value in node.inputs.items()},
            mode=node.mode,
        )
        for id, node in read.nodes.items()
    }


class _Outer(NamedTuple):
    edge: Edge


def _hidden(value: Any) -> Any:
    """The parent's own edges, of an input or in its list, out of sight of the document reader."""
    if type(value) is Edge:
        return _Outer(value)
    return [_Outer(item) if type(item) is Edge else item for item in value] if type(value) is list else value


def _shown(parent: str, value: Any) -> Any:
    if type(value) is list:
        return [_placed(parent, item) for item in value]
    return _placed(parent, value)


def _placed(parent: str, value: Any) -> Any:
    if type(value) is _Outer:
        return value.edge
    return Edge(f"{parent}/{value.node}", value.output) if type(value) is Edge else value


def _edge(parent: str, edge: Any) -> Edge:
    return edge if type(edge) is Edge else Edge(f"{parent}/{edge['node']}", edge["output"])


def _check_outputs(parent: Step, outputs: tuple[NamedOutput, ...]) -> None:
    expected, got = [port.name for port in parent.spec.outputs], [output.name for output in outputs]
    if sorted(expected) != sorted(got):
        raise NodeError(
            "its expansion has other outputs than the node",
            node=parent.id,
            expected=", ".join(expected),
            got=", ".join(got),
        )


def _check_kinds(parent: Step, checked: Checked, outer: Mapping[str, NodeType]) -> None:
    """Raise NodeError if an output of the node would be delivered in another kind."""
    types = {**outer, **{id: step.type for id, step in checked.steps.items()}}
    for name, source in checked.outputs.items():
        port, inner = parent.spec.output(name), types[source.node].spec.output(source.output)
        if port is not None and inner is not None and not accepts(port, inner):
            raise NodeError(
                f"its expansion delivers something else at its output '{name}'",
                node=parent.id,
                expected=f"list of {port.kind}" if port.is_list else port.kind,
                got=f"list of {inner.kind}" if inner.is_list else inner.kind,
            )


def _unresolved(node: str, name: str) -> Problem:
    return Problem(
        code="unresolved_seed", message='an expansion\'s seed is a number, not "random"', node=node, input=name
    )


class _Expanded(NamedTuple):
    """A step that stands for others: where its outputs come from, and what its own body was."""

    outputs: Mapping[str, Edge]
    key: str | None
    seconds: float


class Expansions:
    """The steps of one run that stand for others."""

    def __init__(self) -> None:
        self._expanded: dict[str, _Expanded] = {}
        self._impure: set[str] = set()  # with something inside that must run every time

    def __contains__(self, id: str) -> bool:
        return id in self._expanded

    def put(self, id: str, grafted: Grafted, key: str | None, seconds: float) -> None:
        """A step was replaced by others; its result is to be kept under a key."""
        self._expanded[id] = _Expanded(grafted.outputs, key, seconds)
        if any(child.spec.purity != "pure" for child in grafted.steps.values()):
            parts = id.split("/")
            self._impure.update("/".join(parts[:n]) for n in range(1, len(parts) + 1))

    def inside(self, id: str) -> set[str]:
        """The steps that deliver the outputs of the step that they stand for; none for an ordinary step."""
        return {edge.node for edge in self._expanded[id].outputs.values()} if id in self._expanded else set()

    def result(self, id: str, results: Mapping[str, Result]) -> tuple[Result, str | None]:
        """A step's result, once those inside have theirs, and its key; None when a hit would hide what must run."""
        outputs, key, seconds = self._expanded[id]
        found = {name: results[edge.node].outputs[edge.output] for name, edge in outputs.items()}
        return Result(found, seconds), None if id in self._impure else key
