"""Looks at plugins for the first time, in child processes with a time limit. No plugin's code runs in this process."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from importlib.metadata import EntryPoint
from typing import IO, Any, NamedTuple

from latentloom.engine.errors import Cancelled
from latentloom.engine.types.registry import Distribution, Registration
from latentloom.plugins.registration import Failure

PROGRAM = "latentloom.plugins.inspection_child"
PROCESSES = 4  # one that hangs does not delay the others
SECONDS = 30.0
START_SECONDS = 60.0  # for a process to start
GRACE_SECONDS = 2.0  # for the child to end itself and to say where it hangs
TELL_SECONDS = 3.0  # after which those that are waited for are named
MOST_PRINTED = 2**20  # bytes
KEPT = 4096  # bytes of what was printed last
SECRETS = ("LATENTLOOM_",)  # prefixes of variables that plugins do not see


class Plugin(NamedTuple):
    """A plugin to look at."""

    point: EntryPoint
    distribution: Distribution


Found = Registration | Failure


class Inspector:
    """Looks at plugins once, several at a time."""

    def __init__(self, seconds: float = SECONDS, tell: Callable[[str], None] = lambda _message: None) -> None:
        """`seconds`: the time limit for each plugin. `tell` gets a message if the wait is long."""
        self._seconds = seconds
        self._tell = tell
        self._ended = threading.Event()
        self._processes: list[InspectionProcess] = []
        self._free: queue.SimpleQueue[InspectionProcess] = queue.SimpleQueue()

    def look(self, plugins: Sequence[Plugin]) -> Iterator[tuple[int, Found, float]]:
        """Yield for each plugin its index, what it registers or why it cannot be used, and the seconds that it took.

        The first that is done comes first. Raises Cancelled after `end`.
        """
        if not plugins:
            return
        for _ in range(min(PROCESSES, len(plugins))):
            process = InspectionProcess(self._seconds)
            self._processes.append(process)
            self._free.put(process)
        pool = ThreadPoolExecutor(len(self._processes), "latentloom-inspection")
        try:
            running = {pool.submit(self._one, plugin): n for n, plugin in enumerate(plugins)}
            for future in self._completed(running, [plugin.point.name for plugin in plugins]):
                if self._ended.is_set():
                    raise Cancelled("the inspection of plugins was ended")
                yield running[future], *future.result()
        finally:
            self.end()
            pool.shutdown()

    def _completed(self, running: Mapping[Future[Any], int], names: Sequence[str]) -> Iterator[Future[Any]]:
        left, told, end = set(running), False, time.monotonic() + TELL_SECONDS
        while left:
            done, left = wait(left, None if told else max(0.0, end - time.monotonic()), FIRST_COMPLETED)
            if not done:
                told = True
                self._tell(f"inspecting plugins for the first time: {_named(sorted(names[running[f]] for f in left))}")
            yield from done

    def _one(self, plugin: Plugin) -> tuple[Found, float]:
        process, begin = self._free.get(), time.perf_counter()
        try:
            return _ENDED if self._ended.is_set() else process.look(plugin), time.perf_counter() - begin
        finally:
            self._free.put(process)

    def end(self) -> None:
        """End the processes. A look that is under way fails."""
        self._ended.set()
        for process in self._processes:
            process.close()


_ENDED = Failure("it was not inspected: the program ended", lasting=False)


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


class InspectionProcess:
    """A child process that looks at one plugin after another. After a failure the next look starts a new one."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._printed = _Printed()
        self._used = False  # whether the process has imported a plugin
        self._closed = False
        self._lock = threading.Lock()  # held while the process starts or ends

    def look(self, plugin: Plugin) -> Found:
        """Return what a plugin registers, or why it fails.

        A failure counts only in a process that imported no other plugin, because that may have caused it.
        """
        used = self._used
        found, late = self._ask(plugin)
        if isinstance(found, Failure):
            self._end()
            if used and not late:
                found, _ = self._ask(plugin)
                self._end()
        return found

    def _ask(self, plugin: Plugin) -> tuple[Found, bool]:
        """Return the answer, and whether the time limit ended the process."""
        if not self._start():
            words = self._ended().trace or "no reason is known"
            return Failure(f"no process could be started to inspect it: {words}", lasting=False), False
        self._used, begin = True, time.monotonic()
        self._printed.count = 0
        self._send({
            "plugin": plugin.point.name,
            "value": plugin.point.value,
            "name": plugin.distribution.name,
            "version": plugin.distribution.version,
            "code": plugin.distribution.code,
        })  # fmt: skip
        with contextlib.suppress(ValueError, KeyError, TypeError):
            answer = json.loads(self._heard(begin + self._seconds + GRACE_SECONDS) or b"")
            if "failure" in answer:
                return Failure(*answer["failure"]), False
            return Registration.from_record(plugin.distribution, answer["registration"]), False
        late = time.monotonic() - begin >= self._seconds
        return self._ended(late=late), late

    def _heard(self, end: float) -> bytes | None:
        """Return the next answer; None if the process ended, prints too much or is late."""
        while time.monotonic() < end and self._printed.count <= MOST_PRINTED:
            with contextlib.suppress(queue.Empty):
                return self._answers.get(timeout=0.1)
        return None

    def _ended(self, *, late: bool = False) -> Failure:
        """End the process, if it has not ended, and return the reason with the last that it printed."""
        printed, error = self._printed, self._fault(late=late)
        self._end()
        return Failure(error, trace=printed.text())

    def _fault(self, *, late: bool) -> str:
        if self._printed.count > MOST_PRINTED:
            return f"its import printed more than {MOST_PRINTED // 2**20} MiB"
        if late:
            return f"its import did not end within {self._seconds:g} s"
        code = self._code()
        if code is None:
            return "its import closed the process's output"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"its import crashed: {signal.Signals(-code).name}"
        return f"its import ended the process with exit code {code}"

    def _code(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._child.wait(1) if self._child is not None else None
        return None

    # The process

    def _start(self) -> bool:
        """Start the process, unless it runs. Returns whether it runs."""
        with self._lock:
            if self._closed:
                return False
            if self._child is not None:
                return True
            environment = {name: value for name, value in os.environ.items() if not name.startswith(SECRETS)}
            pipe = subprocess.PIPE
            command = [sys.executable, "-P", "-m", PROGRAM]
            try:
                child = self._child = subprocess.Popen(
                    command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, start_new_session=True
                )
            except OSError:
                return False
            self._answers, self._printed, self._used = queue.SimpleQueue(), _Printed(), False
        threading.Thread(target=_listen, args=(child.stdout, self._answers), daemon=True).start()
        threading.Thread(target=_note, args=(child.stderr, self._printed), daemon=True).start()
        self._send({"path": sys.path, "seconds": self._seconds})
        return self._heard(time.monotonic() + START_SECONDS) is not None

    def _send(self, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # the process has ended, which `_heard` finds
            assert self._child is not None and self._child.stdin is not None
            self._child.stdin.write(json.dumps(message).encode() + b"\n")
            self._child.stdin.flush()

    def _end(self) -> None:
        with self._lock:
            child, self._child = self._child, None
            if child is None:
                return
            with contextlib.suppress(ProcessLookupError, PermissionError, AttributeError):  # Windows has no groups
                os.killpg(child.pid, signal.SIGKILL)
            child.kill()
            child.wait()
            assert child.stdin is not None  # the threads close the other two
            with contextlib.suppress(OSError):
                child.stdin.close()

    def close(self) -> None:
        """End the process for good."""
        self._closed = True
        self._end()


class _Printed:
    """The end of what a process printed."""

    def __init__(self) -> None:
        self.count = 0  # bytes since the last look began
        self._tail = b""
        self.done = threading.Event()

    def add(self, data: bytes) -> None:
        self.count += len(data)
        self._tail = (self._tail + data)[-KEPT:]

    def text(self) -> str | None:
        """Return the text, once the process has closed its output or a second has passed."""
        self.done.wait(1)
        return self._tail.decode(errors="replace").strip() or None


def _listen(stream: IO[bytes], answers: "queue.SimpleQueue[bytes | None]") -> None:
    with stream, contextlib.suppress(OSError, ValueError):
        for line in stream:
            answers.put(line)
    answers.put(None)


def _note(stream: Any, printed: _Printed) -> None:
    with stream, contextlib.suppress(OSError, ValueError):
        while data := stream.read1(65536):
            printed.add(data)
    printed.done.set()
