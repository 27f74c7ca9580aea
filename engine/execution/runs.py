"""The active runs of an engine. Closing the engine ends them first."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Runs:
    """Active runs, each by its cancel event. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._cancels: dict[threading.Event, int] = {}  # cancel event -> id of the run's thread

    @contextmanager
    def under_way(self, cancelled: threading.Event) -> Iterator[None]:
        """Register a run of this thread for the duration of a with-block."""
        with self._changed:
            self._cancels[cancelled] = threading.get_ident()
        try:
            yield
        finally:
            with self._changed:
                del self._cancels[cancelled]
                self._changed.notify_all()

    def end(self) -> None:
        """Cancel all runs and wait until they end, except a run of the calling thread, which cannot wait for itself."""
        with self._changed:
            for cancelled in self._cancels:
                cancelled.set()
            self._changed.wait_for(lambda: not set(self._cancels.values()) - {threading.get_ident()})
