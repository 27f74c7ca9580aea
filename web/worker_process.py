"""One worker seen from the server: its process, its socket, its messages. A worker that ends is replaced."""

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from latentloom.engine.errors import LoomError, Problem, WorkflowError
from latentloom.engine.jobs.frames import HEAD, Frame, decode, encode, sizes
from latentloom.engine.settings import Settings
from latentloom.web.background import begun, stray

log = logging.getLogger("latentloom.workers")
SILENCE_SECONDS = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0  # before a worker that ended at once is replaced
STEADY_SECONDS = 10.0
TAIL = 4096
ASK_SECONDS = 600.0


class AnswerError(LoomError):
    """What a worker was asked could not be answered."""

    code = "not_answered"

    def __init__(self, problems: list[dict[str, str]]) -> None:
        super().__init__(problems[0]["message"])
        self._problems = tuple(Problem(**problem) for problem in problems)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The worker's own problems."""
        return self._problems


class WorkerProcess:
    """One place for a worker.

    `hear` is called with every frame, `gone` when a worker ended, with the reason, `failed` when its output could not
    be read for a moment.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        *,
        device: bool,
        hear: Callable[["WorkerProcess", Frame], Awaitable[None]],
        gone: Callable[["WorkerProcess", str], Awaitable[None]],
        failed: Callable[[str], None],
    ) -> None:
        self.name = name
        self.device = device
        self.state = "starting"
        self.job: str | None = None
        self.token = 0
        self.pid: int | None = None
        self.memory = 0
        self.environment: dict[str, str] = {}
        self.starts = 0
        self.kill_at: float | None = None  # when the worker is ended, on the monotonic clock
        self.stored: dict[str, float] = {}  # when a node's progress was last stored
        self._settings = settings.model_copy(update={"tokens": ()}).model_dump(mode="json")
        self._hear = hear
        self._gone = gone
        self._failed = failed
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._heard = time.monotonic()
        self._tail = b""
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._stopping = False

    # Talking

    def send(self, is_: str, **fields: Any) -> None:
        """Send a frame; nothing happens when there is no worker."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode({"is": is_, **fields}))

    async def ask(self, what: str, **arguments: Any) -> Any:
        """Ask the worker for something. Raises AnswerError."""
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self.send("ask", number=number, what=what, arguments=arguments)
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await answer
        except TimeoutError:
            raise AnswerError([{"code": "not_answered", "message": "the worker took too long"}]) from None
        finally:
            self._asked.pop(number, None)

    def kill(self) -> None:
        """End the worker at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def check(self, now: float) -> None:
        """End a worker that is silent, or that ignored a cancel for too long."""
        silent = self.state != "starting" and now - self._heard > SILENCE_SECONDS
        if silent or (self.kill_at is not None and now > self.kill_at):
            log.warning("worker %s is ended: %s", self.name, "silent" if silent else "it ignored a cancel")
            self.kill_at = None
            self.kill()

    # Living

    async def live(self) -> None:
        """Keep a worker process running until `stop`."""
        pause = FIRST_PAUSE
        while not self._stopping:
            begin = time.monotonic()
            try:
                why = await self._one_life()
            except BaseException as error:  # a fault of the server's own costs a worker once, not for good
                if not stray(error):
                    raise
                log.exception("worker %s could not be heard", self.name)
                self.kill()
                why = f"{type(error).__name__}: {error}"
            self._settle(why)
            await self._gone(self, why)
            if self._stopping:
                return
            log.warning("worker %s ended: %s", self.name, why)
            pause = FIRST_PAUSE if time.monotonic() - begin > STEADY_SECONDS else min(pause * 2, LONGEST_PAUSE)
            await asyncio.sleep(pause)

    def stop(self) -> None:
        """Ask the worker to end at its next step; it is not replaced."""
        self._stopping = True
        self.send("stop")

    def _settle(self, why: str) -> None:
        self.state, self.pid, self.kill_at, self._writer = "starting", None, None, None
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(AnswerError([{"code": "not_answered", "message": f"the worker ended: {why}"}]))

    async def _one_life(self) -> str:
        """Start a worker and hear it to its end; why it ended."""
        self.starts += 1
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = await self._spawn(theirs)
            reader, self._writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        self.pid, self._heard = self._process.pid, time.monotonic()
        output = self._process.stdout
        (tail,) = begun({"output": lambda: self._keep_tail(output)}, self._failed)
        self.send("start", settings=self._settings, device=self.device)
        try:
            await self._listen(reader)
        finally:
            self._writer.close()
            code = await self._ended(self._process)
            tail.cancel()
        return _reason(code, self._tail)

    async def _spawn(self, theirs: socket.socket) -> asyncio.subprocess.Process:
        environment = {name: value for name, value in os.environ.items() if name != "LATENTLOOM_TOKENS"}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "latentloom.api.worker",
            str(theirs.fileno()),
            pass_fds=[theirs.fileno()],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ValueError):
            while True:
                text, data = sizes(await reader.readexactly(HEAD.size))
                frame = decode(await reader.readexactly(text), await reader.readexactly(data))
                self._heard = time.monotonic()
                if frame.kind == "answer":
                    self._answer(frame.message)
                else:
                    await self._hear(self, frame)

    def _answer(self, message: dict[str, Any]) -> None:
        answer = self._asked.get(message["to"])
        if answer is None or answer.done():
            return
        if "problem" in message:
            answer.set_exception(AnswerError(message["problems"]))
        else:
            answer.set_result(message["value"])

    async def _keep_tail(self, output: asyncio.StreamReader | None) -> None:
        """The last that a worker printed, for the log; a node that prints without end costs no memory."""
        while output is not None and (chunk := await output.read(65536)):
            self._tail = (self._tail + chunk)[-TAIL:]

    async def _ended(self, process: asyncio.subprocess.Process) -> int:
        """The exit code of a process whose socket is closed; it gets a moment to end by itself."""
        try:
            async with asyncio.timeout(5):
                return await process.wait()
        except TimeoutError:
            process.kill()
            return await process.wait()


def _reason(code: int, tail: bytes) -> str:
    with contextlib.suppress(ValueError):
        if code < 0:
            return f"it was ended by {signal.Signals(-code).name}"
    last = tail.decode(errors="replace").strip().rpartition("\n")[2][:200]
    return f"it ended with code {code}" + (f": {last}" if last else "")


def refusal(error: LoomError) -> dict[str, Any]:
    """A fault as a worker reads it."""
    problem = error.problem if isinstance(error, WorkflowError) else error.problems[0]
    return {"problem": problem.record()}
