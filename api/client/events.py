"""Methods for events: they reconnect automatically and miss no event."""

import contextlib
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import aiohttp

from latentloom.api.client.connection import ServerError
from latentloom.api.client.requests import Requests, path_of
from latentloom.api.wire import EventPage, Job
from latentloom.api.wire_events import EventRecord
from latentloom.engine.jobs.states import FINAL

ENDS = tuple(f"job_{state}" for state in FINAL)
POLL_SECONDS = 20
_RESET = 410  # the server's event stream does not contain this position


class EventMethods(Requests):
    """The routes for events."""

    async def events(
        self, after: int = 0, *, job: str | None = None, stream: str | None = None, wait: float = 0
    ) -> EventPage:
        """Return the stored events after a number, of all jobs or of one.

        Waits up to `wait` (0..60) seconds for the first one. Pass the page's `next` and `stream` to get the following
        events. Raises ServerError.
        """
        return await self._ask(EventPage, "GET", path_of("events", after=after, job=job, stream=stream, wait=wait))

    async def stream(self, id: str, *, after: int = 0, live: bool = False) -> AsyncGenerator[EventRecord, None]:
        """Yield the events of a job, each once, until it has ended. With `live`, also progress without a number.

        If the server's event stream was replaced, because its queue was removed or restored, the events start again
        from the first. Raises ServerError, UnreachableError.
        """
        place = _Place(id, after)
        patience = self._connection.patience()
        while True:
            ended = (await self._ask(Job, "GET", path_of("jobs", id))).state in FINAL
            pages = self._polled(place, 0) if ended else self._pages(place)
            try:
                async with contextlib.aclosing(pages):
                    async for page in pages:
                        patience.renew()
                        if live and "live" in page:
                            yield page["live"]
                        for event in page.get("events", ()):
                            yield event
                            if event["event"] in ENDS:
                                return
                        place.move(page)
                if ended and not place.reset:
                    return  # `after` is beyond its end
            except aiohttp.ClientConnectionError:
                pass
            if not place.started_over():
                await patience.pause()

    async def _pages(self, place: "_Place") -> AsyncGenerator[dict[str, Any], None]:
        """Yield pages over a WebSocket, or by long polling if WebSockets are refused, for instance by a proxy."""
        if not place.polls:
            try:
                async with self._connection.socket("events/socket", place.parameters()) as socket:
                    async for message in socket:
                        if message.type is aiohttp.WSMsgType.TEXT:
                            yield json.loads(message.data)
                return
            except aiohttp.WSServerHandshakeError:
                place.polls = True
        async with contextlib.aclosing(self._polled(place, POLL_SECONDS)) as pages:
            async for page in pages:
                yield page

    async def _polled(self, place: "_Place", seconds: int) -> AsyncGenerator[dict[str, Any], None]:
        """Yield pages by polling: until one is empty if `seconds` is 0, otherwise endlessly."""
        while True:
            try:
                page = await self.request("GET", path_of("events", **place.parameters(), wait=seconds))
            except ServerError as error:
                if error.status != _RESET:
                    raise
                yield {"reset": {}}
                return
            yield page
            if not page["events"] and not seconds:
                return


class _Place:
    """A reader's position in the events of a job."""

    def __init__(self, job: str, after: int) -> None:
        self._job = job
        self._after = after
        self._stream = ""
        self.polls = False  # whether WebSockets are refused
        self.reset = False

    def parameters(self) -> dict[str, str]:
        """Return the query parameters for this position."""
        found = {"job": self._job, "after": str(self._after)}
        return {**found, "stream": self._stream} if self._stream else found

    def move(self, page: Mapping[str, Any]) -> None:
        """Move to the end of a page, or to the start of another stream after a reset."""
        if "reset" in page:
            self._after, self._stream, self.reset = 0, "", True
        self._after, self._stream = page.get("next", self._after), page.get("stream", self._stream)

    def started_over(self) -> bool:
        """Whether a reset occurred since the last call."""
        found, self.reset = self.reset, False
        return found
