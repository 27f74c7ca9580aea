"""Routes for events: the same numbered events by long polling and WebSocket."""

import asyncio
import contextlib

from aiohttp import WSMsgType, web
from pydantic import Field

from latentloom.api import wire
from latentloom.engine.errors import brief
from latentloom.engine.jobs.history import Stored
from latentloom.web.event_hub import EventHub, Reader
from latentloom.web.http_errors import RequestError
from latentloom.web.routing import API, MOST, Call, Query, Route
from latentloom.web.services import Services

HEARTBEAT_SECONDS = 20.0
QUIET_SECONDS = 15.0  # after this long without a message comes an empty page: a browser's page sees no pings
CLOSE_SECONDS = 2.0
RESET_CODE = 4410  # close code for an invalid position, like HTTP 410
SEND_SECONDS = 30.0  # a client that reads nothing for this long is disconnected


class StreamReset(RequestError):
    """The number is not from this event stream, or has not been used yet."""

    code = "stream_reset"
    status = 410


_STREAM = Field(
    None, max_length=64, description="The `stream` of that number; the number of a different stream is an error."
)


class SocketQuery(Query):
    """What to follow, and from where."""

    after: int | None = Field(
        None, ge=0, le=MOST, description="Events after that number. Default: new events, or all events of a job."
    )
    job: str | None = Field(None, max_length=64, description="Only events of that job.")
    stream: str | None = _STREAM
    previews: bool = Field(False, description="Also send previews, as binary messages.")


class EventQuery(Query):
    """What to read, and from where."""

    after: int = Field(0, ge=0, le=MOST, description="Events after that number.")
    job: str | None = Field(None, max_length=64, description="Only events of that job.")
    stream: str | None = _STREAM
    wait: float = Field(0.0, ge=0, le=60, description="Wait up to this many seconds for the first event.")


async def list_events(services: Services, call: Call) -> web.Response:
    """List stored events after a number; optionally wait for the first one. A user gets those of its own jobs."""
    query, hub = call.query, services.event_hub
    reset = _reset(hub, query.stream, query.after)
    if reset is not None:
        raise reset
    with hub.reader(query.after, query.job, call.sees) as reader:
        found = await hub.after(services.store, reader)
        if not found:
            await _known(call)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(query.wait):
                while not found and not reader.ended:
                    await reader.wake.wait()
                    reader.wake.clear()
                    found = await hub.after(services.store, reader)
        if reader.ended:
            await _known(call)
        return web.Response(text=page(found, reader.number, hub.stream), content_type="application/json")


def page(found: list[Stored], next: int, stream: str) -> str:
    """Return events as the JSON text of an EventPage."""
    return f'{{"events":[{",".join(stored.text for stored in found)}],"next":{next},"stream":"{stream}"}}'


async def _known(call: Call) -> None:
    """Raise UnknownJob if the job does not exist or was removed."""
    job = call.query.job
    if job is not None:
        await call.store.read(lambda t: t.queue.job(job))


def _reset(hub: EventHub, stream: str | None, after: int) -> StreamReset | None:
    """Return the error for a position that this stream does not have, or None."""
    if stream is not None and stream != hub.stream:
        return StreamReset(
            "that number is from another stream of events",
            expected=hub.stream,
            got=brief(stream),
            hint="read the jobs again, and the events from 0 or from the number that `system` returns",
        )
    if after > hub.last:
        return StreamReset(
            "that number has not been assigned yet",
            expected=f"at most {hub.last}",
            got=str(after),
            hint="read the jobs again, and the events from 0 or from the number that `system` returns",
        )
    return None


async def follow_events(services: Services, call: Call) -> web.StreamResponse:
    """Follow events over a WebSocket: text messages are pages of events, or live progress as {"live": ...}.

    A number that the stream does not have is answered by {"reset": {"stream": ..., "next": ...}}; then the socket is
    closed.

    Binary messages are previews: four bytes with the length of a JSON head (job, node, step, media), the head, a JPEG.
    Live progress and previews have no number and are not stored; a slow client does not get all of them. An empty page
    comes after 15 seconds without a message.
    """
    query = call.query
    start = query.after if query.after is not None else 0 if query.job else services.event_hub.last
    await _known(call)
    socket = await opened(call.request)
    reset = _reset(services.event_hub, query.stream, start)
    if reset is not None:
        await _turn_away(socket, services.event_hub, reset)
        return socket
    reading = asyncio.create_task(_until_closed(socket))
    with services.event_hub.reader(start, query.job, call.sees, previews=query.previews) as reader:
        services.sockets.add(socket)
        try:
            await _send_all(services, socket, reader, reading)
            if reader.ended:
                await socket.close(code=1001, message=b"nothing more comes")
        finally:
            services.sockets.discard(socket)
            reading.cancel()
    return socket


async def opened(request: web.Request) -> web.WebSocketResponse:
    """Accept a WebSocket handshake. Raises RequestError."""
    socket = web.WebSocketResponse(
        heartbeat=HEARTBEAT_SECONDS, timeout=CLOSE_SECONDS, max_msg_size=4096, compress=False
    )
    try:
        await socket.prepare(request)
    except UnicodeError:  # aiohttp's own refusal repeats a header that may not be encodable
        raise RequestError("that is not a WebSocket handshake", expected="Upgrade: websocket") from None
    return socket


async def _turn_away(socket: web.WebSocketResponse, hub: EventHub, reset: StreamReset) -> None:
    """Send the stream's position and close. A browser's page cannot see the HTTP status of a handshake."""
    await socket.send_json({"reset": {"stream": hub.stream, "next": hub.last}})
    await socket.close(code=RESET_CODE, message=reset.problem.message.encode())


async def _until_closed(socket: web.WebSocketResponse) -> None:
    async for message in socket:
        if message.type is WSMsgType.ERROR:
            return


async def _send_all(
    services: Services, socket: web.WebSocketResponse, reader: Reader, reading: "asyncio.Task[None]"
) -> None:
    with contextlib.suppress(ConnectionError, TimeoutError):
        while not reading.done() and not reader.ended:
            reader.wake.clear()
            found = await services.event_hub.after(services.store, reader)
            async with asyncio.timeout(SEND_SECONDS):
                await _send(socket, found, reader, services.event_hub.stream)
            if not found and not await _woken(reader, reading):
                await socket.send_str(page([], reader.number, services.event_hub.stream))


async def _woken(reader: Reader, reading: "asyncio.Task[None]") -> bool:
    """Wait until there may be something to send or the client is gone; false if nothing happened for a while."""
    woken = asyncio.create_task(reader.wake.wait())
    done, _ = await asyncio.wait({woken, reading}, timeout=QUIET_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    woken.cancel()
    return bool(done)


async def _send(socket: web.WebSocketResponse, found: list[Stored], reader: Reader, stream: str) -> None:
    if found:
        await socket.send_str(page(found, reader.number, stream))
    for live in reader.take_live():
        if isinstance(live.body, bytes):
            await socket.send_bytes(live.body)
        else:
            await socket.send_str(f'{{"live":{live.body}}}')


ROUTES = (
    Route(
        method="GET",
        path=f"{API}/events",
        handler=list_events,
        query=EventQuery,
        answer=wire.EventPage,
        refuses=(404, 410),
    ),
    Route(
        method="GET",
        path=f"{API}/events/socket",
        handler=follow_events,
        query=SocketQuery,
        answer=wire.EventPage,
        status=101,
        refuses=(404,),
    ),
)
