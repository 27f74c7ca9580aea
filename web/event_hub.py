"""Delivers events to clients: recent ones from memory, older ones from the store; slow clients miss previews."""

import asyncio
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from latentloom.engine.jobs.history import Stored, first_page
from latentloom.web.queue_writer import Store

RING_EVENTS, RING_CHARACTERS = 4096, 4 * 2**20
PAGE = 500


class Live(NamedTuple):
    """A live message, which is not stored: a preview picture (bytes) or progress (text)."""

    job: str
    owner: str
    node: str
    body: bytes | str


class Reader:
    """A client's position in the event stream: a number, not a queue. A slow client continues where it was."""

    def __init__(self, number: int, job: str | None, owner: str | None, *, previews: bool) -> None:
        self.number = number
        self.job = job
        self.owner = owner
        self.previews = previews
        self.wake = asyncio.Event()
        self.ended = False  # whether no more events will come: the server is stopping or the job was removed
        self._live: dict[tuple[str, str, bool], Live] = {}

    def offer(self, live: Live) -> None:
        """Keep the newest live message of each node. An older one that was not fetched is dropped."""
        picture = isinstance(live.body, bytes)
        mine = self.job in (None, live.job) and self.owner in (None, live.owner)
        if mine and (self.previews or not picture):
            self._live[(live.job, live.node, picture)] = live
            self.wake.set()

    def wants(self, stored: Stored) -> bool:
        """Whether an event is for this client."""
        return self.job in (None, stored.job) and stored.seen_by(self.owner)

    def end(self) -> None:
        """Mark the stream as ended."""
        self.ended = True
        self.wake.set()

    def take_live(self) -> list[Live]:
        """Return the live messages since the last call."""
        found, self._live = list(self._live.values()), {}
        return found


class EventHub:
    """Delivers events to readers."""

    def __init__(self) -> None:
        self._ring: deque[Stored] = deque()
        self._characters = 0
        self._readers: set[Reader] = set()
        self._closed = False
        self.stream = ""
        self.last = 0

    @property
    def wants_previews(self) -> bool:
        """Whether any reader wants previews."""
        return any(reader.previews for reader in self._readers)

    @property
    def clients(self) -> int:
        """The number of readers."""
        return len(self._readers)

    def publish(self, fresh: list[Stored]) -> None:
        """Publish events that have just been stored."""
        for stored in fresh:
            self._ring.append(stored)
            self._characters += len(stored.text)
        self.last = fresh[-1].number
        while len(self._ring) > RING_EVENTS or self._characters > RING_CHARACTERS:
            self._characters -= len(self._ring.popleft().text)
        for reader in self._readers:
            if any(reader.wants(stored) for stored in fresh):
                reader.wake.set()

    def publish_live(self, live: Live) -> None:
        """Publish a live message."""
        for reader in self._readers:
            reader.offer(live)

    def forget(self, jobs: Collection[str]) -> None:
        """End the readers of removed jobs."""
        for reader in self._readers:
            if reader.job in jobs:
                reader.end()

    def close(self) -> None:
        """End all readers, because the server is stopping."""
        self._closed = True
        for reader in self._readers:
            reader.end()

    @contextmanager
    def reader(self, number: int, job: str | None, owner: str | None, *, previews: bool = False) -> Iterator[Reader]:
        """Create a reader of the events after a number, of one job or of all, that an owner sees; None: an admin."""
        reader = Reader(number, job, owner, previews=previews)
        reader.ended = self._closed
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)

    async def after(self, store: Store, reader: Reader) -> list[Stored]:
        """Return the next page of events for a reader and advance the reader."""
        if reader.number >= self.last:
            return []
        if self._ring and reader.number >= self._ring[0].number - 1:
            found = self._from_ring(reader)
        else:
            number, job, owner, last = reader.number, reader.job, reader.owner, self.last
            rows = await store.read(lambda tables: tables.history.after(number, job, PAGE, owner=owner))
            found = [stored for stored in rows if stored.number <= last]  # unpublished events come later
        if found:
            reader.number = max(reader.number, found[-1].number)
        return found

    def _from_ring(self, reader: Reader) -> list[Stored]:
        found = []
        for stored in reversed(self._ring):
            if stored.number <= reader.number:
                break
            found.append(stored)
        found.reverse()
        mine = [stored for stored in found if reader.wants(stored)]
        page = first_page(mine, PAGE)
        if len(page) == len(mine) and found:
            reader.number = found[-1].number
        return page
