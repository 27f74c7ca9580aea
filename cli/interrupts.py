"""Ctrl-C: the first one cancels the run, the second ends the process, even while native code is running."""

import ctypes
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

CANCELLED = 130


class Interrupts:
    """Inside the with-block, the first SIGINT calls `cancel` and the second ends the process.

    Does nothing outside the main thread.
    """

    def __init__(self, cancel: Callable[[], None]) -> None:
        self._cancel = cancel
        self._asked = False
        self._before: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._hear)
            _once(signal.SIGINT)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        if self._asked:
            os._exit(CANCELLED)  # partial files are removed by the next run
        self._asked = True
        os.write(2, b"\ncancelling, again to kill\n")  # print() is not safe in a signal handler
        self._cancel()


def _once(number: int) -> None:
    """Make the second signal end the process, even while C code holds the GIL and Python handles no signals.

    Python's own handler is installed with System V semantics: it handles one signal, then the default action applies.
    """
    libc = ctypes.CDLL(None) if os.name == "posix" else None
    if libc is not None and hasattr(
        libc, "sysv_signal"
    ):  # Linux; elsewhere the handler ends the process, if it can run
        for name in ("signal", "sysv_signal"):
            function = getattr(libc, name)
            function.argtypes, function.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
        ours = libc.signal(number, None)
        libc.sysv_signal(number, ours)
