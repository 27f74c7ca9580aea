"""Batches: many runs of one workflow, each a cell with its own inputs. Uses the caller's transactions.

The cells wait here and become jobs a few at a time, so that a large batch neither fills the queue nor delays others.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from latentloom.engine.jobs.faults import QueueFull, UnknownBatch, WrongState
from latentloom.engine.jobs.job import NewJob
from latentloom.engine.jobs.queue import Queue
from latentloom.engine.jobs.states import FINAL

BatchState = Literal["running", "done", "failed", "cancelled"]
CellState = Literal["waiting", "open", "done", "failed", "cancelled"]
CELL_STATES: tuple[CellState, ...] = ("waiting", "open", "done", "failed", "cancelled")
TAG = "batch:"
"""Prefix of the tag that the jobs of a batch have."""

_FINAL = ", ".join(f"'{state}'" for state in FINAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """A batch to be stored: a document without the values of its cells, the cells, and the order in which they run."""

    id: str
    document: str
    name: str
    outputs: tuple[str, ...] | None
    owner: str
    device: bool
    columns: int  # of its contact sheet; 0: about as many as rows
    priority: int
    tags: tuple[str, ...]
    webhook: str | None
    cells: Sequence[Mapping[str, Any]]
    order: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A stored batch. `counts` has the number of its cells in each state."""

    seq: int
    id: str
    document: str
    name: str
    outputs: tuple[str, ...] | None
    owner: str
    state: BatchState
    device: bool
    columns: int
    priority: int
    tags: tuple[str, ...]
    webhook: str | None
    created: float
    finished: float | None
    total: int
    counts: Mapping[CellState, int]


class CellRecord(NamedTuple):
    """A cell of a batch. `place` is its number in the table, from 0; `seconds` is how long its job took."""

    place: int
    inputs: Mapping[str, Any]
    state: CellState
    job: str | None
    seconds: float | None
    problems: Sequence[Mapping[str, Any]]


class Batches:
    """The batches of a server, as one owner or an admin sees them."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        queue: Queue,
        clock: Callable[[], float] = time.time,
        owner: str | None = None,
    ) -> None:
        """`owner`: no other owner's batches exist for this object; None: all batches."""
        self._connection = connection
        self._queue = queue
        self._clock = clock
        self._owner = owner

    # Queries

    def get(self, id: str) -> Batch:
        """Return a batch. Raises UnknownBatch."""
        own, values = self._own()
        row = self._connection.execute(f"SELECT * FROM batches WHERE id = ?{own}", (id, *values)).fetchone()
        if row is None:
            raise UnknownBatch(f"there is no batch '{id[:64]}'")
        return self._batch(row)

    def page(self, before: int | None = None, limit: int = 100, *, name: str | None = None) -> list[Batch]:
        """Return batches, newest first. `before`: `seq` of the previous page's last one. `name`: of the workflow."""
        own, values = self._own()
        where = f"seq < coalesce(?, seq + 1) AND name = coalesce(?, name){own}"
        statement = f"SELECT * FROM batches WHERE {where} ORDER BY seq DESC LIMIT ?"
        rows = self._connection.execute(statement, (before, name, *values, limit))
        return [self._batch(row) for row in rows.fetchall()]

    def _own(self) -> tuple[str, tuple[str, ...]]:
        return ("", ()) if self._owner is None else (" AND owner = ?", (self._owner,))

    def running(self) -> list[Batch]:
        """Return the batches that have not ended, in the order in which they get jobs."""
        rows = self._connection.execute("SELECT * FROM batches WHERE state = 'running' ORDER BY priority DESC, seq")
        return [self._batch(row) for row in rows.fetchall()]

    def cells(self, batch: Batch, after: int = -1, limit: int = 1000) -> list[CellRecord]:
        """Return cells in the order of the table, from behind a place."""
        rows = self._connection.execute(
            "SELECT place, inputs, state, job, seconds, problems FROM cells WHERE batch = ? AND place > ?"
            " ORDER BY place LIMIT ?",
            (batch.seq, after, limit),
        )
        return [_cell(row) for row in rows]

    def waiting(self, batch: Batch, limit: int) -> list[CellRecord]:
        """Return the cells that run next."""
        rows = self._connection.execute(
            "SELECT place, inputs, state, job, seconds, problems FROM cells WHERE batch = ? AND state = 'waiting'"
            " ORDER BY turn LIMIT ?",
            (batch.seq, limit),
        )
        return [_cell(row) for row in rows]

    def _batch(self, row: sqlite3.Row) -> Batch:
        statement = "SELECT state, count(*) FROM cells WHERE batch = ? GROUP BY state"
        counts = dict(self._connection.execute(statement, (row["seq"],)).fetchall())
        return Batch(
            seq=row["seq"],
            id=row["id"],
            document=row["document"],
            name=row["name"],
            outputs=None if row["outputs"] is None else tuple(json.loads(row["outputs"])),
            owner=row["owner"],
            state=row["state"],
            device=bool(row["device"]),
            columns=row["columns"],
            priority=row["priority"],
            tags=tuple(json.loads(row["tags"])),
            webhook=row["webhook"],
            created=row["created"],
            finished=row["finished"],
            total=row["total"],
            counts={state: counts.get(state, 0) for state in CELL_STATES},
        )

    # Requests

    def add(self, new: NewBatch) -> Batch:
        """Store a batch with its cells."""
        made = self._connection.execute(
            "INSERT INTO batches (id, state, document, name, outputs, owner, device, columns, priority, tags, webhook,"
            " created, total) VALUES (?, 'running', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                new.id,
                new.document,
                new.name,
                None if new.outputs is None else json.dumps(new.outputs),
                new.owner,
                new.device,
                new.columns,
                new.priority,
                json.dumps(new.tags, ensure_ascii=False),
                new.webhook,
                self._clock(),
                len(new.cells),
            ),
        )
        turns = {place: turn for turn, place in enumerate(new.order)}
        self._connection.executemany(
            "INSERT INTO cells (batch, place, turn, inputs, state) VALUES (?, ?, ?, ?, 'waiting')",
            (
                (made.lastrowid, place, turns[place], json.dumps(cell, ensure_ascii=False))
                for place, cell in enumerate(new.cells)
            ),
        )
        return self.get(new.id)

    def cancel(self, id: str) -> list[str]:
        """Cancel the cells that have not ended, and return the ids of those jobs that have to be stopped.

        Raises UnknownBatch.
        """
        batch = self.get(id)
        self._connection.execute(
            "UPDATE cells SET state = 'cancelled' WHERE batch = ? AND state = 'waiting'", (batch.seq,)
        )
        rows = self._connection.execute(
            "SELECT job FROM cells JOIN jobs ON jobs.id = job WHERE batch = ? AND cells.state = 'open'"
            f" AND jobs.state NOT IN ({_FINAL})",
            (batch.seq,),
        ).fetchall()
        stopping = [job for (job,) in rows if self._queue.cancel(job).state == "cancelling"]
        self.settle(batch)
        return stopping

    def retry(self, id: str) -> Batch:
        """Let the failed and cancelled cells wait again. Raises UnknownBatch, WrongState if there are none."""
        batch = self.get(id)
        changed = self._connection.execute(
            "UPDATE cells SET state = 'waiting', job = NULL, seconds = NULL, problems = '[]' WHERE batch = ?"
            " AND state IN ('failed', 'cancelled')",
            (batch.seq,),
        ).rowcount
        if not changed:
            raise WrongState(
                "the batch has nothing to try again", expected="failed or cancelled cells", got=batch.state
            )
        self._connection.execute(
            "UPDATE batches SET state = 'running', finished = NULL, webhook_due = NULL, webhook_tries = 0"
            " WHERE seq = ?",
            (batch.seq,),
        )
        return self.get(id)

    # Feeding

    def settle(self, batch: Batch) -> Batch:
        """Take over how jobs of a batch have ended, and end the batch after its last cell."""
        self._connection.execute(
            "UPDATE cells SET state = jobs.state, seconds = jobs.finished - jobs.started, problems = jobs.problems"
            " FROM jobs WHERE jobs.id = cells.job AND cells.batch = ? AND cells.state = 'open'"
            f" AND jobs.state IN ({_FINAL})",
            (batch.seq,),
        )
        now = self.get(batch.id)
        if now.state != "running" or now.counts["waiting"] or now.counts["open"]:
            return now
        ends: tuple[Literal["cancelled", "failed"], ...] = ("cancelled", "failed")
        state: BatchState = next((state for state in ends if now.counts[state]), "done")
        due = None if now.webhook is None else 0
        self._connection.execute(
            "UPDATE batches SET state = ?, finished = ?, webhook_due = ? WHERE seq = ?",
            (state, self._clock(), due, batch.seq),
        )
        return self.get(batch.id)

    def begin(self, batch: Batch, jobs: Iterable[tuple[int, NewJob]]) -> None:
        """Queue a job for each of some waiting cells, given by their places, until the queue is full."""
        for place, job in jobs:
            mine = "batch = ? AND place = ? AND state = 'waiting'"  # it may have been cancelled meanwhile
            if not self._connection.execute(f"SELECT 1 FROM cells WHERE {mine}", (batch.seq, place)).fetchone():
                continue
            try:
                self._queue.submit(job)
            except QueueFull:
                return
            self._connection.execute(
                f"UPDATE cells SET state = 'open', job = ? WHERE {mine}", (job.id, batch.seq, place)
            )

    def fail(self, batch: Batch, place: int, problems: Sequence[Mapping[str, Any]]) -> None:
        """Record that a waiting cell cannot become a job."""
        self._connection.execute(
            "UPDATE cells SET state = 'failed', problems = ? WHERE batch = ? AND place = ? AND state = 'waiting'",
            (json.dumps(list(problems)), batch.seq, place),
        )


def _cell(row: sqlite3.Row) -> CellRecord:
    return CellRecord(row[0], json.loads(row[1]), row[2], row[3], row[4], json.loads(row[5]))
