"""A job as data: the request and the state."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from latentloom.engine.jobs.states import State


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to be queued: a resolved document in canonical form, and the options of the job."""

    id: str
    document: str
    name: str = ""
    outputs: tuple[str, ...] | None = None  # the wanted named outputs; None: all
    owner: str = "local"
    priority: int = 0
    tags: tuple[str, ...] = ()
    idempotency_key: str | None = None
    request: str = ""  # a digest of the request: detects another request with the same key
    device: bool = True  # whether it needs a worker with a device
    retry_of: str | None = None
    webhook: str | None = None  # a URL that is called when the job has ended
    models: tuple[str, ...] = ()  # the names of the model files that the document names, without folders


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job in the queue. `attempt` is the fencing token of its newest attempt, 0 before the first."""

    id: str
    seq: int  # number in the order of submission
    state: State
    priority: int
    owner: str
    name: str
    document: str
    outputs: tuple[str, ...] | None
    tags: tuple[str, ...]
    device: bool
    retry_of: str | None
    webhook: str | None
    created: float
    started: float | None
    finished: float | None
    attempt: int
    deaths: int
    models: tuple[str, ...]
    result: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[Mapping[str, Any], ...] = ()


def job_of(row: sqlite3.Row) -> Job:
    """Return the job in a row of the table."""
    outputs = row["outputs"]
    return Job(
        id=row["id"],
        seq=row["seq"],
        state=row["state"],
        priority=row["priority"],
        owner=row["owner"],
        name=row["name"],
        document=row["document"],
        outputs=None if outputs is None else tuple(json.loads(outputs)),
        tags=tuple(json.loads(row["tags"])),
        device=bool(row["device"]),
        retry_of=row["retry_of"],
        webhook=row["webhook"],
        created=row["created"],
        started=row["started"],
        finished=row["finished"],
        attempt=row["attempt"],
        deaths=row["deaths"],
        models=tuple(json.loads(row["models"])),
        result=json.loads(row["result"]),
        problems=tuple(json.loads(row["problems"])),
    )
