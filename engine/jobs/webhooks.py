"""Webhook calls for finished jobs, with retries. Uses the caller's transactions."""

import sqlite3
import time
from collections.abc import Callable
from typing import NamedTuple

from latentloom.engine.jobs.job import Job, job_of

TRIES = 10  # the last one is about 9 minutes after the first
FIRST_PAUSE = 1.0


class Call(NamedTuple):
    """A finished job whose webhook is due, and the number of failed tries."""

    job: Job
    tries: int


class Webhooks:
    """The webhook calls that are due."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._clock = clock

    def due(self, limit: int = 20) -> list[Call]:
        """Return the calls to make now, those due longest first."""
        rows = self._connection.execute(
            "SELECT * FROM jobs WHERE webhook_due <= ? ORDER BY webhook_due LIMIT ?", (self._clock(), limit)
        )
        return [Call(job_of(row), row["webhook_tries"]) for row in rows]

    def told(self, job: str) -> None:
        """Record a successful call."""
        self._connection.execute("UPDATE jobs SET webhook_due = NULL WHERE id = ?", (job,))

    def failed(self, job: str, tries: int) -> None:
        """Record a failed call. It is retried after a pause that doubles each time, up to TRIES times."""
        due = None if tries + 1 >= TRIES else self._clock() + FIRST_PAUSE * 2**tries
        self._connection.execute(
            "UPDATE jobs SET webhook_due = ?, webhook_tries = ? WHERE id = ?", (due, tries + 1, job)
        )
