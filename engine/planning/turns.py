"""Runs a step turn by turn: gives each turn steps of its own, with ids `node/1`, `node/2/child`, when it begins."""

from collections.abc import Mapping
from typing import Any

from latentloom.engine.cache.cache import Result
from latentloom.engine.document.interfaces import TURNS_PORT
from latentloom.engine.document.workflow import TURNS, Edge
from latentloom.engine.errors import NodeError
from latentloom.engine.planning.copies import Copier, Part, literal_fault
from latentloom.engine.planning.identity import Inputs, check_present, output_of
from latentloom.engine.planning.step import Loop, Step
from latentloom.engine.types.literals import LiteralError, coerce
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.spec import InputSpec


class Turns:
    """The turns of one loop in one run. Only what the outputs need is kept of a turn that has ended."""

    def __init__(self, step: Step, inputs: Inputs, registry: Registry, most: int) -> None:
        """Raises NodeError for a number of turns out of range, and if they need more than `most` steps."""
        assert step.loop is not None
        self._step = step
        self._loop: Loop = step.loop
        self._first = Copier(step, self._loop.root, self._loop.first, registry)
        self._later = self._first
        if self._loop.template is not self._loop.first:
            self._later = Copier(step, self._loop.root, self._loop.template, registry)
        self.total = _total(step, inputs)
        if self.total * len(self._later.order) > most:
            expected = f"at most {most // len(self._later.order)}"
            raise NodeError("too many turns", node=step.id, expected=expected, got=str(self.total))
        self.number = 0
        """How many turns have begun."""
        self.outputs: dict[str, Edge | list[Edge]] = {name: [] for name in self._loop.repeat.collect}
        """The edges that deliver the outputs after the turns so far."""
        self._last: Part | None = None
        self._held: set[str] = set()
        self.over = False
        """Whether the last turn has ended."""

    def begin(self) -> Part:
        """Return the next turn, which reads what the one before carried on."""
        copier = self._first if self.number == 0 else self._later
        part = copier.part(self.number + 1, lambda inner, port, name: self._value(copier, inner, port, name))
        self._last, self.number = part, self.number + 1
        for name, edge in part.outputs.items():
            found = self.outputs.get(name)
            if type(found) is list:
                found.append(edge)
                self._held.add(edge.node)
            else:
                self.outputs[name] = edge
        return part

    def passing(self) -> set[str]:
        """Return the steps that deliver only what the current turn carries on to the next one."""
        nodes = set() if self._last is None else {edge.node for edge in self._last.outputs.values()}
        return nodes - self._held

    def ended(self, results: Mapping[str, Result]) -> bool:
        """Whether the current turn, whose steps have results, is the last one."""
        self.over = self.over or self.number == self.total or self._until(results)
        return self.over

    def _until(self, results: Mapping[str, Result]) -> bool:
        name = self._loop.repeat.until
        if name is None or self._last is None:
            return False
        found: Any = output_of(self._last.outputs[name], results)
        check_present(found, self._step.id)
        return found.literal is True

    def _value(self, copier: Copier, inner: Step, port: InputSpec, name: str) -> Any:
        """Return the edge or literal for an input of the loop."""
        repeat = self._loop.repeat
        if name == repeat.number:
            return copier.checked(self.number + 1, inner, port, self.number)
        if name in repeat.carry and self._last is not None:
            return self._last.outputs[repeat.carry[name]]
        if name in self._step.literals:
            return copier.checked(self.number + 1, inner, port, self._step.literals[name])
        return self._step.edges[name]


def _total(step: Step, inputs: Inputs) -> int:
    try:
        found: int = coerce(TURNS_PORT, inputs[TURNS].literal)
    except LiteralError as error:
        raise literal_fault(error, step.id, TURNS) from None
    return found
