"""A process that runs others' code, as the engine sees it: started when needed, ended when it fails or is cancelled."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from latentloom.engine.errors import NodeError
from latentloom.plugins.isolation import frames
from latentloom.plugins.isolation.frames import Message
from latentloom.plugins.isolation.shared_memory import Segment

CHECK_SECONDS = 0.1  # how often a waiting call checks whether its run was cancelled
SECRETS = ("LATENTLOOM_",)  # prefixes of variables that others' code does not see
KEPT_LINES = 5  # of stderr, for the error after a crash
BOOT = (
    "import json, runpy, sys; path, program = json.loads(sys.argv.pop(1)); "
    "sys.path[:] = path; runpy.run_module(program, run_name='__main__', alter_sys=True)"
)

Reply = tuple[dict[str, Any], Sequence[Any]]
Hear = Callable[[Message], Reply | None]


class ProcessError(NodeError):
    """The process of a plugin ended, ran too long, or could not be started."""

    code = "process_failed"


class Program(NamedTuple):
    """What runs in a process, and its limits."""

    name: str  # for messages: "the plugin 'maze'"
    command: tuple[str, ...]
    seconds: float  # for one answer
    hint: str  # what to do if that is too short
    error: type[ProcessError] = ProcessError
    folder: Path | None = None
    grace: float = 0.0  # seconds that a cancelled call has to end itself


def python(program: str, sites: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the command for a program of this installation that finds packages in `sites` first."""
    path = [*sites, *(place for place in sys.path if place)]
    return (sys.executable, "-P", "-c", BOOT, json.dumps([path, program]))


def environment() -> dict[str, str]:
    """Return the environment variables for others' code: no secrets, no accelerator, no installation of packages."""
    found = {name: value for name, value in os.environ.items() if not name.startswith(SECRETS)}
    return found | {"PIP_NO_INDEX": "1", "PYTHONUNBUFFERED": "1", "CUDA_VISIBLE_DEVICES": ""}


class Process:
    """Runs messages one at a time. After a crash, a time-out or a cancel the next message starts a new process."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._stderr_lines: list[str] = []
        self._segments: list[Segment] = []  # that the process may not have read yet
        self._idle = True

    @property
    def pid(self) -> int | None:
        """The id of the process; None if it is not running."""
        return None if self._child is None or self._child.poll() is not None else self._child.pid

    def ask(
        self,
        body: dict[str, Any],
        arrays: Sequence[Any] = (),
        check: Callable[[], None] = lambda: None,
        hear: Hear = lambda _message: None,
    ) -> Message:
        """Send a message and return the answer: a message that is "answer" or "error". `hear` gets those before.

        What `hear` returns is sent back. `check` and `hear` may raise to end the call. Raises ProcessError.
        """
        with self._lock:
            try:
                self._start()
                self._send(body, arrays)
            except OSError:
                raise self._crashed() from None
            try:
                return self._answer(check, hear)
            except BaseException:
                self._leave()
                raise
            finally:
                self._release()

    def _answer(self, check: Callable[[], None], hear: Hear) -> Message:
        self._idle = False
        end = time.monotonic() + self._program.seconds
        while True:
            check()
            message = self._received(CHECK_SECONDS)
            if message is not None and message.body["is"] in ("answer", "error"):
                return message
            reply = hear(message) if message is not None else None
            if reply is not None:
                with contextlib.suppress(OSError):  # the process has ended, which `_received` finds
                    self._send(*reply)
            if time.monotonic() > end:
                text = f"{self._program.name} gave no answer in {self._program.seconds:g} s"
                raise self._program.error(text, hint=self._program.hint)

    def _received(self, seconds: float) -> Message | None:
        """Return the next message, or None if there is none yet. Raises ProcessError if the process has ended."""
        try:
            message = self._answers.get(timeout=seconds)
        except queue.Empty:
            return None
        if message is None:
            raise self._crashed()
        self._idle = message.body["is"] in ("answer", "error")
        if message.shared is not None:
            with contextlib.suppress(OSError):
                self._send({"is": "taken"})
        return message

    def _leave(self) -> None:
        """Let a call end that nobody waits for any longer, or end the process."""
        end = time.monotonic() + self._program.grace
        with contextlib.suppress(OSError, ProcessError):
            if not self._idle and self._program.grace and self.pid is not None:
                self._send({"is": "cancel"})
            while not self._idle and time.monotonic() < end:
                self._received(CHECK_SECONDS)
        if not self._idle:
            self.end()

    def _crashed(self) -> ProcessError:
        code = None
        if self._child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._child.wait(5)
        self.end()
        stderr_lines = " | ".join(self._stderr_lines[-KEPT_LINES:])
        return self._program.error(
            f"the process of {self._program.name} ended ({_named(code)})",
            got=stderr_lines or None,
            hint="its code crashed or ended the process; the next use starts a new one",
        )

    # The process

    def _send(self, body: Mapping[str, Any], arrays: Sequence[Any] = ()) -> None:
        assert self._child is not None and self._child.stdin is not None
        segment = frames.write(self._child.stdin, dict(body), arrays)
        if segment is not None:
            self._segments.append(segment)

    def _release(self) -> None:
        for segment in self._segments:
            segment.close()
        self._segments = []

    def _start(self) -> None:
        if self.pid is not None:
            return
        self.end()
        pipe = subprocess.PIPE
        self._child = child = subprocess.Popen(
            self._program.command,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=environment(),
            cwd=self._program.folder,
            start_new_session=True,
        )
        self._answers, self._stderr_lines = queue.SimpleQueue(), []
        for target in (self._read_answers, self._read_stderr):
            threading.Thread(target=target, args=(child, self._answers, self._stderr_lines), daemon=True).start()

    @staticmethod
    def _read_answers(child: subprocess.Popen[bytes], answers: queue.SimpleQueue[Message | None], _: list[str]) -> None:
        assert child.stdout is not None
        try:
            with child.stdout:
                while True:
                    answers.put(frames.read(child.stdout))
        except (EOFError, OSError, ValueError):
            answers.put(None)

    @staticmethod
    def _read_stderr(
        child: subprocess.Popen[bytes], _: queue.SimpleQueue[Message | None], stderr_lines: list[str]
    ) -> None:
        assert child.stderr is not None
        with contextlib.suppress(OSError, ValueError), child.stderr:
            for line in child.stderr:
                stderr_lines.append(line.decode(errors="replace").strip()[:300])
                del stderr_lines[:-KEPT_LINES]

    def end(self) -> None:
        """End the process and those that it started, if it is running.

        The threads that read its output close that: processes of its own sessions may hold it open.
        """
        child, self._child = self._child, None
        if child is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError, AttributeError):  # Windows has no groups
            os.killpg(child.pid, signal.SIGKILL)
        child.kill()
        child.wait()
        if child.stdin is not None:
            with contextlib.suppress(OSError):
                child.stdin.close()


def _named(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"
