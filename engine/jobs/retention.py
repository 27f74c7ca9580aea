"""Retention of finished jobs. Saved files are kept, unless a limit on their bytes is set."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from latentloom.engine.jobs.outputs import Output, Outputs
from latentloom.engine.jobs.states import FINAL

BATCH = 200
REPLY_SECONDS = 86400.0  # how long a reply is stored for its idempotency key; a job's key is kept with the job
_TABLES = ("events", "effects", "attempts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """The limits: age of finished jobs in seconds, number of finished jobs, and bytes of files (None: no limit)."""

    seconds: float
    jobs: int
    file_bytes: int | None = None


def prune_jobs(connection: sqlite3.Connection, keep: Keep, now: float) -> list[str]:
    """Remove up to BATCH finished jobs that are too old or too many, oldest first, and return their ids.

    A job is kept while its webhook call is due, or while its batch has not seen its end.
    """
    states = ", ".join(f"'{state}'" for state in FINAL)
    rows = connection.execute(
        f"SELECT id FROM (SELECT id, finished, row_number() OVER (ORDER BY seq DESC) AS place FROM jobs"
        f" WHERE state IN ({states}) AND webhook_due IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM cells WHERE job = jobs.id AND state = 'open'))"
        " WHERE place > ? OR finished < ? LIMIT ?",
        (keep.jobs, now - keep.seconds, BATCH),
    ).fetchall()
    ids = [(row[0],) for row in rows]
    for table in _TABLES:
        connection.executemany(f"DELETE FROM {table} WHERE job = ?", ids)
    connection.executemany("DELETE FROM jobs WHERE id = ?", ids)
    return [id for (id,) in ids]


def prune_batches(connection: sqlite3.Connection, keep: Keep, now: float) -> None:
    """Remove ended batches that are too old, with their cells."""
    old = "SELECT seq FROM batches WHERE finished < ? AND webhook_due IS NULL LIMIT ?"
    seqs = [(row[0],) for row in connection.execute(old, (now - keep.seconds, BATCH)).fetchall()]
    connection.executemany("DELETE FROM cells WHERE batch = ?", seqs)
    connection.executemany("DELETE FROM batches WHERE seq = ?", seqs)


def prune_rest(connection: sqlite3.Connection, keep: Keep, now: float) -> None:
    """Remove old events that belong to no job, and old replies."""
    old = "job = '' AND json_extract(record, '$.time') < ?"
    connection.execute(
        f"DELETE FROM events WHERE number IN (SELECT number FROM events WHERE {old} LIMIT ?)",
        (now - keep.seconds, 100 * BATCH),
    )
    connection.execute("DELETE FROM replies WHERE made < ?", (now - REPLY_SECONDS,))


def prune_files(outputs: Outputs, keep: Keep) -> Sequence[Output]:
    """Remove the oldest saved files from the table until the rest fits, up to BATCH. The caller removes the files."""
    if keep.file_bytes is None:
        return ()
    over, gone = outputs.total_bytes() - keep.file_bytes, []
    for output in outputs.oldest(BATCH):
        if over <= 0:
            break
        gone.append(output)
        over -= output.bytes
    outputs.forget([output.id for output in gone])
    return gone
