"""The runs of an engine that are under way, so that whoever closes it ends them first."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Runs:
    """Runs by their cancels. Safe to share between threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._cancels: dict[threading.Event, int] = {}  # with the thread that runs

    @contextmanager
    def under_way(self, cancelled: threading.Event) -> Iterator[None]:
        """A run of this thread, for the time of a with-block."""
        with self._changed:
            self._cancels[cancelled] = threading.get_ident()
        try:
            yield
        finally:
            with self._changed:
                del self._cancels[cancelled]
                self._changed.notify_all()

    def end(self) -> None:
        """Cancel every run and wait for its end; one of this very thread, which cannot be waited for, goes on."""
        with self._changed:
            for cancelled in self._cancels:
                cancelled.set()
            self._changed.wait_for(lambda: not set(self._cancels.values()) - {threading.get_ident()})
