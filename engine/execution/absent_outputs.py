"""Outputs that a node could not give, and the first who reads one."""

from collections.abc import Iterable, Iterator

from latentloom.engine.cache.cache import Result
from latentloom.engine.document.workflow import Edge, edges_in
from latentloom.engine.errors import NodeError
from latentloom.engine.planning.identity import check_present
from latentloom.engine.planning.validate import Step
from latentloom.engine.types.absent import ABSENT


def lacks_outputs(result: Result) -> bool:
    """Whether an output of a step is absent."""
    return any(item.kind == ABSENT for item in result.items())


def missed_output(
    id: str, result: Result, planned: Iterable[Step], outputs: Iterable[Edge]
) -> tuple[str, NodeError] | None:
    """The first step that certainly reads an absent output of a step, and the error that it ends with.

    An output of the workflow counts as read by the step itself.
    """
    for reader, port, edge in _readers(id, planned, outputs):
        try:
            check_present(result.outputs[edge.output], reader, port)
        except NodeError as error:
            return reader, error
    return None


def _readers(id: str, planned: Iterable[Step], outputs: Iterable[Edge]) -> Iterator[tuple[str, str | None, Edge]]:
    for step in planned:
        for port in step.spec.inputs:
            edges = () if port.lazy else edges_in(step.edges.get(port.name))
            yield from ((step.id, port.name, edge) for edge in edges if edge.node == id)
    yield from ((id, None, edge) for edge in outputs if edge.node == id)
