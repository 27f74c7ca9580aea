"""Runs the server until it receives a stop signal."""

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from latentloom.engine.errors import SettingsError
from latentloom.engine.models.host_memory import collect_rarely
from latentloom.engine.settings import Settings
from latentloom.web.app import create_app
from latentloom.web.connections import Connections
from latentloom.web.logs import fields
from latentloom.web.services import Services

log = logging.getLogger("latentloom.server")
BACKLOG = 512  # connections that the system queues until they are accepted
IDLE_SECONDS = 75.0  # maximum time between requests of a connection
QUIET_SECONDS = 60.0  # minimum time between log lines about missing descriptors


async def serve(settings: Settings, devices: list[str], tell: Callable[[str, str], None]) -> None:
    """Serve until SIGINT or SIGTERM. `tell(address, one_time_address)` is called when jobs can be submitted.

    Raises SettingsError, DatabaseError.
    """
    collect_rarely()
    stop = asyncio.Event()
    services = Services(settings, devices)
    listening = _listen(settings)
    runner = web.AppRunner(create_app(services), access_log=None, shutdown_timeout=5.0, keepalive_timeout=IDLE_SECONDS)
    await runner.setup()
    try:
        with contextlib.closing(await _accept(listening, runner, services)):
            port = listening.getsockname()[1]
            name = "localhost" if settings.host in ("0.0.0.0", "::", "127.0.0.1", "::1") else settings.host
            address = f"http://{name}:{port}"
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, _stop, stop)
            log.info("listening", extra=fields(address=address))
            services.tell(address)
            seen = (settings.public_url or address).rstrip("/")
            tell(address, f"{seen}/?code={services.access.cookies.one_time_code()}")
            await stop.wait()
            log.info("stopping: running jobs go back into the queue")
    finally:
        await runner.cleanup()


async def _accept(listening: socket.socket, runner: web.AppRunner, services: Services) -> asyncio.Server:
    """Accept one connection per loop iteration: asyncio would retry for a whole backlog without descriptors."""
    loop, settings = asyncio.get_running_loop(), services.settings
    assert runner.server is not None
    limits = settings.connections, settings.connections_per_address
    services.connections = Connections(runner.server, *limits, services.access.trusts)
    loop.set_exception_handler(Faults(services.connections))
    accepting = await loop.create_server(services.connections, sock=listening, backlog=1)
    listening.listen(BACKLOG)
    return accepting


class Faults:
    """The exception handler of the loop. If descriptors run out, it closes connections without a token."""

    def __init__(self, connections: Connections, clock: Callable[[], float] = time.monotonic) -> None:
        self._connections = connections
        self._clock = clock
        self._told = -QUIET_SECONDS

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The callback for `loop.set_exception_handler`."""
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in (errno.EMFILE, errno.ENFILE):
            loop.default_exception_handler(context)
            return
        self._connections.make_room()
        if self._clock() - self._told >= QUIET_SECONDS:
            self._told = self._clock()
            log.error("no file descriptors are left: %d connections are open", len(self._connections))


def _stop(stop: asyncio.Event) -> None:
    """Stop the server. A second signal exits at once, which is as safe for the queue as a kill."""
    if stop.is_set():
        log.warning("second stop signal: stopping at once; running jobs continue after the next start")
        os._exit(1)
    stop.set()


def _listen(settings: Settings) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise SettingsError(
            f"the server cannot listen on {settings.host}:{settings.port}: {error.strerror or error}",
            hint="choose another --port, or stop what listens there",
        ) from None
