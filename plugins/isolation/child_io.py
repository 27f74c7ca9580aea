"""The line of a child process to the process that started it. For the programs of child processes."""

import contextlib
import os
import sys
import threading
from collections import deque
from pathlib import Path
from typing import IO, Any

from latentloom.plugins.isolation import frames
from latentloom.plugins.isolation.frames import Message
from latentloom.plugins.isolation.shared_memory import Segment

OOM_SCORE = 1000  # Linux: if memory runs out, the system kills this process first


class Line:
    """Receives and sends messages."""

    def __init__(self, questions: IO[bytes], answers: IO[bytes]) -> None:
        self._questions = questions
        self._answers = answers
        self._sending = threading.Lock()  # a node may report from several threads
        self._segments: deque[Segment] = deque()  # that the other process may not have read yet

    def receive(self) -> Message:
        """Return the next message. At the end of the input the process ends."""
        while True:
            try:
                message = frames.read(self._questions)
            except EOFError:
                os._exit(0)  # threads of others' code must not keep the process alive
            if message.body["is"] != "taken":
                return message
            self._release_first()

    def send(self, body: dict[str, Any], arrays: Any = ()) -> None:
        """Send a message. Raises ValueError or TypeError for a body that is not JSON."""
        with self._sending, contextlib.suppress(BrokenPipeError):  # the other process is gone, which `receive` finds
            segment = frames.write(self._answers, body, arrays)
            if segment is not None:
                self._segments.append(segment)

    def _release_first(self) -> None:
        with self._sending:
            self._segments.popleft().close()


def opened() -> Line:
    """Return the line, on what were the standard input and output.

    From now on these are empty and the error output: what others' code prints must not mix with messages.
    """
    line = Line(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")
    return line
