"""The attempts of a job: which worker runs it, how it ended, when it is retried. Uses the caller's transactions."""

import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from latentloom.engine.errors import Problem, listed
from latentloom.engine.jobs.faults import StaleAttempt, UnknownJob
from latentloom.engine.jobs.history import History
from latentloom.engine.jobs.job import Job, job_of
from latentloom.engine.jobs.routing import QueuedJob
from latentloom.engine.jobs.states import ACTIVE, FINAL, State
from latentloom.engine.jobs.turns import Waiting, merged

ORDER = "priority DESC, position, seq"
ENDED = (
    "state = ?, finished = ?, result = ?, problems = ?, webhook_due = CASE WHEN webhook IS NULL THEN NULL ELSE 0 END"
)
EVENT_PROBLEMS = 10  # problems in the event of a failed job; the job itself has more


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many jobs may wait, and how often a job may be started."""

    queued: int = 10_000
    queued_per_owner: int = 5_000
    deaths: int = 2  # a job fails at this number of worker deaths
    ends: int = 20  # a job fails at this number of server ends


class Claim(NamedTuple):
    """A job that a worker has claimed. `token` is the fencing token: it invalidates all earlier attempts."""

    job: Job
    token: int


class Attempts:
    """The operations of workers on the jobs of a server."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        history: History,
        limits: Limits = Limits(),
        clock: Callable[[], float] = time.time,
        owner: str | None = None,
    ) -> None:
        """`owner`: no other owner's jobs exist for this object; None: all jobs."""
        self._connection = connection
        self._history = history
        self._limits = limits
        self._clock = clock
        self._owner = owner

    def job(self, id: str) -> Job:
        """Return a job. Raises UnknownJob."""
        row = self._connection.execute("SELECT * FROM jobs WHERE id = ?", (id,)).fetchone()
        if row is None or self._owner not in (None, row["owner"]):
            raise UnknownJob(f"there is no job '{id[:64]}'")
        return job_of(row)

    @property
    def paused(self) -> bool:
        """Whether the queue is paused: no job can be claimed."""
        found = self._connection.execute("SELECT value FROM settings WHERE name = 'paused'").fetchone()
        return found is not None and found[0] == "1"

    def upcoming(self, limit: int, *, device: bool) -> list[QueuedJob]:
        """Return the next waiting jobs that need a device, or that need none. The owners take turns; see `turns`.

        Empty if the queue is paused. Reads one row more for each owner, however many jobs wait.
        """
        if self.paused:
            return []
        owned = [self._of(owner, device) for owner in self._owners(device)]
        ids = [job.id for job in islice(merged(owned, self._turns()), limit)]
        return [self._queued(id) for id in ids]

    def _queued(self, id: str) -> QueuedJob:
        statement = "SELECT models, device, priority FROM jobs WHERE id = ?"
        models, device, priority = self._connection.execute(statement, (id,)).fetchone()
        return QueuedJob(id, frozenset(json.loads(models)), bool(device), priority)

    def _owners(self, device: bool) -> Iterator[str]:
        """Yield the owners of waiting jobs. Each takes a step in an index."""
        statement, owner = "SELECT min(owner) FROM jobs WHERE state = 'queued' AND device = ? AND owner > ?", ""
        while (row := self._connection.execute(statement, (device, owner)).fetchone())[0]:
            owner = row[0]
            yield owner

    def _of(self, owner: str, device: bool) -> Iterator[Waiting]:
        """Yield an owner's waiting jobs in its order. Rows are read when they are taken."""
        queued = "FROM jobs WHERE state = 'queued' AND device = ? AND owner = ?"
        statement = f"SELECT owner, priority, id {queued} ORDER BY {ORDER}"
        return (Waiting(*row) for row in self._connection.execute(statement, (device, owner)))

    def claim(self, worker: str, id: str) -> Claim | None:
        """Claim a job for a worker; None if it does not wait any more, or the queue is paused."""
        found = self._connection.execute("SELECT owner FROM jobs WHERE id = ? AND state = 'queued'", (id,)).fetchone()
        if found is None or self.paused:
            return None
        made = self._connection.execute("INSERT INTO attempts (job, worker) VALUES (?, ?)", (id, worker))
        token = int(made.lastrowid or 0)
        self._connection.execute(
            "UPDATE jobs SET state = 'claimed', attempt = ?, started = coalesce(started, ?) WHERE id = ?",
            (token, self._clock(), id),
        )
        self._connection.execute("INSERT OR REPLACE INTO turns VALUES (?, ?)", (found["owner"], token))
        self._history.append(id, {"event": "job_claimed", "worker": worker, "attempt": token})
        return Claim(self.job(id), token)

    def _turns(self) -> dict[str, int]:
        """Return the number of each owner's last turn."""
        return dict(self._connection.execute("SELECT owner, turn FROM turns").fetchall())

    def begin(self, id: str, token: int) -> None:
        """Record that the worker has started the job. Raises StaleAttempt."""
        if self.held(id, token).state == "claimed":
            self._set(id, "running")
            self._history.append(id, {"event": "job_running", "attempt": token})

    def held(self, id: str, token: int) -> Job:
        """Return the job of a valid attempt. Raises StaleAttempt."""
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
        """Record the worker's final report: done, failed or cancelled. Raises StaleAttempt."""
        self.held(id, token)
        return self._end_as(id, state, result, problems)

    def release(self, id: str, token: int, why: str, *, counts: bool = True) -> Job:
        """Release the job of a worker that died, or that was asked to stop (`counts=False`). It is queued again.

        It fails if it has reached the limit of worker deaths. Raises StaleAttempt.
        """
        job = self.held(id, token)
        if job.state == "cancelling":
            return self._end_as(id, "cancelled")
        deaths = job.deaths + counts
        self._connection.execute("UPDATE jobs SET deaths = ? WHERE id = ?", (deaths, id))
        if deaths >= self._limits.deaths:
            message = f"the worker died {deaths} times while it ran this job; the last time: {why}"
            return self._end_as(id, "failed", problems=[Problem(code="worker_died", message=message).record()])
        return self._again(id, why)

    def attempts(self) -> set[int]:
        """Return the tokens of all active attempts."""
        return {row[0] for row in self._under_way()}

    def take_back(self, held: Collection[int], why: str) -> list[Job]:
        """Queue again all active attempts not in `held`, and return their jobs. Counts against the limit `ends`."""
        return [self._give_up(id, why) for token, id in self._under_way() if token not in held]

    def _under_way(self) -> list[tuple[int, str]]:
        marks = ", ".join("?" * len(ACTIVE))
        statement = f"SELECT attempt, id FROM jobs WHERE state IN ({marks}) ORDER BY attempt"
        return self._connection.execute(statement, ACTIVE).fetchall()

    def recover(self) -> list[str]:
        """After a start of the server, queue the jobs that were active when it ended, at their old places.

        Returns their ids.
        """
        found = [id for _, id in self._under_way()]
        for id in found:
            self._give_up(id, "the server ended")
        return found

    def _give_up(self, id: str, why: str) -> Job:
        """Queue a job again that the server gave up. This counts against the limit `ends`, not as a worker death."""
        job = self.job(id)
        if job.state == "cancelling":
            return self._end_as(id, "cancelled")
        self._connection.execute("UPDATE jobs SET ends = ends + 1 WHERE id = ?", (id,))
        (ends,) = self._connection.execute("SELECT ends FROM jobs WHERE id = ?", (id,)).fetchone()
        if ends >= self._limits.ends:
            message = f"the server abandoned this job {ends} times; the last time: {why}"
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
        self._connection.execute(f"UPDATE jobs SET {ENDED} WHERE id = ?", (state, self._clock(), *kept, id))
        told = listed([Problem(**problem) for problem in problems], len(problems), EVENT_PROBLEMS)
        records = [problem.record() for problem in told]
        self._history.append(id, {"event": f"job_{state}", **({"problems": records} if records else {})})
        return self.job(id)
