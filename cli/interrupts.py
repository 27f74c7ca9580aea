"""Ctrl-C: the first one cancels the run, the second ends the process."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

CANCELLED = 130


class Interrupts:
    """While it is entered, SIGINT calls `cancel` once and then kills. Does nothing outside the main thread."""

    def __init__(self, cancel: Callable[[], None]) -> None:
        self._cancel = cancel
        self._asked = False
        self._before: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked:
            os._exit(CANCELLED)  # half-written files have names of their own and are swept by the next run
        self._asked = True
        os.write(2, b"\ncancelling, again to kill\n")  # print() could be interrupted by itself here
        self._cancel()
