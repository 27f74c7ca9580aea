"""The WebSocket for ComfyUI clients: events of their jobs in ComfyUI's format, and the length of the queue."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from latentloom.engine.jobs.history import Stored
from latentloom.engine.jobs.states import FINAL
from latentloom.plugins.comfyui import protocol
from latentloom.web.comfyui_jobs import one_job, remaining, told
from latentloom.web.event_hub import Live, Reader
from latentloom.web.routes.events import SEND_SECONDS, opened
from latentloom.web.routing import Call
from latentloom.web.services import Services

ENDS = tuple(f"job_{state}" for state in FINAL)
COUNTED = ("job_queued", *ENDS)  # events that change the length of the queue


async def follow(services: Services, call: Call, client: str, features: Mapping[str, Any]) -> web.StreamResponse:
    """Send events to a client until it disconnects or the server stops."""
    socket = await opened(call.request)
    reading = asyncio.create_task(_answer_until_closed(socket, features))
    hub = services.event_hub
    with hub.reader(hub.last, None, call.sees, previews=True) as reader:
        services.sockets.add(socket)
        try:
            await _Follower(services, socket, call, client).send_all(reader, reading)
            if reader.ended:
                await socket.close(code=1001, message=b"the server is stopping")
        finally:
            services.sockets.discard(socket)
            reading.cancel()
    return socket


async def _answer_until_closed(socket: web.WebSocketResponse, features: Mapping[str, Any]) -> None:
    async for message in socket:
        if message.type is WSMsgType.ERROR:
            return
        if message.type is WSMsgType.TEXT and '"feature_flags"' in message.data:
            with contextlib.suppress(ConnectionError):
                await socket.send_json({"type": "feature_flags", "data": dict(features)})


class _Follower:
    """One client's socket. It caches the running jobs, so that each is read once."""

    def __init__(self, services: Services, socket: web.WebSocketResponse, call: Call, client: str) -> None:
        self._services = services
        self._socket = socket
        self._call = call
        self._client = client
        self._jobs: dict[str, protocol.Told | None] = {}  # None: not this client's
        self._saved: dict[str, dict[str, list[str]]] = {}

    async def send_all(self, reader: Reader, reading: "asyncio.Task[None]") -> None:
        """Send until the client disconnects, does not read, or the stream ends."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            await self._send([protocol.status(await remaining(self._call.store), self._client)])
            while not reading.done() and not reader.ended:
                reader.wake.clear()
                found = await self._services.event_hub.after(self._services.store, reader)
                for stored in found:
                    await self._stored(stored)
                for live in reader.take_live():
                    await self._live(live)
                if not found:
                    woken = asyncio.create_task(reader.wake.wait())
                    await asyncio.wait({woken, reading}, return_when=asyncio.FIRST_COMPLETED)
                    woken.cancel()

    async def _stored(self, stored: Stored) -> None:
        record = json.loads(stored.text)
        event = record["event"]
        job = await self._told(stored.job) if stored.job else None
        if job is not None:
            if event in ENDS:
                job = replace(job, state=event.removeprefix("job_"))
            saved = self._saved.setdefault(stored.job, {})
            record = self._below_output(record)
            if event == "file_saved" and protocol.is_sent(job, record):
                await self._send_picture(record["path"])
            else:
                await self._send(protocol.messages(job, record, saved))
        if event in ENDS:
            self._jobs.pop(stored.job, None)
            self._saved.pop(stored.job, None)
        if event in COUNTED:
            await self._send([protocol.status(await remaining(self._call.store))])

    async def _live(self, live: Live) -> None:
        job = await self._told(live.job)
        if job is None:
            return
        if isinstance(live.body, bytes):
            async with asyncio.timeout(SEND_SECONDS):
                await self._socket.send_bytes(protocol.preview(live.body))
        else:
            await self._send(protocol.messages(job, json.loads(live.body), {}))

    async def _send_picture(self, path: str) -> None:
        """Send a saved picture as a binary message."""
        with contextlib.suppress(OSError):  # removed since
            data = await self._services.disk((self._services.settings.output / path).read_bytes)
            async with asyncio.timeout(SEND_SECONDS):
                await self._socket.send_bytes(protocol.sent_picture(data))

    async def _told(self, id: str) -> protocol.Told | None:
        """Return a job of this client or of a client without an id; None for any other job."""
        if id not in self._jobs:
            job = await self._call.store.read(lambda t: one_job(t, id, self._call.owner))
            found = None if job is None else told(job)
            self._jobs[id] = found if found is not None and found.client in ("", self._client) else None
        return self._jobs[id]

    def _below_output(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return a record whose path is relative to the output folder."""
        path = record.get("path")
        if not isinstance(path, str) or not Path(path).is_absolute():
            return record
        return {**record, "path": Path(path).relative_to(self._services.settings.output).as_posix()}

    async def _send(self, messages: list[protocol.Message]) -> None:
        for message in messages:
            async with asyncio.timeout(SEND_SECONDS):
                await self._socket.send_str(json.dumps(message, ensure_ascii=False, allow_nan=False))
