"""Events: facts about jobs under one global number, stored, so that everyone reads the same and nobody misses one."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from latentloom.engine.errors import MAX_TEXT

PAGE_CHARACTERS = 4 * 2**20  # of the events that are read at once
RESERVE, MARGIN = 1_000_000, 500_000
"""So many numbers are noted as given before the first of them is; when half of them are, the next ones are noted."""

EPOCH = 1_767_225_600.0
"""The begin of 2026, in seconds since 1970. A server's first number is at least the milliseconds since then."""


class Stored(NamedTuple):
    """An event with its number; `text` is its JSON, the same over every transport."""

    number: int
    job: str
    text: str


class History:
    """The event log. Runs inside the transactions of its caller.

    Numbers are never given twice. They are noted in a synced commit before they are given, and every start of a server
    begins behind both that note and the clock. So a number that was seen before a power failure, or before an older
    copy of the database was put back, stands for no other event afterwards.
    """

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._clock = clock
        self.fresh: list[Stored] = []  # appended since the last `take`

    def begin(self) -> None:
        """Begin behind every number that may have been given. In a synced transaction, once per server."""
        behind = max(self._reserved(), self.last(), int((self._clock() - EPOCH) * 1000))
        self._connection.execute("DELETE FROM sqlite_sequence WHERE name = 'events'")
        self._connection.execute("INSERT INTO sqlite_sequence VALUES ('events', ?)", (behind,))
        self.reserve()

    def reserve(self) -> None:
        """Note numbers as given. In a synced transaction."""
        reserved = str(self.last() + RESERVE)
        self._connection.execute("INSERT OR REPLACE INTO settings VALUES ('reserved', ?)", (reserved,))

    @property
    def short(self) -> bool:
        """Whether it is time to note more numbers."""
        return self.last() + MARGIN > self._reserved()

    def stream(self) -> str:
        """Whose numbers these are: another database has another stream."""
        return str(self._connection.execute("SELECT value FROM settings WHERE name = 'stream'").fetchone()[0])

    def _reserved(self) -> int:
        row = self._connection.execute("SELECT value FROM settings WHERE name = 'reserved'").fetchone()
        return 0 if row is None else int(row[0])

    def append(self, job: str, record: Mapping[str, Any]) -> int:
        """Store an event of a job ("" for the server itself); its number."""
        data = {"job": job, "time": round(self._clock(), 3), **{name: _cut(value) for name, value in record.items()}}
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        made = self._connection.execute("INSERT INTO events (job, record) VALUES (?, ?)", (job, text))
        number = int(made.lastrowid or 0)
        self.fresh.append(Stored(number, job, _numbered(number, text)))
        return number

    def take(self) -> list[Stored]:
        """What was appended since the last call."""
        found, self.fresh = self.fresh, []
        return found

    def last(self) -> int:
        """The newest number, 0 before the first; it is not taken back when its event is pruned."""
        found = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        return 0 if found is None else int(found[0])

    def after(
        self, number: int, job: str | None = None, limit: int = 1000, characters: int = PAGE_CHARACTERS
    ) -> list[Stored]:
        """The events after a number, oldest first, of one job or of all: as many as a page holds."""
        where, values = ("job = ? AND ", (job,)) if job is not None else ("", ())
        rows = self._connection.execute(
            f"SELECT number, job, record FROM events WHERE {where}number > ? ORDER BY number LIMIT ?",
            (*values, number, limit),
        )
        return first_page((Stored(row[0], row[1], _numbered(row[0], row[2])) for row in rows), limit, characters)


def first_page(events: Iterable[Stored], most: int, characters: int = PAGE_CHARACTERS) -> list[Stored]:
    """The first events, as many as the limits allow, and at least one."""
    found: list[Stored] = []
    for stored in events:
        characters -= len(stored.text)
        if len(found) == most or (found and characters < 0):
            break
        found.append(stored)
    return found


def _cut(value: Any) -> Any:
    """A text that is longer than anybody reads, cut: a plugin may warn with megabytes."""
    long = isinstance(value, str) and len(value) > MAX_TEXT
    return f"{value[:MAX_TEXT]}... ({len(value)} characters)" if long else value


def _numbered(number: int, text: str) -> str:
    return f'{{"number":{number},{text[1:]}'
