"""How long finished jobs are kept. Saved files stay, unless a limit on their bytes is set."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from latentloom.engine.jobs.outputs import Output, Outputs
from latentloom.engine.jobs.states import FINAL

BATCH = 200
REPLY_SECONDS = 86400.0  # for so long an idempotency key stands for the first answer; a job's as long as the job
_TABLES = ("events", "effects", "attempts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """What is kept: finished jobs up to an age in seconds and a number, files up to a number of bytes (None: all)."""

    seconds: float
    jobs: int
    file_bytes: int | None = None


def prune_jobs(connection: sqlite3.Connection, keep: Keep, now: float) -> list[str]:
    """Remove the records of finished jobs that are too old or too many, oldest first, at most a batch; their ids.

    A job stays while somebody has yet to be told of its end.
    """
    states = ", ".join(f"'{state}'" for state in FINAL)
    rows = connection.execute(
        f"SELECT id FROM (SELECT id, finished, row_number() OVER (ORDER BY seq DESC) AS place FROM jobs"
        f" WHERE state IN ({states}) AND webhook_due IS NULL) WHERE place > ? OR finished < ? LIMIT ?",
        (keep.jobs, now - keep.seconds, BATCH),
    ).fetchall()
    ids = [(row[0],) for row in rows]
    for table in _TABLES:
        connection.executemany(f"DELETE FROM {table} WHERE job = ?", ids)
    connection.executemany("DELETE FROM jobs WHERE id = ?", ids)
    return [id for (id,) in ids]


def prune_rest(connection: sqlite3.Connection, keep: Keep, now: float) -> None:
    """Remove events of no job as old as jobs that are forgotten, and answers that were kept for repeated requests."""
    old = "job = '' AND json_extract(record, '$.time') < ?"
    connection.execute(
        f"DELETE FROM events WHERE number IN (SELECT number FROM events WHERE {old} LIMIT ?)",
        (now - keep.seconds, 100 * BATCH),
    )
    connection.execute("DELETE FROM replies WHERE made < ?", (now - REPLY_SECONDS,))


def prune_files(outputs: Outputs, keep: Keep) -> Sequence[Output]:
    """Forget the oldest saved files until the rest fits, at most a batch; the caller removes the files themselves."""
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
