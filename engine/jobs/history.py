"""Events: facts about jobs under one global number, stored, so that everyone reads the same and nobody misses one."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from latentloom.engine.errors import MAX_TEXT

PAGE_CHARACTERS = 4 * 2**20  # of the events that are read at once


class Stored(NamedTuple):
    """An event with its number; `text` is its JSON, the same over every transport."""

    number: int
    job: str
    text: str


class History:
    """The event log. Runs inside the transactions of its caller."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._clock = clock
        self.fresh: list[Stored] = []  # appended since the last `take`

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
        """The newest number, 0 before the first."""
        found = self._connection.execute("SELECT max(number) FROM events").fetchone()[0]
        return int(found or 0)

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
