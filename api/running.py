"""A run in its own thread. Notebooks show its progress."""

import queue
import threading
from collections.abc import Callable, Iterator

from latentloom.api.notebook import display_running
from latentloom.api.result import Result, result_of
from latentloom.engine.engine import Job
from latentloom.engine.events import Listener, RunEvent
from latentloom.engine.execution.outcome import Outcome


class Running:
    """A run in its own thread. Iterate over its events, then call `result`."""

    def __init__(
        self,
        body: Callable[[Listener, threading.Event], Outcome],
        job: Job,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """`ended` is called in the thread of the run when it has ended."""
        self._ended = ended
        self._events: queue.SimpleQueue[RunEvent | None] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._job = job
        self._outcome: Outcome | None = None
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._go, args=(body,), name="latentloom-run", daemon=True)
        self._thread.start()

    def _go(self, body: Callable[[Listener, threading.Event], Outcome]) -> None:
        try:
            self._outcome = body(self._events.put, self._cancelled)
        except BaseException as error:
            self._fault = error
        finally:
            self._events.put(None)
            self._ended()

    def __iter__(self) -> Iterator[RunEvent]:
        """Yield the events as they happen, until the run ends."""
        while (event := self._events.get()) is not None:
            yield event
        self._events.put(None)

    def _ipython_display_(self) -> None:
        """Show the progress in a notebook until the run ends, then the result."""
        display_running(self)

    def _repr_html_(self) -> str:
        """Wait for the end and return the result for a notebook."""
        return self.result()._repr_html_()

    def cancel(self) -> None:
        """Stop at the next step. Finished results stay in the cache."""
        self._cancelled.set()

    def outcome(self) -> Outcome:
        """Wait for the end. The outcome holds the error if a node failed."""
        self._thread.join()
        if self._fault is not None:
            raise self._fault
        assert self._outcome is not None
        return self._outcome

    def result(self) -> Result:
        """Wait for the end. Raises the error of the node that failed, or Cancelled."""
        return result_of(self.outcome(), self._job)
