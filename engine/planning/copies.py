"""Copies of a template's steps: for one item of a list, or one turn of a loop."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from latentloom.engine.document.workflow import Edge
from latentloom.engine.errors import NodeError
from latentloom.engine.planning.step import ITEM, Checked, Step
from latentloom.engine.planning.validate import choices_of
from latentloom.engine.types.literals import LiteralError, coerce
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.spec import ANY, LITERAL_KINDS, InputSpec


@dataclass(frozen=True, slots=True)
class Part:
    """One item of a mapped step, or one turn of a loop."""

    parent: str
    number: int
    """From 1."""
    steps: tuple[Step, ...]
    """In topological order."""
    outputs: Mapping[str, Edge]
    ends: frozenset[str]
    """The steps that deliver its outputs, and its sinks."""


def needed_of(template: Checked) -> list[Step]:
    """Return the steps of a template that must run, in topological order."""
    needed = template.graph.upstream([id for id in template.wanted if id in template.steps])
    return [template.steps[id] for id in template.graph.order() if id in needed]


class Copier:
    """Copies the steps of a template."""

    def __init__(self, parent: Step, root: str, template: Checked, registry: Registry) -> None:
        """The ids of the template's steps begin with `root`; those of a copy with `parent/number` in its place."""
        self._parent = parent
        self._root = root
        self._template = template
        self._registry = registry
        self.order = needed_of(template)
        self._sinks = [inner.id for inner in self.order if inner.spec.purity == "sink"]

    def part(self, number: int, value: Callable[[Step, InputSpec, str], Any]) -> Part:
        """Return the copy with a number. `value(step, port, name)` is what a port gets for an edge `name` of ITEM."""
        prefix = f"{self._parent.id}/{number}"

        def placed(id: str) -> str:
            return prefix + id[len(self._root) :]

        def found(inner: Step, port: InputSpec, edge: Edge) -> Any:
            if edge.node == ITEM:
                return value(inner, port, edge.output)
            return edge._replace(node=placed(edge.node))

        steps = tuple(self._copy(inner, placed(inner.id), found) for inner in self.order)
        outputs = {name: edge._replace(node=placed(edge.node)) for name, edge in self._template.outputs.items()}
        ends = frozenset({edge.node for edge in outputs.values()} | {placed(id) for id in self._sinks})
        return Part(self._parent.id, number, steps, outputs, ends)

    def _copy(self, inner: Step, id: str, found: Callable[[Step, InputSpec, Edge], Any]) -> Step:
        literals: dict[str, Any] = dict(inner.literals)
        edges: dict[str, Any] = {}
        for name, value in inner.edges.items():
            port = inner.spec.by_name[name]
            made = (
                found(inner, port, value)
                if type(value) is Edge
                else [found(inner, port, item) if type(item) is Edge else item for item in value]
            )
            has_edges = type(made) is Edge or (type(made) is list and any(type(item) is Edge for item in made))
            (edges if has_edges else literals)[name] = made
        depth = self._parent.depth + inner.depth
        return Step(id, inner.type, literals, edges, depth=depth, each=inner.each, loop=inner.loop)

    def checked(self, number: int, inner: Step, port: InputSpec, value: Any) -> Any:
        """Return a literal of the document, in bounds for this input of a copy."""
        if value is None or port.kind == ANY or port.kind not in LITERAL_KINDS:
            return value
        check: Callable[[Any], Any] = lambda one: coerce(port, one, choices_of(port, self._registry))  # noqa: E731
        try:
            return [check(one) for one in value] if port.is_list and type(value) is list else check(value)
        except LiteralError as error:
            id = f"{self._parent.id}/{number}{inner.id[len(self._root) :]}"
            raise literal_fault(error, id, port.name) from None


def literal_fault(error: LiteralError, node: str, input: str) -> NodeError:
    """Return the error of a step whose input got a literal that it does not accept."""
    problem = error.at(node, input)
    facts = {"expected": problem.expected, "got": problem.got, "nearest": problem.nearest}
    return NodeError(problem.message, node=node, input=input, **facts)
