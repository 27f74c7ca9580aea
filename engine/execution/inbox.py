"""Callbacks from other threads to a run: an async body ended, or another run released a key."""

import queue
from collections.abc import Callable


class Inbox:
    """A queue of callbacks that the run's own thread executes."""

    def __init__(self) -> None:
        self._acts: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.expected = 0  # callbacks that have not been executed yet

    def put(self, act: Callable[[], None]) -> None:
        """Add an expected callback. May be called from any thread."""
        self._acts.put(act)

    def clear(self, *, block: bool) -> None:
        """Execute all queued callbacks. With `block`, wait up to 50 ms for the first one."""
        try:
            while True:
                act = self._acts.get(timeout=0.05) if block else self._acts.get_nowait()
                block = False
                self.expected -= 1
                act()
        except queue.Empty:
            pass
