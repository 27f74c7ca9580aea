"""Emits the numbered events of a run and keeps a report for each node."""

import threading

from latentloom.engine.cache.cache import Result
from latentloom.engine.errors import Cancelled, LoomError, NodeError
from latentloom.engine.events import (
    Listener,
    NodeCached,
    NodeFailed,
    NodeFinished,
    NodeStarted,
    NodeWarning,
    RunEvent,
    RunStarted,
)
from latentloom.engine.execution.call import node_error
from latentloom.engine.execution.outcome import NodeReport
from latentloom.engine.planning.step import Checked, Step


class RunEvents:
    """Delivers events in the order of their numbers. Threads may emit concurrently."""

    def __init__(self, listen: Listener, cancelled: threading.Event) -> None:
        self._listen = listen
        self._cancelled = cancelled
        self._lock = threading.RLock()
        self._number = 0
        self.reports: dict[str, NodeReport] = {}

    def emit(self, event: RunEvent) -> None:
        """Number an event and pass it to the listener."""
        with self._lock:  # held during the call, so that the listener receives events in order
            object.__setattr__(event, "number", self._number)
            self._number += 1
            self._listen(event)

    def begun(self, run: str, nodes: int, checked: Checked) -> None:
        """Report that a run starts, and which of its node types are deprecated."""
        self.emit(RunStarted(run=run, nodes=nodes))
        for node, text in checked.deprecated():
            self.emit(NodeWarning(node=node, code="deprecated_node", message=text))

    def started(self, step: Step) -> None:
        """Report that a body starts."""
        self.emit(NodeStarted(node=step.id, type=step.spec.type))

    def cached(self, step: Step) -> None:
        """Report a cache hit."""
        self.reports[step.id] = NodeReport(step.spec.type, "cached")
        self.emit(NodeCached(node=step.id, type=step.spec.type))

    def economised(self, step: Step, level: int) -> None:
        """Report that a body ran out of memory and the step will be computed in smaller parts."""
        text = f"{step.spec.type} ran out of memory again; from now on it computes in smaller parts (economy {level})"
        self.emit(NodeWarning(node=step.id, code="memory_economy", message=text))

    def finished(self, step: Step, result: Result) -> None:
        """Report that a body succeeded."""
        type, seconds, peak = step.spec.type, result.seconds, result.peak_bytes
        self.reports[step.id] = NodeReport(type, "done", seconds, peak)
        self.emit(NodeFinished(node=step.id, type=type, seconds=seconds, peak_bytes=peak))

    def failed(self, step: Step, error: LoomError) -> LoomError:
        """Report a step's failure once and return the error that ends the run.

        Cancelled is a failure of the step if nobody cancelled the run.
        """
        report = self.reports.get(step.id)
        cancelled = isinstance(error, Cancelled) and self._cancelled.is_set()
        if cancelled or (report is not None and report.status == "failed"):
            return error
        if isinstance(error, Cancelled):
            text = f"{step.spec.type} stopped as if cancelled, but nobody cancelled it: {error.problem.message}"
            error = NodeError(text, node=step.id)
        error = node_error(step, error)
        self.reports[step.id] = NodeReport(step.spec.type, "failed")
        self.emit(NodeFailed(node=step.id, type=step.spec.type, problem=error.problems[0].record()))
        return error
