"""The durable queue: who is next, who has what, and how it ended. Every method runs inside its caller's transaction."""

import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from latentloom.engine.errors import Problem, listed
from latentloom.engine.jobs.faults import KeyReused, QueueFull, StaleAttempt, UnknownJob, WrongState
from latentloom.engine.jobs.history import History
from latentloom.engine.jobs.job import Job, NewJob, job_of
from latentloom.engine.jobs.states import ACTIVE, FINAL, OPEN, State

_ORDER = "priority DESC, position, seq"
_ENDED = (
    "state = ?, finished = ?, result = ?, problems = ?, webhook_due = CASE WHEN webhook IS NULL THEN NULL ELSE 0 END"
)
_SMALLEST_GAP = 1e-6
_LIGHT = (  # what a list shows: documents and results may have megabytes
    "id, state, priority, owner, name, '' AS document, outputs, tags, device, retry_of, webhook, created, started,"
    " finished, attempt, deaths, '{}' AS result, problems"
)
EVENT_PROBLEMS = 10  # of a job that failed; the job itself has all that are told


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many jobs may wait, and how often a job may be begun."""

    queued: int = 10_000
    queued_per_owner: int = 5_000
    deaths: int = 2  # workers that may die over a job while the server lives; the last one fails it
    ends: int = 20  # ends of the server that a job may live through


class Claim(NamedTuple):
    """A job handed to a worker; `token` fences off every earlier attempt."""

    job: Job
    token: int


class Queue:
    """The jobs of one server."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        history: History,
        limits: Limits = Limits(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._connection = connection
        self._history = history
        self._limits = limits
        self._clock = clock

    # Asking

    def job(self, id: str) -> Job:
        """One job. Raises UnknownJob."""
        row = self._connection.execute("SELECT * FROM jobs WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise UnknownJob(f"there is no job '{id[:64]}'")
        return job_of(row)

    def page(
        self,
        *,
        states: Sequence[str] | None = None,
        owner: str | None = None,
        tag: str | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[Job]:
        """Jobs without their documents and results, the newest first; `before` continues after the job of that id.

        Raises UnknownJob.
        """
        wheres, values = ["1"], list[Any]()
        if states is not None:
            wheres.append(f"state IN ({', '.join('?' * len(states))})")
            values += states
        if owner is not None:
            wheres.append("owner = ?")
            values.append(owner)
        if tag is not None:
            wheres.append("EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?)")
            values.append(tag)
        if before is not None:
            wheres.append("seq < ?")
            values.append(self._seq(before))
        statement = f"SELECT {_LIGHT} FROM jobs WHERE {' AND '.join(wheres)} ORDER BY seq DESC LIMIT ?"
        return [job_of(row) for row in self._connection.execute(statement, (*values, limit))]

    def waiting(self, limit: int = 100) -> list[str]:
        """The ids of the queued jobs in the order in which they will be claimed."""
        statement = f"SELECT id FROM jobs WHERE state = 'queued' ORDER BY {_ORDER} LIMIT ?"
        return [row[0] for row in self._connection.execute(statement, (limit,))]

    def counts(self) -> dict[str, int]:
        """How many jobs there are in each state."""
        return dict(self._connection.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())

    def oldest_waiting(self) -> float | None:
        """When the longest waiting job was queued."""
        found = self._connection.execute("SELECT min(created) FROM jobs WHERE state = 'queued'").fetchone()[0]
        return None if found is None else float(found)

    @property
    def paused(self) -> bool:
        """Whether no job is handed out."""
        found = self._connection.execute("SELECT value FROM settings WHERE name = 'paused'").fetchone()
        return found is not None and found[0] == "1"

    def _seq(self, id: str) -> int:
        row = self._connection.execute("SELECT seq FROM jobs WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise UnknownJob(f"there is no job '{id[:64]}'")
        return int(row[0])

    # What people ask for

    def submit(self, new: NewJob, *, front: bool = False) -> Job:
        """Queue a job. The same owner, key and request again give the job that is there.

        Raises KeyReused, QueueFull.
        """
        if new.idempotency_key is not None:
            known = self._known(new)
            if known is not None:
                return known
        self._check_limits(new.owner)
        self._connection.execute(
            "INSERT INTO jobs (id, state, priority, position, owner, name, document, outputs, tags, idempotency_key,"
            " request, device, retry_of, webhook, created) VALUES (?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                new.id,
                new.priority,
                self._end(new.priority, front=front),
                new.owner,
                new.name,
                new.document,
                None if new.outputs is None else json.dumps(new.outputs),
                json.dumps(new.tags, ensure_ascii=False),
                new.idempotency_key,
                new.request,
                new.device,
                new.retry_of,
                new.webhook,
                self._clock(),
            ),
        )
        self._history.append(new.id, {"event": "job_queued", "name": new.name})
        return self.job(new.id)

    def _known(self, new: NewJob) -> Job | None:
        row = self._connection.execute(
            "SELECT * FROM jobs WHERE owner = ? AND idempotency_key = ?", (new.owner, new.idempotency_key)
        ).fetchone()
        if row is not None and row["request"] != new.request:
            raise KeyReused(
                "that idempotency key stands for another request",
                got=new.idempotency_key,
                hint="use a new key for a new request",
            )
        return None if row is None else job_of(row)

    def _check_limits(self, owner: str) -> None:
        waiting = self._connection.execute("SELECT count(*) FROM jobs WHERE state = 'queued'").fetchone()[0]
        own = self._connection.execute(
            "SELECT count(*) FROM jobs WHERE owner = ? AND state = 'queued'", (owner,)
        ).fetchone()[0]
        for count, limit, whose in (
            (waiting, self._limits.queued, "the queue is"),
            (own, self._limits.queued_per_owner, f"the share of '{owner}' is"),
        ):
            if count >= limit:
                raise QueueFull(f"{whose} full", expected=f"at most {limit} waiting jobs", hint="try again later")

    def _end(self, priority: int, *, front: bool) -> float:
        """A position before or after all that wait with a priority, or will again if their attempt comes to nothing."""
        edge = "min(position) - 1" if front else "max(position) + 1"
        statement = f"SELECT {edge} FROM jobs WHERE state = ? AND priority = ?"  # for one state the index tells
        found = [self._connection.execute(statement, (state, priority)).fetchone()[0] for state in OPEN]
        known = [float(position) for position in found if position is not None]
        return (min(known) if front else max(known)) if known else 0.0

    def retry(self, id: str, owner: str) -> Job:
        """Queue a failed or cancelled job again, as a new one. Raises UnknownJob, WrongState, QueueFull."""
        job = self._in_state(id, ("failed", "cancelled"), "tried again")
        return self.submit(
            NewJob(
                id=uuid.uuid4().hex,
                document=job.document,
                name=job.name,
                outputs=job.outputs,
                owner=owner,
                priority=job.priority,
                tags=job.tags,
                device=job.device,
                retry_of=id,
                webhook=job.webhook,
            )
        )

    def move(self, id: str, to: Literal["front", "back"] | None = None, before: str | None = None) -> Job:
        """Place a queued job at the front or back of its priority, or before another one, in that one's priority.

        Raises UnknownJob, WrongState.
        """
        job = self._in_state(id, ("queued",), "moved")
        priority, position = job.priority, 0.0
        if before is not None and before != id:
            other = self._in_state(before, ("queued",), "a place to move to")
            priority, position = other.priority, self._place_before(before, other.priority)
        elif before is None:
            position = self._end(priority, front=to == "front")
        else:
            return job
        self._connection.execute("UPDATE jobs SET priority = ?, position = ? WHERE id = ?", (priority, position, id))
        self._history.append(id, {"event": "job_moved"})
        return self.job(id)

    def _place_before(self, id: str, priority: int) -> float:
        """A position between a job and the one before it; where there is no room, room is made."""
        marks = ", ".join("?" * len(OPEN))
        rows = self._connection.execute(
            f"SELECT id, position FROM jobs WHERE state IN ({marks}) AND priority = ? ORDER BY position, seq",
            (*OPEN, priority),
        ).fetchall()
        at = next(n for n, row in enumerate(rows) if row[0] == id)
        if at == 0:
            return float(rows[0][1]) - 1
        low, high = float(rows[at - 1][1]), float(rows[at][1])
        if high - low > _SMALLEST_GAP:
            return (low + high) / 2
        self._connection.executemany(
            "UPDATE jobs SET position = ? WHERE id = ?", ((float(n), row[0]) for n, row in enumerate(rows))
        )
        return at - 0.5

    def pause(self, paused: bool) -> None:
        """Hand out no more jobs, or go on. What runs goes on either way."""
        self._connection.execute("INSERT OR REPLACE INTO settings VALUES ('paused', ?)", (str(int(paused)),))
        self._history.append("", {"event": "queue_paused" if paused else "queue_resumed"})

    def cancel(self, id: str) -> Job:
        """Cancel a job: a queued one at once, a running one when its worker has stopped. Raises UnknownJob, WrongState.

        Asking twice is no fault.
        """
        job = self.job(id)
        if job.state == "queued":
            return self._end_as(id, "cancelled")
        if job.state in ("claimed", "running"):
            self._set(id, "cancelling")
            self._history.append(id, {"event": "job_cancelling"})
        elif job.state not in ("cancelling", "cancelled"):
            raise WrongState(f"the job is {job.state}: there is nothing to cancel", got=job.state)
        return self.job(id)

    def cancel_all(self, owner: str | None = None) -> list[str]:
        """Cancel all that is not finished, of one owner or of all; their ids."""
        where, values = (" AND owner = ?", (owner,)) if owner is not None else ("", ())
        rows = self._connection.execute(
            f"SELECT id, state FROM jobs WHERE state IN ('queued', 'claimed', 'running'){where} ORDER BY seq", values
        ).fetchall()
        ended = ("cancelled", self._clock(), "{}", "[]")
        self._connection.execute(f"UPDATE jobs SET {_ENDED} WHERE state = 'queued'{where}", (*ended, *values))
        self._connection.execute(
            f"UPDATE jobs SET state = 'cancelling' WHERE state IN ('claimed', 'running'){where}", values
        )
        for id, state in rows:
            self._history.append(id, {"event": "job_cancelled" if state == "queued" else "job_cancelling"})
        return [id for id, _ in rows]

    def _in_state(self, id: str, states: Sequence[State], what: str) -> Job:
        job = self.job(id)
        if job.state not in states:
            raise WrongState(f"the job cannot be {what}: it is {job.state}", expected=", ".join(states), got=job.state)
        return job

    # What workers do

    def claim(self, worker: str, *, device: bool) -> Claim | None:
        """The next job for a worker; None when there is none or the queue is paused.

        One with a device takes jobs that need it first, one without takes none of those.
        """
        if self.paused:
            return None
        row = (self._next("AND device = 1") or self._next("")) if device else self._next("AND device = 0")
        if row is None:
            return None
        made = self._connection.execute("INSERT INTO attempts (job, worker) VALUES (?, ?)", (row[0], worker))
        token = int(made.lastrowid or 0)
        self._connection.execute(
            "UPDATE jobs SET state = 'claimed', attempt = ?, started = coalesce(started, ?) WHERE id = ?",
            (token, self._clock(), row[0]),
        )
        self._history.append(row[0], {"event": "job_claimed", "worker": worker, "attempt": token})
        return Claim(self.job(row[0]), token)

    def _next(self, condition: str) -> Any:
        statement = f"SELECT id FROM jobs WHERE state = 'queued' {condition} ORDER BY {_ORDER} LIMIT 1"
        return self._connection.execute(statement).fetchone()

    def begin(self, id: str, token: int) -> None:
        """The worker has begun. Raises StaleAttempt."""
        if self.held(id, token).state == "claimed":
            self._set(id, "running")
            self._history.append(id, {"event": "job_running", "attempt": token})

    def held(self, id: str, token: int) -> Job:
        """The job of an attempt that still counts. Raises StaleAttempt."""
        job = self.job(id)
        if job.attempt != token or job.state not in ACTIVE:
            raise StaleAttempt(
                "that attempt no longer counts", expected=f"attempt {job.attempt} of a job under way", got=str(token)
            )
        return job

    def finish(
        self,
        id: str,
        token: int,
        state: State,
        result: Mapping[str, Any],
        problems: Sequence[Mapping[str, Any]] = (),
    ) -> Job:
        """The worker's last report: done, failed or cancelled. Raises StaleAttempt."""
        self.held(id, token)
        return self._end_as(id, state, result, problems)

    def release(self, id: str, token: int, why: str, *, counts: bool = True) -> Job:
        """A worker gave a job up: it died, or (not counted) was asked to stop. The job goes on, if it may.

        Raises StaleAttempt.
        """
        job = self.held(id, token)
        if job.state == "cancelling":
            return self._end_as(id, "cancelled")
        deaths = job.deaths + counts
        self._connection.execute("UPDATE jobs SET deaths = ? WHERE id = ?", (deaths, id))
        if deaths >= self._limits.deaths:
            message = f"the worker died {deaths} times over this job; the last time: {why}"
            return self._end_as(id, "failed", problems=[Problem(code="worker_died", message=message).record()])
        return self._again(id, why)

    def attempts(self) -> set[int]:
        """The tokens of all attempts that are under way."""
        return {row[0] for row in self._under_way()}

    def take_back(self, held: Collection[int], why: str) -> list[Job]:
        """Queue every attempt under way again that is not among those held, a fault of the server's own; the jobs."""
        return [self._give_up(id, why) for token, id in self._under_way() if token not in held]

    def _under_way(self) -> list[tuple[int, str]]:
        marks = ", ".join("?" * len(ACTIVE))
        statement = f"SELECT attempt, id FROM jobs WHERE state IN ({marks}) ORDER BY attempt"
        return self._connection.execute(statement, ACTIVE).fetchall()

    def recover(self) -> list[str]:
        """After a start: what ran when the server ended is queued again, at its old place; the ids of those jobs."""
        found = [id for _, id in self._under_way()]
        for id in found:
            self._give_up(id, "the server ended")
        return found

    def _give_up(self, id: str, why: str) -> Job:
        """The server gave a job up: that is no worker's death, and it has a limit of its own."""
        job = self.job(id)
        if job.state == "cancelling":
            return self._end_as(id, "cancelled")
        self._connection.execute("UPDATE jobs SET ends = ends + 1 WHERE id = ?", (id,))
        (ends,) = self._connection.execute("SELECT ends FROM jobs WHERE id = ?", (id,)).fetchone()
        if ends >= self._limits.ends:
            message = f"the server gave this job up {ends} times; the last time: {why}"
            return self._end_as(id, "failed", problems=[Problem(code="server_ended", message=message).record()])
        return self._again(id, why)

    def _again(self, id: str, why: str) -> Job:
        self._set(id, "queued")
        self._history.append(id, {"event": "job_requeued", "why": why})
        return self.job(id)

    def _set(self, id: str, state: State) -> None:
        self._connection.execute("UPDATE jobs SET state = ? WHERE id = ?", (state, id))

    def _end_as(
        self,
        id: str,
        state: State,
        result: Mapping[str, Any] | None = None,
        problems: Sequence[Mapping[str, Any]] = (),
    ) -> Job:
        assert state in FINAL
        kept = (json.dumps(result or {}, ensure_ascii=False), json.dumps(list(problems)))
        self._connection.execute(f"UPDATE jobs SET {_ENDED} WHERE id = ?", (state, self._clock(), *kept, id))
        told = listed([Problem(**problem) for problem in problems], len(problems), EVENT_PROBLEMS)
        records = [problem.record() for problem in told]
        self._history.append(id, {"event": f"job_{state}", **({"problems": records} if records else {})})
        return self.job(id)
