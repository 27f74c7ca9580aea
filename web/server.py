"""Runs the server until it is told to stop."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable

from aiohttp import web

from latentloom.engine.errors import SettingsError
from latentloom.engine.settings import Settings
from latentloom.web.app import create_app
from latentloom.web.services import Services

log = logging.getLogger("latentloom.server")


async def serve(settings: Settings, devices: list[str], tell: Callable[[str, str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `tell(address, one_time_address)` is called once jobs can be submitted.

    Raises SettingsError, DatabaseError.
    """
    stop = asyncio.Event()
    services = Services(settings, devices)
    listening = _listen(settings)
    runner = web.AppRunner(create_app(services), access_log=None, shutdown_timeout=5.0)
    await runner.setup()
    try:
        await web.SockSite(runner, listening, backlog=512).start()
        port = listening.getsockname()[1]
        name = "localhost" if settings.host in ("0.0.0.0", "::", "127.0.0.1", "::1") else settings.host
        address = f"http://{name}:{port}"
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        log.info("listening address=%s", address)
        services.tell(address)
        tell(address, f"{address}/?code={services.access.one_time_code()}")
        await stop.wait()
        log.info("stopping: what runs goes back into the queue")
    finally:
        await runner.cleanup()


def _listen(settings: Settings) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family, backlog=512)
    except OSError as error:
        raise SettingsError(
            f"the server cannot listen on {settings.host}:{settings.port}: {error.strerror or error}",
            hint="choose another --port, or stop what listens there",
        ) from None
