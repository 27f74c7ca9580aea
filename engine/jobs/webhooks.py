"""Webhook calls for finished jobs and batches, with retries. Uses the caller's transactions."""

import sqlite3
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from latentloom.engine.jobs.batches import Batch, Batches
from latentloom.engine.jobs.job import Job, job_of

TRIES = 10  # the last one is about 9 minutes after the first
FIRST_PAUSE = 1.0
Kind = Literal["job", "batch"]
_TABLES: dict[Kind, str] = {"job": "jobs", "batch": "batches"}


class Call(NamedTuple):
    """A finished job or batch whose webhook is due, and the number of failed tries."""

    about: Job | Batch
    tries: int

    @property
    def kind(self) -> Kind:
        """What has ended."""
        return "job" if isinstance(self.about, Job) else "batch"


class Webhooks:
    """The webhook calls that are due."""

    def __init__(
        self, connection: sqlite3.Connection, batches: Batches, clock: Callable[[], float] = time.time
    ) -> None:
        self._connection = connection
        self._batches = batches
        self._clock = clock

    def due(self, limit: int = 20) -> list[Call]:
        """Return the calls to make now, those due longest first."""
        due = "WHERE webhook_due <= ? ORDER BY webhook_due LIMIT ?"
        jobs = self._connection.execute(f"SELECT * FROM jobs {due}", (self._clock(), limit))
        calls = [Call(job_of(row), row["webhook_tries"]) for row in jobs]
        ended = self._connection.execute(f"SELECT id, webhook_tries FROM batches {due}", (self._clock(), limit))
        return calls + [Call(self._batches.get(row[0]), row[1]) for row in ended.fetchall()]

    def told(self, call: Call) -> None:
        """Record a successful call."""
        self._connection.execute(f"UPDATE {_TABLES[call.kind]} SET webhook_due = NULL WHERE id = ?", (call.about.id,))

    def failed(self, call: Call) -> None:
        """Record a failed call. It is retried after a pause that doubles each time, up to TRIES times."""
        due = None if call.tries + 1 >= TRIES else self._clock() + FIRST_PAUSE * 2**call.tries
        self._connection.execute(
            f"UPDATE {_TABLES[call.kind]} SET webhook_due = ?, webhook_tries = ? WHERE id = ?",
            (due, call.tries + 1, call.about.id),
        )
