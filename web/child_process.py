"""A child process in its own process group: its exit is detected at once, and the whole group ends with it."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Self, cast

TAIL = 4096
LAST_WORDS_SECONDS = 1.0


class ChildProcess(asyncio.SubprocessProtocol):
    """A child process and the end of its output.

    `asyncio.subprocess.Process.wait` also waits for the pipes, which a child of the process may hold open forever. This
    class waits only for the exit. Children that started their own session are not ended with it.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = loop.create_future()
        self.pid = 0
        self.tail = b""
        self._quiet: asyncio.Future[None] = loop.create_future()  # done when its output pipe is closed
        self._transport: asyncio.SubprocessTransport

    @classmethod
    async def start(cls, command: Sequence[str], environment: Mapping[str, str], keep: int) -> Self:
        """Start a command. It inherits the file descriptor `keep`; `tail` is the end of its output. Raises OSError."""
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
        """Kill the process group, also if the process itself has ended."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def end(self, seconds: float) -> int:
        """Wait up to `seconds` for the exit, then kill the process group. Returns the exit code."""
        try:
            await asyncio.wait({self.exited}, timeout=seconds)
        finally:
            self.kill()
        code = await self.exited
        await asyncio.wait({self._quiet}, timeout=LAST_WORDS_SECONDS)
        self._transport.close()
        return code

    # Callbacks of the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process has started."""
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self.pid = self._transport.get_pid() or 0

    def pipe_data_received(self, _fd: int, data: bytes) -> None:
        """Keep only the end of the output, so that memory stays bounded."""
        self.tail = (self.tail + data)[-TAIL:]

    def pipe_connection_lost(self, _fd: int, _error: Exception | None) -> None:
        """The output pipe is closed."""
        if not self._quiet.done():
            self._quiet.set_result(None)

    def process_exited(self) -> None:
        """The process has exited."""
        code = self._transport.get_returncode()
        if not self.exited.done() and code is not None:
            self.exited.set_result(code)
