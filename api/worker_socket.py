"""A worker's end of its socket: any thread may send frames or call the server; one thread receives frames."""

import itertools
import os
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

from latentloom.engine.errors import Cancelled, LoomError, NodeError, Problem, WorkflowError
from latentloom.engine.jobs.frames import Frame, encode, read_frame


class Refused(NodeError):
    """The server refused a call. The problem is the server's."""

    code = "refused"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class WorkerSocket:
    """The socket to the server. The worker ends when it closes."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.set_inheritable(False)
        if hasattr(os, "register_at_fork"):  # a forked child must not keep the socket open
            os.register_at_fork(after_in_child=connection.close)
        self._sending = threading.Lock()
        self._numbers = itertools.count()
        self._waiting: dict[int, queue.SimpleQueue[dict[str, Any] | None]] = {}
        self.closed = threading.Event()

    def send(self, is_: str, data: bytes = b"", **fields: Any) -> None:
        """Send a frame. Ignored when the server is gone. Raises ValueError or TypeError for invalid JSON values."""
        frame = encode({"is": is_, **fields}, data)
        try:
            with self._sending:
                self._connection.sendall(frame)
        except OSError:
            self.closed.set()

    def call(self, method: str, **fields: Any) -> Any:
        """Call the server and wait for the answer. Raises Refused, or Cancelled if the server is gone."""
        number = next(self._numbers)
        answer = self._waiting[number] = queue.SimpleQueue()
        self.send("call", number=number, method=method, **fields)
        while True:
            try:
                found = answer.get(timeout=0.5)
                break
            except queue.Empty:
                if self.closed.is_set():
                    found = None
                    break
        del self._waiting[number]
        if found is None:
            raise Cancelled("the server is gone")
        if "problem" in found:
            raise Refused(Problem(**found["problem"]))
        return found["value"]

    def listen(self, hear: Callable[[Frame], None]) -> None:
        """Receive frames until the socket closes. Answers go to the waiting calls, all other frames to `hear`."""
        try:
            while True:
                frame = read_frame(self._exactly)
                if frame.kind == "answer":
                    self._waiting[frame.message["to"]].put(frame.message)
                else:
                    hear(frame)
        except (OSError, EOFError, ValueError):
            self.closed.set()

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            part = self._connection.recv(min(count, 2**20))
            if not part:
                raise EOFError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


def problem_of(error: BaseException) -> dict[str, str]:
    """Return an error as JSON."""
    if isinstance(error, WorkflowError):
        return error.problem.record()
    if isinstance(error, LoomError):
        return error.problems[0].record()
    return {"code": "unexpected", "message": f"{type(error).__name__}: {error}"}
