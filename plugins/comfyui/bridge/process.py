"""The process of one pack as the engine sees it: started when needed, ended when it fails or is cancelled."""

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from latentloom.engine.errors import NodeError
from latentloom.plugins.comfyui.bridge import frames
from latentloom.plugins.comfyui.bridge.frames import Message

PROGRAM = "latentloom.plugins.comfyui.bridge.child"
CHECK_SECONDS = 0.1  # how often a waiting call checks whether its run was cancelled
SECRETS = ("LATENTLOOM_",)  # prefixes of variables that a pack does not see
KEPT_LINES = 5  # of stderr, for the error after a crash


class PackError(NodeError):
    """A pack's code failed, its process ended, or it ran too long."""

    code = "pack_failed"


class PackProcess:
    """Runs messages one at a time. After a crash, a time-out or a cancel the next message starts a new process."""

    def __init__(self, pack: Path, models: Sequence[Path], input: Path, seconds: float) -> None:
        self._arguments = [str(pack), str(input), *map(str, models)]
        self.pack = pack
        self._seconds = seconds
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._stderr_lines: list[str] = []
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
        progress: Callable[[int, int], None] = lambda _step, _total: None,
    ) -> Message:
        """Send a message and return the answer. `check` and `progress` may raise to end the process.

        Raises PackError.
        """
        with self._lock:
            try:
                self._start()
                assert self._child is not None and self._child.stdin is not None
                frames.write(self._child.stdin, body, arrays)
            except OSError:
                raise self._crashed() from None
            try:
                return self._answer(check, progress)
            except BaseException:
                if not self._idle:
                    self.end()
                raise

    def _answer(self, check: Callable[[], None], progress: Callable[[int, int], None]) -> Message:
        self._idle = False
        end = time.monotonic() + self._seconds
        while True:
            check()
            with contextlib.suppress(queue.Empty):
                message = self._answers.get(timeout=CHECK_SECONDS)
                if message is None:
                    raise self._crashed()
                if message.body["is"] == "progress":
                    progress(message.body["step"], message.body["total"])
                    continue
                self._idle = True
                if message.body["is"] == "error":
                    raise self._failed(message.body)
                return message
            if time.monotonic() > end:
                hint = "raise the setting comfy_pack_seconds, if the class needs longer"
                raise PackError(f"the pack '{self.pack.name}' gave no answer in {self._seconds:g} s", hint=hint)

    def _failed(self, body: dict[str, Any]) -> PackError:
        place = f" ({body['where']})" if body.get("where") else ""
        module = body.get("module")
        hint = f"install the module {module} where Latentloom is installed" if module else None
        return PackError(f"{body['message']}{place}", hint=hint)

    def _crashed(self) -> PackError:
        code = None
        if self._child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._child.wait(5)
        self.end()
        stderr_lines = " | ".join(self._stderr_lines[-KEPT_LINES:])
        return PackError(
            f"the process of the pack '{self.pack.name}' ended (exit code {code})",
            got=stderr_lines or None,
            hint="the pack's code crashed; the next use starts a new process",
        )

    # The process

    def _start(self) -> None:
        if self.pid is not None:
            return
        self.end()
        environment = {name: value for name, value in os.environ.items() if not name.startswith(SECRETS)}
        environment |= {"PIP_NO_INDEX": "1", "PYTHONUNBUFFERED": "1", "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-P", "-m", PROGRAM, *self._arguments]
        pipe, where = subprocess.PIPE, self.pack if self.pack.is_dir() else self.pack.parent
        self._child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd=where)
        self._answers, self._stderr_lines = queue.SimpleQueue(), []
        for target in (self._read_answers, self._read_stderr):
            threading.Thread(target=target, args=(self._child, self._answers, self._stderr_lines), daemon=True).start()

    @staticmethod
    def _read_answers(child: subprocess.Popen[bytes], answers: queue.SimpleQueue[Message | None], _: list[str]) -> None:
        assert child.stdout is not None
        try:
            while True:
                answers.put(frames.read(child.stdout))
        except (EOFError, OSError, ValueError):
            answers.put(None)

    @staticmethod
    def _read_stderr(
        child: subprocess.Popen[bytes], _: queue.SimpleQueue[Message | None], stderr_lines: list[str]
    ) -> None:
        assert child.stderr is not None
        with contextlib.suppress(OSError, ValueError):
            for line in child.stderr:
                stderr_lines.append(line.decode(errors="replace").strip()[:300])
                del stderr_lines[:-KEPT_LINES]

    def end(self) -> None:
        """End the process, if it is running."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
