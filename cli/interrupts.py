"""Ctrl-C: the first one cancels the run, the second ends the process, whatever its code is doing."""

import ctypes
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
            _once(signal.SIGINT)
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


def _once(number: int) -> None:
    """Let the second signal of a kind end the process: Python hears none while C code keeps the interpreter to itself.

    Python's own handler is put back as System V's `signal` does: it hears one signal, then the system's default holds.
    """
    libc = ctypes.CDLL(None) if os.name == "posix" else None
    if hasattr(libc, "sysv_signal"):  # Linux; elsewhere the handler itself ends the process, when it is let
        for name in ("signal", "sysv_signal"):
            function = getattr(libc, name)
            function.argtypes, function.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
        ours = libc.signal(number, None)
        libc.sysv_signal(number, ours)
