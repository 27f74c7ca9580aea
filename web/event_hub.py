"""Events on their way to clients: the newest from memory, older ones from the store, previews only to who is quick."""

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
    """Something of the moment that is not stored: a preview picture (bytes), or a step of progress (text)."""

    job: str
    node: str
    body: bytes | str


class Reader:
    """One client's place in the stream. It holds a number, never a queue: a slow client reads on where it was."""

    def __init__(self, number: int, job: str | None, *, previews: bool) -> None:
        self.number = number
        self.job = job
        self.previews = previews
        self.wake = asyncio.Event()
        self.ended = False  # whether nothing more will come: the server is stopping, or the job is forgotten
        self._live: dict[tuple[str, str, bool], Live] = {}

    def offer(self, live: Live) -> None:
        """Keep the newest live body of each node; an older one that was not fetched is dropped."""
        picture = isinstance(live.body, bytes)
        if (self.previews or not picture) and self.job in (None, live.job):
            self._live[(live.job, live.node, picture)] = live
            self.wake.set()

    def end(self) -> None:
        """Nothing more will come."""
        self.ended = True
        self.wake.set()

    def take_live(self) -> list[Live]:
        """What was offered since the last call."""
        found, self._live = list(self._live.values()), {}
        return found


class EventHub:
    """Hands events to readers."""

    def __init__(self) -> None:
        self._ring: deque[Stored] = deque()
        self._characters = 0
        self._readers: set[Reader] = set()
        self._closed = False
        self.stream = ""
        self.last = 0

    @property
    def wants_previews(self) -> bool:
        """Whether anybody looks at previews."""
        return any(reader.previews for reader in self._readers)

    @property
    def clients(self) -> int:
        """How many readers there are."""
        return len(self._readers)

    def publish(self, fresh: list[Stored]) -> None:
        """Events that have just been stored."""
        for stored in fresh:
            self._ring.append(stored)
            self._characters += len(stored.text)
        self.last = fresh[-1].number
        while len(self._ring) > RING_EVENTS or self._characters > RING_CHARACTERS:
            self._characters -= len(self._ring.popleft().text)
        jobs = {stored.job for stored in fresh}
        for reader in self._readers:
            if reader.job is None or reader.job in jobs:
                reader.wake.set()

    def publish_live(self, live: Live) -> None:
        """Something of the moment."""
        for reader in self._readers:
            reader.offer(live)

    def forget(self, jobs: Collection[str]) -> None:
        """Jobs whose events have been removed: nobody waits for more of them."""
        for reader in self._readers:
            if reader.job in jobs:
                reader.end()

    def close(self) -> None:
        """The server is stopping: nobody waits any more."""
        self._closed = True
        for reader in self._readers:
            reader.end()

    @contextmanager
    def reader(self, number: int, job: str | None, *, previews: bool = False) -> Iterator[Reader]:
        """A reader of what comes after a number, of one job or of all."""
        reader = Reader(number, job, previews=previews)
        reader.ended = self._closed
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)

    async def after(self, store: Store, reader: Reader) -> list[Stored]:
        """The next events for a reader, at most a page; it moves on behind them."""
        if reader.number >= self.last:
            return []
        if self._ring and reader.number >= self._ring[0].number - 1:
            found = self._from_ring(reader)
        else:
            number, job, last = reader.number, reader.job, self.last
            rows = await store.read(lambda tables: tables.history.after(number, job, PAGE))
            found = [stored for stored in rows if stored.number <= last]  # what has not been published yet comes later
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
        mine = [stored for stored in found if reader.job in (None, stored.job)]
        page = first_page(mine, PAGE)
        if len(page) == len(mine) and found:
            reader.number = found[-1].number
        return page
