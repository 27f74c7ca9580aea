"""A process at the head of a group of its own: its exit is seen at once, and nothing that it began outlives it."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Self, cast

TAIL = 4096
LAST_WORDS_SECONDS = 1.0


class ChildProcess(asyncio.SubprocessProtocol):
    """A process that was started, and the last that it printed.

    `asyncio.subprocess.Process.wait` waits for the pipes too, which a child of the process may hold open for ever; this
    waits for the exit alone. Children that made a session of their own are not ended with it.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = loop.create_future()
        self.pid = 0
        self.tail = b""
        self._quiet: asyncio.Future[None] = loop.create_future()  # done when nobody holds its output any more
        self._transport: asyncio.SubprocessTransport

    @classmethod
    async def start(cls, command: Sequence[str], environment: Mapping[str, str], keep: int) -> Self:
        """Start a command; it gets the file descriptor `keep`, and prints into `tail`. Raises OSError."""
        _, protocol = await asyncio.get_running_loop().subprocess_exec(
            cls,
            *command,
            pass_fds=[keep],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        return protocol

    def kill(self) -> None:
        """End the process with all that it began, or what it began if it has ended."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def end(self, seconds: float) -> int:
        """Give it so long to end by itself, then end it; its exit code. Nothing of its group is left."""
        try:
            await asyncio.wait({self.exited}, timeout=seconds)
        finally:
            self.kill()
        code = await self.exited
        await asyncio.wait({self._quiet}, timeout=LAST_WORDS_SECONDS)
        self._transport.close()
        return code

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It has begun."""
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self.pid = self._transport.get_pid() or 0

    def pipe_data_received(self, _fd: int, data: bytes) -> None:
        """Keep the last that it printed: one that prints without end costs no memory."""
        self.tail = (self.tail + data)[-TAIL:]

    def pipe_connection_lost(self, _fd: int, _error: Exception | None) -> None:
        """Nobody holds its output any more."""
        if not self._quiet.done():
            self._quiet.set_result(None)

    def process_exited(self) -> None:
        """It has ended."""
        code = self._transport.get_returncode()
        if not self.exited.done() and code is not None:
            self.exited.set_result(code)
