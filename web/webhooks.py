"""Sends webhook calls for finished jobs and batches: the only outgoing connections of the server.

The calls are Standard Webhooks (standardwebhooks.com): an id that is the same for all tries, the time of the try, and
a signature of id, time and body with a secret that is used for nothing else.
"""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import logging
import sqlite3
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from latentloom.api import wire
from latentloom.api.wire_batches import BatchMessage
from latentloom.engine.errors import LoomError, SettingsError
from latentloom.engine.jobs.job import Job
from latentloom.engine.jobs.webhooks import TRIES, Call
from latentloom.engine.settings import Settings
from latentloom.web.http_errors import RequestError
from latentloom.web.logs import fields
from latentloom.web.metrics import Metrics
from latentloom.web.queue_writer import Store
from latentloom.web.wire_jobs import batch_answer, job_answer

log = logging.getLogger("latentloom.webhooks")
SECONDS = 10.0  # timeout of a call
PAUSE = 1.0
PREFIX = "whsec_"
LEAST, MOST = 24, 64  # bytes of a secret


class WebhookRefused(RequestError):
    """The settings do not allow the address."""

    code = "webhook_refused"
    status = 422


class Permission:
    """The allowed addresses, the secret that signs calls, and the way to the addresses."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError if the secret, the proxy or the certificate authorities are not valid."""
        self._hosts = {host.strip().lower().rstrip(".") for host in settings.webhook_hosts}
        self._secret = _secret(settings.webhook_secret)
        self.proxy = _proxy(settings.webhook_proxy)
        self.tls = _tls(settings.webhook_ca)

    def checked(self, address: str | None) -> str | None:
        """Return the address if it is allowed. Raises WebhookRefused."""
        if address is None or self.allows(address):
            return address
        if self._secret is None:
            raise WebhookRefused(
                "webhooks are not configured", hint="the operator of the server can set `webhook_secret`"
            )
        raise WebhookRefused(
            "that address is not allowed for webhooks",
            expected=", ".join(sorted(self._hosts)) or "none: no host is allowed",
            got=address[:100],
            hint="the operator of the server can add its host to `webhook_hosts`",
        )

    def allows(self, address: str) -> bool:
        """Whether the current settings allow an address."""
        try:
            parts = urlsplit(address)
            host = (parts.hostname or "").rstrip(".")
        except ValueError:
            return False
        plain = parts.scheme in ("http", "https") and parts.username is None and parts.password is None
        return plain and host in self._hosts and self._secret is not None

    def signature(self, id: str, timestamp: int, body: bytes) -> str:
        """Return the value of `webhook-signature`."""
        assert self._secret is not None, "an address is allowed before it is told"
        signed = f"{id}.{timestamp}.".encode() + body
        return f"v1,{base64.b64encode(hmac.digest(self._secret, signed, hashlib.sha256)).decode()}"


def _secret(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        key = base64.b64decode(text.strip().removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not text.strip().startswith(PREFIX) or not LEAST <= len(key) <= MOST:
        raise SettingsError(
            "the setting 'webhook_secret' cannot be used",
            expected=f"`{PREFIX}` and {LEAST}..{MOST} random bytes in base64",
            hint=f'echo "{PREFIX}$(openssl rand -base64 32)" makes one',
        )
    return key


def _proxy(text: str | None) -> str | None:
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        parts = urlsplit(text.strip())
        if parts.scheme == "http" and parts.hostname and not parts.path.strip("/") and parts.port != 0:
            return text.strip()
    raise SettingsError("the setting 'webhook_proxy' cannot be used", expected="as http://proxy.example.org:3128")


def _tls(authorities: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if authorities is None:
        return context
    try:
        context.load_verify_locations(authorities)
    except OSError as error:  # an SSLError is one
        raise SettingsError(
            f"the setting 'webhook_ca' cannot be used: {error.strerror or error}",
            expected="a file of certificates in PEM format",
            got=str(authorities),
        ) from None
    return context


class WebhookSender:
    """Makes the calls that are due, until they succeed or are given up."""

    def __init__(
        self, store: Store, permission: Permission, metrics: Metrics, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._permission = permission
        self._metrics = metrics
        self._clock = clock

    async def work(self) -> None:
        """Run until cancelled."""
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        connector = aiohttp.TCPConnector(ssl=self._permission.tls)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            while True:
                try:
                    due = await self._store.read(lambda t: t.webhooks.due())
                    await asyncio.gather(*(self._tell(session, call) for call in due))
                except (LoomError, sqlite3.Error) as error:
                    log.error("webhooks wait for the disk: %s", error)
                await asyncio.sleep(PAUSE)

    async def _tell(self, session: aiohttp.ClientSession, call: Call) -> None:
        about, address = call.about, str(call.about.webhook)
        if not self._permission.allows(address):  # the settings have changed since the job was submitted
            host = urlsplit(address).hostname
            log.warning("an address is no longer allowed for webhooks", extra=fields(about, host=host))
            await self._store.write(lambda t: t.webhooks.told(call))
            return
        id, now = f"{call.kind}_{about.id}", int(self._clock())
        body = message(call, now)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": str(now),
            "webhook-signature": self._permission.signature(id, now, body),
        }
        try:
            async with session.post(
                address, data=body, headers=headers, allow_redirects=False, proxy=self._permission.proxy
            ) as response:
                good = 200 <= response.status < 300
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.info("a webhook was not delivered", extra=fields(about, error=type(error).__name__))
            good = False
        self._metrics.called(good=good, last=call.tries + 1 >= TRIES)
        if good:
            await self._store.write(lambda t: t.webhooks.told(call))
        else:
            await self._store.write(lambda t: t.webhooks.failed(call))


def message(call: Call, now: int) -> bytes:
    """Return the body of a call."""
    about = call.about
    ended = datetime.fromtimestamp(about.finished or now, UTC).isoformat().replace("+00:00", "Z")
    told: wire.WebhookMessage | BatchMessage
    if isinstance(about, Job):
        told = wire.WebhookMessage(type=f"job.{about.state}", timestamp=ended, data=job_answer(about))
    else:
        told = BatchMessage(type=f"batch.{about.state}", timestamp=ended, data=batch_answer(about))
    return told.model_dump_json().encode()
