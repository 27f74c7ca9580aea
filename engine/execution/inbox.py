"""What other threads hand to a run: async bodies that ended, keys that other runs are through with."""

import queue
from collections.abc import Callable


class Inbox:
    """Acts for the run's own thread to do."""

    def __init__(self) -> None:
        self._acts: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.expected = 0  # acts that are still to come

    def put(self, act: Callable[[], None]) -> None:
        """Hand an expected act over, from any thread."""
        self._acts.put(act)

    def clear(self, *, block: bool) -> None:
        """Do every act that is there; with block, wait a moment for the first."""
        try:
            while True:
                act = self._acts.get(timeout=0.05) if block else self._acts.get_nowait()
                block = False
                self.expected -= 1
                act()
        except queue.Empty:
            pass
