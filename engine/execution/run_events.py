"""What a run tells while it goes on: numbered events, and a report per node."""

import threading

from latentloom.engine.cache.cache import Result
from latentloom.engine.errors import Cancelled, LoomError, NodeError
from latentloom.engine.events import Event, Listener, NodeCached, NodeFailed, NodeFinished, NodeStarted, NodeWarning
from latentloom.engine.execution.call import node_error
from latentloom.engine.execution.outcome import NodeReport
from latentloom.engine.planning.validate import Step


class RunEvents:
    """Events in the order of their numbers, whichever thread they come from."""

    def __init__(self, listen: Listener, cancelled: threading.Event) -> None:
        self._listen = listen
        self._cancelled = cancelled
        self._lock = threading.RLock()
        self._number = 0
        self.reports: dict[str, NodeReport] = {}

    def emit(self, event: Event) -> None:
        """Number an event and tell it."""
        with self._lock:  # held while listeners hear it, so that they hear events in the order of their numbers
            object.__setattr__(event, "number", self._number)
            self._number += 1
            self._listen(event)

    def started(self, step: Step) -> None:
        """A body begins."""
        self.emit(NodeStarted(node=step.id, type=step.spec.type))

    def cached(self, step: Step) -> None:
        """A result was known."""
        self.reports[step.id] = NodeReport(step.spec.type, "cached")
        self.emit(NodeCached(node=step.id, type=step.spec.type))

    def economised(self, step: Step, level: int) -> None:
        """A body ran out of memory, and the step is computed in smaller parts."""
        text = f"{step.spec.type} ran out of memory again; it computes in smaller parts from now on (economy {level})"
        self.emit(NodeWarning(node=step.id, code="memory_economy", message=text))

    def finished(self, step: Step, result: Result) -> None:
        """A body ended well."""
        type, seconds, peak = step.spec.type, result.seconds, result.peak_bytes
        self.reports[step.id] = NodeReport(type, "done", seconds, peak)
        self.emit(NodeFinished(node=step.id, type=type, seconds=seconds, peak_bytes=peak))

    def failed(self, step: Step, error: LoomError) -> LoomError:
        """The error that a step's fault ends the run with; it is told once. A cancel of nobody's is a fault."""
        report = self.reports.get(step.id)
        cancelled = isinstance(error, Cancelled) and self._cancelled.is_set()
        if cancelled or (report is not None and report.status == "failed"):
            return error
        if isinstance(error, Cancelled):
            text = f"{step.spec.type} stopped as if it were cancelled, and nobody cancelled it: {error.problem.message}"
            error = NodeError(text, node=step.id)
        error = node_error(step, error)
        self.reports[step.id] = NodeReport(step.spec.type, "failed")
        self.emit(NodeFailed(node=step.id, type=step.spec.type, problem=error.problems[0].record()))
        return error
