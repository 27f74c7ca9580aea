"""Answers that are kept under idempotency keys. Runs inside its caller's transactions."""

import sqlite3
import time
from collections.abc import Callable

from latentloom.engine.jobs.faults import KeyReused


class Replies:
    """What requests with a key were answered, so that the same one again is answered the same and does nothing."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._clock = clock

    def find(self, owner: str, key: str, request: str) -> str | None:
        """The answer to that request. Raises KeyReused if the key came with another one."""
        row = self._connection.execute(
            "SELECT request, answer FROM replies WHERE owner = ? AND idempotency_key = ?", (owner, key)
        ).fetchone()
        if row is not None and row["request"] != request:
            raise reused(key)
        return None if row is None else str(row["answer"])

    def keep(self, owner: str, key: str, request: str, answer: str) -> None:
        """Note an answer, in the transaction that did what was asked."""
        self._connection.execute(
            "INSERT INTO replies VALUES (?, ?, ?, ?, ?)", (owner, key, request, answer, self._clock())
        )


def reused(key: str | None) -> KeyReused:
    """The fault of a key that stands for another request."""
    return KeyReused("that idempotency key stands for another request", got=key, hint="use a new key for a new request")
