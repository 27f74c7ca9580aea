"""Queues for tests."""

from pathlib import Path
from typing import Any

from latentloom.engine.jobs.attempts import Claim, Limits
from latentloom.engine.jobs.database import connect
from latentloom.engine.jobs.history import History
from latentloom.engine.jobs.job import NewJob
from latentloom.engine.jobs.queue import Queue


def opened(path: Path, limits: Limits | None = None, clock=lambda: 1000.0):
    """A queue with its history and connection."""
    connection = connect(path)
    history = History(connection, clock)
    return Queue(connection, history, limits or Limits(), clock), history, connection


def new_job(id: str, **fields: Any) -> NewJob:
    return NewJob(id=id, document="{}", **fields)


def claim_next(queue: Queue, worker: str = "w", *, device: bool = True) -> Claim | None:
    """Claim the next job: of a worker with a device, a job that needs it comes first."""
    for kind in (True, False) if device else (False,):
        for job in queue.upcoming(1, device=kind):
            return queue.claim(worker, job.id)
    return None


def seen_by(owner: str, made: tuple[Any, ...]) -> Queue:
    """A queue as one owner sees it."""
    _, history, connection = made
    return Queue(connection, history, owner=owner)
