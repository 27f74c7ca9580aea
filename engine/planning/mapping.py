"""Runs a step once for each item of its lists: gives each item steps of its own, with ids `node/1`, `node/2/child`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latentloom.engine.cache.cache import Item
from latentloom.engine.document.workflow import Edge
from latentloom.engine.errors import NodeError
from latentloom.engine.planning.identity import Inputs
from latentloom.engine.planning.step import ITEM, Each, Step
from latentloom.engine.planning.validate import choices_of
from latentloom.engine.types.literals import LiteralError, coerce
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.spec import ANY, LITERAL_KINDS, InputSpec


@dataclass(frozen=True, slots=True)
class Part:
    """One item of a mapped step."""

    parent: str
    number: int
    """From 1."""
    steps: tuple[Step, ...]
    """In topological order."""
    outputs: Mapping[str, Edge]
    ends: frozenset[str]
    """The steps that deliver its outputs, and its sinks."""


def parts_of(step: Step, inputs: Inputs, registry: Registry, most: int) -> list[Part]:
    """Return the parts of a mapped step whose lists are known. Their steps read single items of these lists.

    Raises NodeError for lists of different lengths, and if the items need more than `most` steps.
    """
    assert step.each is not None
    each, count = step.each, _count(step, step.each, inputs)
    template = each.template
    needed = template.graph.upstream([id for id in template.wanted if id in template.steps])
    order = [template.steps[id] for id in template.graph.order() if id in needed]
    if count * len(order) > most:
        raise NodeError("too many items", node=step.id, expected=f"at most {most // len(order)}", got=str(count))
    sinks = [inner.id for inner in order if inner.spec.purity == "sink"]
    return [_Item(step, each, inputs, registry, n).part(order, sinks) for n in range(count)]


def outputs_of(step: Step, parts: Sequence[Part]) -> dict[str, list[Edge]]:
    """Return the edges that deliver the lists of a mapped step."""
    return {port.name: [part.outputs[port.name] for part in parts] for port in step.spec.outputs}


def _count(step: Step, each: Each, inputs: Inputs) -> int:
    counts = {name: len(inputs[name]) for name in each.names}
    if len(set(counts.values())) > 1:
        got = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise NodeError("its lists have different lengths", node=step.id, expected="lists of one length", got=got)
    return next(iter(counts.values()))


class _Item:
    """Makes the steps of one item from the template."""

    def __init__(self, step: Step, each: Each, inputs: Inputs, registry: Registry, n: int) -> None:
        self._step = step
        self._each = each
        self._inputs = inputs
        self._registry = registry
        self._n = n
        self._prefix = f"{step.id}/{n + 1}"

    def part(self, order: Sequence[Step], sinks: Sequence[str]) -> Part:
        steps = tuple(self._made(inner) for inner in order)
        outputs = {name: self._inside(edge) for name, edge in self._each.template.outputs.items()}
        ends = frozenset({edge.node for edge in outputs.values()} | {self._id(id) for id in sinks})
        return Part(self._step.id, self._n + 1, steps, outputs, ends)

    def _id(self, id: str) -> str:
        return self._prefix + id[len(self._each.root) :]

    def _inside(self, edge: Edge) -> Edge:
        return Edge(self._id(edge.node), edge.output, edge.item)

    def _made(self, inner: Step) -> Step:
        literals: dict[str, Any] = dict(inner.literals)
        edges: dict[str, Any] = {}
        for name, value in inner.edges.items():
            port = inner.spec.by_name[name]
            found = (
                self._value(inner, port, value)
                if type(value) is Edge
                else [self._value(inner, port, item) if type(item) is Edge else item for item in value]
            )
            has_edges = type(found) is Edge or (type(found) is list and any(type(item) is Edge for item in found))
            (edges if has_edges else literals)[name] = found
        depth = self._step.depth + inner.depth
        return Step(self._id(inner.id), inner.type, literals, edges, depth=depth, each=inner.each)

    def _value(self, inner: Step, port: InputSpec, edge: Edge) -> Any:
        """Return the edge or literal for an edge of the template."""
        if edge.node != ITEM:
            return self._inside(edge)
        name, each = edge.output, edge.output in self._each.names
        if name in self._step.literals:
            value = self._step.literals[name]
            return self._checked(inner, port, value[self._n] if each else value)
        source = self._step.edges[name]
        if type(source) is list:
            value = source[self._n] if each else source
            return value if type(value) in (Edge, list) else self._checked(inner, port, value)
        return self._picked(port, source, self._inputs[name][self._n]) if each else source

    def _picked(self, port: InputSpec, source: Edge, item: Item) -> Any:
        """Return an item of a list output: its value if the input takes it as a literal, else the edge."""
        if item.kind in LITERAL_KINDS and port.kind in LITERAL_KINDS and not port.is_list:
            try:
                return coerce(port, item.literal, choices_of(port, self._registry))
            except LiteralError:
                pass  # the step fails when it reads the edge, and its item can be left out
        return Edge(source.node, source.output, self._n)

    def _checked(self, inner: Step, port: InputSpec, value: Any) -> Any:
        """Return a literal of the document, in bounds for this input."""
        if value is None or port.kind == ANY or port.kind not in LITERAL_KINDS:
            return value
        check: Callable[[Any], Any] = lambda one: coerce(port, one, choices_of(port, self._registry))  # noqa: E731
        try:
            return [check(one) for one in value] if port.is_list and type(value) is list else check(value)
        except LiteralError as error:
            problem = error.at(self._id(inner.id), port.name)
            facts = {"expected": problem.expected, "got": problem.got, "nearest": problem.nearest}
            raise NodeError(problem.message, node=problem.node, input=problem.input, **facts) from None
