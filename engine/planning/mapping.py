"""Runs a step once for each item of its lists: gives each item steps of its own, with ids `node/1`, `node/2/child`."""

from collections.abc import Sequence
from typing import Any

from latentloom.engine.cache.cache import Item
from latentloom.engine.document.workflow import Edge
from latentloom.engine.errors import NodeError
from latentloom.engine.planning.copies import Copier, Part
from latentloom.engine.planning.identity import Inputs
from latentloom.engine.planning.step import Each, Step
from latentloom.engine.planning.validate import choices_of
from latentloom.engine.types.literals import LiteralError, coerce
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.spec import LITERAL_KINDS, InputSpec


def parts_of(step: Step, inputs: Inputs, registry: Registry, most: int) -> list[Part]:
    """Return the parts of a mapped step whose lists are known. Their steps read single items of these lists.

    Raises NodeError for lists of different lengths, and if the items need more than `most` steps.
    """
    assert step.each is not None
    each, count = step.each, _count(step, step.each, inputs)
    copier = Copier(step, each.root, each.template, registry)
    if count * len(copier.order) > most:
        expected = f"at most {most // len(copier.order)}"
        raise NodeError("too many items", node=step.id, expected=expected, got=str(count))
    values = _Values(step, each, inputs, registry, copier)
    return [values.part(n) for n in range(count)]


def outputs_of(step: Step, parts: Sequence[Part]) -> dict[str, list[Edge]]:
    """Return the edges that deliver the lists of a mapped step."""
    return {port.name: [part.outputs[port.name] for part in parts] for port in step.spec.outputs}


def _count(step: Step, each: Each, inputs: Inputs) -> int:
    counts = {name: len(inputs[name]) for name in each.names}
    if len(set(counts.values())) > 1:
        got = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise NodeError("its lists have different lengths", node=step.id, expected="lists of one length", got=got)
    return next(iter(counts.values()))


class _Values:
    """What the steps of each item read."""

    def __init__(self, step: Step, each: Each, inputs: Inputs, registry: Registry, copier: Copier) -> None:
        self._step = step
        self._each = each
        self._inputs = inputs
        self._registry = registry
        self._copier = copier

    def part(self, n: int) -> Part:
        return self._copier.part(n + 1, lambda inner, port, name: self._value(n, inner, port, name))

    def _value(self, n: int, inner: Step, port: InputSpec, name: str) -> Any:
        """Return the edge or literal for an input of the mapped step."""
        each = name in self._each.names
        if name in self._step.literals:
            value = self._step.literals[name]
            return self._copier.checked(n + 1, inner, port, value[n] if each else value)
        source = self._step.edges[name]
        if type(source) is list:
            value = source[n] if each else source
            return value if type(value) in (Edge, list) else self._copier.checked(n + 1, inner, port, value)
        return self._picked(n, port, source, self._inputs[name][n]) if each else source

    def _picked(self, n: int, port: InputSpec, source: Edge, item: Item) -> Any:
        """Return an item of a list output: its value if the input takes it as a literal, else the edge."""
        if item.kind in LITERAL_KINDS and port.kind in LITERAL_KINDS and not port.is_list:
            try:
                return coerce(port, item.literal, choices_of(port, self._registry))
            except LiteralError:
                pass  # the step fails when it reads the edge, and its item can be left out
        return Edge(source.node, source.output, n)
