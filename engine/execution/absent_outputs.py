"""Absent outputs: outputs that a node could not produce, and the steps that read them."""

from collections.abc import Iterator, Mapping

from latentloom.engine.cache.cache import Result
from latentloom.engine.document.workflow import Edge, edges_in
from latentloom.engine.errors import NodeError
from latentloom.engine.execution.ready_queue import ReadyQueue
from latentloom.engine.planning.identity import check_present, output_of
from latentloom.engine.planning.step import Step
from latentloom.engine.types.absent import ABSENT


class AbsentOutputs:
    """The results of one run that have absent outputs."""

    def __init__(self, steps: Mapping[str, Step], planned: ReadyQueue, outputs: Mapping[str, Edge]) -> None:
        self._steps = steps
        self._planned = planned
        self._outputs = outputs
        self._new: list[tuple[str, Result]] = []

    def note(self, id: str, result: Result) -> None:
        """Record the result of a step."""
        if any(item.kind == ABSENT for item in result.items()):
            self._new.append((id, result))

    def missed(self) -> tuple[Step, NodeError] | None:
        """Return the first step that certainly reads an absent output, and the error that it fails with.

        Only results noted since the last call are checked. An absent output that is an output of the workflow counts
        as read by the step that should have produced it.
        """
        while self._new:
            id, result = self._new.pop()
            for reader, port, edge in self._readers(id):
                try:
                    check_present(output_of(edge, {id: result}), reader.id, port)
                except NodeError as error:
                    return reader, error
        return None

    def _readers(self, id: str) -> Iterator[tuple[Step, str | None, Edge]]:
        for step in [step for step in self._steps.values() if step.id in self._planned]:
            for port in step.spec.inputs:
                edges = () if port.lazy else edges_in(step.edges.get(port.name))
                yield from ((step, port.name, edge) for edge in edges if edge.node == id)
        yield from ((self._steps[id], None, edge) for edge in self._outputs.values() if edge.node == id)
