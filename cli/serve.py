"""`loom serve`: runs the server until Ctrl-C."""

import asyncio
import sys
from collections.abc import Mapping

from latentloom.cli.errors import say
from latentloom.engine.models.environment import probe
from latentloom.engine.settings import load_settings
from latentloom.web.access import is_loopback
from latentloom.web.logs import log_to_stderr
from latentloom.web.server import serve as serve_until_stopped


def serve(
    *,
    host: str | None,
    port: int | None,
    devices: list[str] | None,
    cpu_workers: int | None,
    allow_hosts: list[str] | None,
    doors: Mapping[str, bool],
) -> int:
    """Run the server until it stops. `doors`: whether clients of each other program are answered.

    Raises SettingsError, DatabaseError.
    """
    flags = {"host": host, "port": port, "cpu_workers": cpu_workers, "allow_hosts": allow_hosts or None}
    flags |= {name: True for name, on in doors.items() if on}
    settings = load_settings(flags)
    wanted = devices or [settings.device]
    named = list(dict.fromkeys(probe(settings.model_copy(update={"device": device})).device for device in wanted))
    log_to_stderr(settings)
    if not is_loopback(settings.host):
        say("warning: the connection is not encrypted: put a proxy with TLS in front (docs/deploy.md)")

    def tell(address: str, once: str) -> None:
        sys.stdout.write(f"Latentloom is at {address}\n")
        if settings.tokens:
            sys.stdout.write(f"Open this once, in a browser: {once}\n")
        sys.stdout.flush()

    asyncio.run(serve_until_stopped(settings, named, tell))
    return 0
