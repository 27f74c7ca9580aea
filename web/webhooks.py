"""Tells addresses that clients gave of finished jobs: the only connections that the server opens by itself."""

import asyncio
import hashlib
import hmac
import logging
import sqlite3
from urllib.parse import urlsplit

import aiohttp

from latentloom.engine.errors import LoomError
from latentloom.engine.jobs.webhooks import Call
from latentloom.engine.settings import Settings
from latentloom.web.access import Access
from latentloom.web.http_errors import RequestError
from latentloom.web.queue_writer import Store
from latentloom.web.wire_jobs import job_answer

log = logging.getLogger("latentloom.webhooks")
SECONDS = 10.0  # that an address may take to answer
PAUSE = 1.0


class WebhookRefused(RequestError):
    """An address that the settings do not allow."""

    code = "webhook_refused"
    status = 422


def checked(address: str | None, settings: Settings) -> str | None:
    """The address, if its host is named in the settings. Raises WebhookRefused."""
    if address is None:
        return None
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and parts.hostname in settings.webhook_hosts and not parts.username
    except ValueError:
        good = False
    if not good:
        raise WebhookRefused(
            "that address may not be told of jobs",
            expected=", ".join(settings.webhook_hosts) or "none: no host is allowed",
            got=address[:100],
            hint="whoever runs the server can name its host in `webhook_hosts`",
        )
    return address


class WebhookSender:
    """Makes the calls that are due, again and again until they are answered or given up."""

    def __init__(self, store: Store, access: Access) -> None:
        self._store = store
        self._access = access

    async def work(self) -> None:
        """Run until cancelled."""
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                try:
                    due = await self._store.read(lambda t: t.webhooks.due())
                    await asyncio.gather(*(self._tell(session, call) for call in due))
                except (LoomError, sqlite3.Error) as error:
                    log.error("webhooks wait for the disk: %s", error)
                await asyncio.sleep(PAUSE)

    async def _tell(self, session: aiohttp.ClientSession, call: Call) -> None:
        body = job_answer(call.job).model_dump_json().encode()
        signature = hmac.new(self._access.secret_of(call.job.owner).encode(), body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", "X-Latentloom-Signature": f"sha256={signature}"}
        try:
            async with session.post(
                str(call.job.webhook), data=body, headers=headers, allow_redirects=False
            ) as response:
                good = 200 <= response.status < 300
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.info("an address could not be told job=%s: %s", call.job.id, type(error).__name__)
            good = False
        if good:
            await self._store.write(lambda t: t.webhooks.told(call.job.id))
        else:
            await self._store.write(lambda t: t.webhooks.failed(call.job.id, call.tries))
