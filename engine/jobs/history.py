"""The event log: events of all jobs with global numbers. They are stored, so that no reader misses one."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from latentloom.engine.errors import MAX_TEXT

PAGE_CHARACTERS = 4 * 2**20  # maximum total length of the events that are read at once
RESERVE, MARGIN = 1_000_000, 500_000
"""Event numbers are reserved RESERVE at a time. The next ones are reserved when fewer than MARGIN are left."""

EPOCH = 1_767_225_600.0
"""The start of 2026, in seconds since 1970. A server's first number is at least the milliseconds since then."""


class Stored(NamedTuple):
    """An event with its number. `text` is its JSON, which is the same for every transport."""

    number: int
    job: str
    text: str
    owner: str | None  # of the job; "" for the server itself, None if the job is gone

    def seen_by(self, owner: str | None) -> bool:
        """Whether an owner sees it; None sees everything."""
        return owner is None or self.owner in ("", owner)


class History:
    """The event log. Uses the caller's transactions.

    A number is never used twice. Numbers are reserved in a durable transaction before they are used, and each start of
    a server continues after both the reserved numbers and the clock. So a number that was used before a power failure,
    or before an older copy of the database was restored, is never used for another event.
    """

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._clock = clock
        self.fresh: list[Stored] = []  # appended since the last `take`

    def begin(self) -> None:
        """Continue after all numbers that may have been used. Call once per server, in a durable transaction."""
        behind = max(self._reserved(), self.last(), int((self._clock() - EPOCH) * 1000))
        self._connection.execute("DELETE FROM sqlite_sequence WHERE name = 'events'")
        self._connection.execute("INSERT INTO sqlite_sequence VALUES ('events', ?)", (behind,))
        self.reserve()

    def reserve(self) -> None:
        """Reserve numbers. Call in a durable transaction."""
        reserved = str(self.last() + RESERVE)
        self._connection.execute("INSERT OR REPLACE INTO settings VALUES ('reserved', ?)", (reserved,))

    @property
    def short(self) -> bool:
        """Whether more numbers must be reserved."""
        return self.last() + MARGIN > self._reserved()

    def stream(self) -> str:
        """Return the id of this sequence of numbers. Each database has its own."""
        return str(self._connection.execute("SELECT value FROM settings WHERE name = 'stream'").fetchone()[0])

    def _reserved(self) -> int:
        row = self._connection.execute("SELECT value FROM settings WHERE name = 'reserved'").fetchone()
        return 0 if row is None else int(row[0])

    def append(self, job: str, record: Mapping[str, Any]) -> int:
        """Store an event of a job ("" for the server itself) and return its number."""
        data = {"job": job, "time": round(self._clock(), 3), **{name: _cut(value) for name, value in record.items()}}
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        owner = self._owner_of(job)
        made = self._connection.execute("INSERT INTO events (job, owner, record) VALUES (?, ?, ?)", (job, owner, text))
        number = int(made.lastrowid or 0)
        self.fresh.append(Stored(number, job, _numbered(number, text), owner))
        return number

    def _owner_of(self, job: str) -> str | None:
        if not job:
            return ""
        row = self._connection.execute("SELECT owner FROM jobs WHERE id = ?", (job,)).fetchone()
        return None if row is None else str(row[0])

    def take(self) -> list[Stored]:
        """Return the events that were appended since the last call."""
        found, self.fresh = self.fresh, []
        return found

    def last(self) -> int:
        """Return the newest number, 0 if there is none. It stays the same if its event is pruned."""
        found = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        return 0 if found is None else int(found[0])

    def after(
        self,
        number: int,
        job: str | None = None,
        limit: int = 1000,
        characters: int = PAGE_CHARACTERS,
        *,
        owner: str | None = None,
    ) -> list[Stored]:
        """Return one page of the events after a number, oldest first, of one job or of all.

        With `owner`, only those that this owner sees.
        """
        where, values = ("number > ?", [number]) if job is None else ("job = ? AND number > ?", [job, number])
        every = f"SELECT number, job, record, owner FROM events WHERE {where}"
        if owner is not None:  # two ranges of an index, which SQLite merges
            every, values = f"{every} AND owner = '' UNION ALL {every} AND owner = ?", [*values, *values, owner]
        rows = self._connection.execute(f"{every} ORDER BY number LIMIT ?", (*values, limit))
        found = (Stored(row[0], row[1], _numbered(row[0], row[2]), row[3]) for row in rows)
        return first_page(found, limit, characters)


def first_page(events: Iterable[Stored], most: int, characters: int = PAGE_CHARACTERS) -> list[Stored]:
    """Return the first events within the limits, at least one."""
    found: list[Stored] = []
    for stored in events:
        characters -= len(stored.text)
        if len(found) == most or (found and characters < 0):
            break
        found.append(stored)
    return found


def _cut(value: Any) -> Any:
    """Truncate a long string: a plugin may warn with megabytes."""
    long = isinstance(value, str) and len(value) > MAX_TEXT
    return f"{value[:MAX_TEXT]}... ({len(value)} characters)" if long else value


def _numbered(number: int, text: str) -> str:
    return f'{{"number":{number},{text[1:]}'
