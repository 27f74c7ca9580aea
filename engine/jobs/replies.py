"""Stored replies for idempotency keys. Uses the caller's transactions."""

import sqlite3
import time
from collections.abc import Callable

from latentloom.engine.jobs.faults import KeyReused


class Replies:
    """Replies to requests with an idempotency key. A repeated request gets the stored reply and has no effect."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._clock = clock

    def find(self, owner: str, key: str, request: str) -> str | None:
        """Return the reply to a request, or None. Raises KeyReused if the key was used with a different request."""
        row = self._connection.execute(
            "SELECT request, answer FROM replies WHERE owner = ? AND idempotency_key = ?", (owner, key)
        ).fetchone()
        if row is not None and row["request"] != request:
            raise reused(key)
        return None if row is None else str(row["answer"])

    def keep(self, owner: str, key: str, request: str, answer: str) -> None:
        """Store a reply, in the transaction that executes the request."""
        self._connection.execute(
            "INSERT INTO replies VALUES (?, ?, ?, ?, ?)", (owner, key, request, answer, self._clock())
        )


def reused(key: str | None) -> KeyReused:
    """Return the error for a key that was used with a different request."""
    return KeyReused(
        "that idempotency key belongs to a different request", got=key, hint="use a new key for a new request"
    )
