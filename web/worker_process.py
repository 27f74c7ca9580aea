"""A worker as the server sees it: its process, its socket, its messages. A worker that ends is restarted."""

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from latentloom.engine.errors import LoomError, Problem, WorkflowError
from latentloom.engine.jobs.frames import HEAD, Frame, decode, encode, sizes
from latentloom.engine.settings import PREFIX, Settings
from latentloom.web.background import stray
from latentloom.web.child_process import ChildProcess
from latentloom.web.logs import fields

log = logging.getLogger("latentloom.workers")
SILENCE_SECONDS = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0  # before a worker that ended is restarted
STEADY_SECONDS = 10.0
EXIT_SECONDS = 5.0  # for a worker to exit after its socket is closed
REST_SECONDS = 1.0  # to read the last messages of a worker that ended
ASK_SECONDS = 600.0
HIDDEN: dict[str, Any] = {"tokens": (), "webhook_secret": None, "webhook_proxy": None}
"""The settings with secrets of the server, and what nodes see instead."""
SECRETS = tuple(f"{PREFIX}{name.upper()}" for name in HIDDEN)
BACKLOG = 256  # frames that may wait to be processed


class AnswerError(LoomError):
    """A worker could not answer a query."""

    code = "not_answered"

    def __init__(self, problems: list[dict[str, str]]) -> None:
        super().__init__(problems[0]["message"])
        self._problems = tuple(Problem(**problem) for problem in problems)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The worker's own problems."""
        return self._problems


class WorkerProcess:
    """A worker slot, which runs one worker process at a time.

    `hear` is called with each frame, `gone` with the reason when a worker has ended.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        *,
        device: bool,
        hear: Callable[["WorkerProcess", Frame], Awaitable[None]],
        gone: Callable[["WorkerProcess", str], Awaitable[None]],
    ) -> None:
        self.name = name
        self.device = device
        self.state = "starting"
        self.job: str | None = None
        self.owner = ""  # of the last job
        self.token = 0
        self.pid: int | None = None
        self.memory = 0
        self.models: dict[str, float] = {}  # name of a file of each model that it holds -> seconds of its load
        self.free = 0  # bytes for further models
        self.load = 0.0  # estimate of the loads of its job, in seconds
        self._expected: tuple[float, float] = (0.0, 0.0)  # begin of its job and estimate of its seconds
        self.environment: dict[str, str] = {}
        self.starts = 0
        self.stale = False  # whether what is installed has changed since it started
        self.down_since: float | None = time.monotonic()  # None: it is up
        self.deaths: deque[float] = deque(maxlen=100)  # times at which it ended without a job
        self.kill_at: float | None = None  # when the worker will be killed, on the monotonic clock
        self.stored: dict[str, float] = {}  # node -> when its progress was last stored
        self._settings = settings.model_copy(update=HIDDEN).model_dump(mode="json")
        self._start_seconds = settings.start_seconds
        self._hear = hear
        self._gone = gone
        self._child: ChildProcess | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._began = self._heard = time.monotonic()
        self._frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(BACKLOG)
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._stopping = False
        self._renewed = False  # whether it was ended to start again with what is installed now

    # Messages

    def send(self, is_: str, **fields: Any) -> None:
        """Send a frame. Ignored if there is no worker."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode({"is": is_, **fields}))

    async def ask(self, what: str, *, seconds: float | None = ASK_SECONDS, **arguments: Any) -> Any:
        """Query the worker. `seconds`: timeout; None waits as long as the worker lives. Raises AnswerError."""
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self.send("ask", number=number, what=what, arguments=arguments)
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            raise AnswerError([{"code": "not_answered", "message": "the worker took too long"}]) from None
        finally:
            self._asked.pop(number, None)

    def expect(self, now: float, seconds: float) -> None:
        """Note that it begins a job that will probably take some seconds."""
        self._expected = now, seconds

    def remaining(self, now: float) -> float:
        """Return the probable seconds until its job ends. A job that takes longer than expected is half done."""
        begin, seconds = self._expected
        return seconds - (now - begin) if now - begin < seconds else now - begin

    def kill(self) -> None:
        """Kill the worker's process group."""
        if self._child is not None and not self._child.exited.done():
            self._child.kill()

    def excuse(self, late: float) -> None:
        """Extend all time limits by `late` seconds, in which this server could not read messages."""
        self._heard += late
        self._began += late
        if self.kill_at is not None:
            self.kill_at += late

    def check(self, now: float) -> None:
        """Kill a worker that is silent, does not start, or has ignored a cancel for too long."""
        why = self._fault(now)
        if why is not None:
            log.warning("worker is ended", extra=fields(worker=self.name, why=why))
            self.kill_at, self._heard, self._began = None, now, now
            self.kill()

    def _fault(self, now: float) -> str | None:
        if self.pid is None:
            return None
        if self.kill_at is not None and now > self.kill_at:
            return "it ignored a cancel"
        if self.down_since is not None:
            return "it did not start" if now - self._began > self._start_seconds else None
        silent = now - self._heard > SILENCE_SECONDS and not self._room.locked()  # then the server is behind
        return "silent" if silent else None

    # Lifetime

    async def live(self) -> None:
        """Keep a worker process running until `stop`."""
        pause = FIRST_PAUSE
        while not self._stopping:
            begin = time.monotonic()
            try:
                why = await self._one_life()
            except BaseException as error:  # a fault of the server restarts the worker
                if not stray(error):
                    raise
                log.exception("worker could not be heard", extra=fields(worker=self.name))
                self.kill()
                why = f"{type(error).__name__}: {error}"
            self._settle(why)
            await self._gone(self, why)
            if self._stopping:
                return
            if self._renewed:
                self._renewed = False
                log.info("worker is started again with what is installed now", extra=fields(worker=self.name))
                continue
            log.warning("worker ended", extra=fields(worker=self.name, why=why, **self._last_words()))
            pause = FIRST_PAUSE if time.monotonic() - begin > STEADY_SECONDS else min(pause * 2, LONGEST_PAUSE)
            await asyncio.sleep(pause)

    def _last_words(self) -> dict[str, str]:
        text = "" if self._child is None else self._child.tail.decode(errors="replace").strip()
        return {"printed": text} if text else {}

    def stop(self) -> None:
        """Ask the worker to end at its next step. It is not restarted."""
        self._stopping = True
        self.send("stop")

    def renew(self) -> None:
        """End a stale worker that is idle and has no query to answer. It is started again at once."""
        if self.stale and self.state == "idle" and not self._asked:
            self.state, self._renewed = "starting", True
            self.kill_at = time.monotonic() + EXIT_SECONDS
            self.send("stop")

    def _settle(self, why: str) -> None:
        self.state, self.pid, self.kill_at, self._writer = "starting", None, None, None
        self.models, self.free = {}, 0
        now = time.monotonic()
        self.down_since = now if self.down_since is None else self.down_since
        if not self._stopping and not self._renewed and self.job is None:
            self.deaths.append(now)
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(AnswerError([{"code": "not_answered", "message": f"the worker ended: {why}"}]))

    async def _one_life(self) -> str:
        """Start a worker, process its messages until it ends, and return the reason."""
        self.starts, self.stale = self.starts + 1, False
        self._frames, self._room = asyncio.Queue(), asyncio.Semaphore(BACKLOG)
        child, reader, writer = await self._born()
        self._child, self._writer, self.pid = child, writer, child.pid
        self._began = self._heard = time.monotonic()
        self.send("start", settings=self._settings, device=self.device)
        reading, taking = asyncio.create_task(self._read(reader)), asyncio.create_task(self._take_in())
        try:
            await self._lived(child, reading, taking)
        finally:
            writer.close()
            reading.cancel()
            taking.cancel()
            code = await child.end(EXIT_SECONDS)
        return _reason(code, child.tail)

    async def _born(self) -> tuple[ChildProcess, asyncio.StreamReader, asyncio.StreamWriter]:
        environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as undo:
            undo.callback(ours.close)
            with theirs:
                command = [sys.executable, "-m", "latentloom.api.worker", str(theirs.fileno())]
                child = await ChildProcess.start(command, environment, theirs.fileno())
            undo.callback(child.kill)
            reader, writer = await asyncio.open_connection(sock=ours)
            undo.pop_all()
        return child, reader, writer

    async def _lived(self, child: ChildProcess, reading: "asyncio.Task[None]", taking: "asyncio.Task[None]") -> None:
        """Wait until the worker's process or socket has ended and all its messages are processed."""
        ends: set[asyncio.Future[Any]] = {child.exited, reading, taking}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if child.exited.done():
            child.kill()  # its children may hold the socket open
        await asyncio.wait({reading, taking}, timeout=REST_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for task in (reading, taking):
            if task.done():
                task.result()
        self._frames.put_nowait(None)
        await taking

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Read frames and note when they arrive. Does not process them, because that may wait for a disk."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ValueError):
            while True:
                text, data = sizes(await reader.readexactly(HEAD.size))
                frame = decode(await reader.readexactly(text), await reader.readexactly(data))
                self._heard = time.monotonic()
                await self._room.acquire()
                self._frames.put_nowait(frame)

    async def _take_in(self) -> None:
        """Process the worker's frames in order."""
        while (frame := await self._frames.get()) is not None:
            if frame.kind == "hello":
                self.down_since = None
            if frame.kind == "answer":
                self._answer(frame.message)
            else:
                await self._hear(self, frame)
            self._room.release()

    def _answer(self, message: dict[str, Any]) -> None:
        answer = self._asked.get(message["to"])
        if answer is None or answer.done():
            return
        if "problem" in message:
            answer.set_exception(AnswerError(message["problems"]))
        else:
            answer.set_result(message["value"])


def _reason(code: int, tail: bytes) -> str:
    with contextlib.suppress(ValueError):
        if code < 0:
            return f"it was ended by {signal.Signals(-code).name}"
    last = tail.decode(errors="replace").strip().rpartition("\n")[2][:200]
    return f"it ended with code {code}" + (f": {last}" if last else "")


def refusal(error: LoomError) -> dict[str, Any]:
    """Return an error as an answer to a worker."""
    problem = error.problem if isinstance(error, WorkflowError) else error.problems[0]
    return {"problem": problem.record()}
