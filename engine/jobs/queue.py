"""The durable job queue as users see it: waiting jobs and their order. All methods use the caller's transaction."""

import json
import uuid
from collections.abc import Sequence
from itertools import islice
from typing import Any, Literal

from latentloom.engine.jobs.attempts import ENDED, ORDER, Attempts
from latentloom.engine.jobs.faults import QueueFull, WrongState
from latentloom.engine.jobs.input_files import batches_using, jobs_using
from latentloom.engine.jobs.job import Job, NewJob, job_of
from latentloom.engine.jobs.replies import reused
from latentloom.engine.jobs.states import OPEN, State
from latentloom.engine.jobs.turns import Waiting, in_turn

_SMALLEST_GAP = 1e-6
_LIGHT = (  # columns of a list: documents and results may have megabytes
    "seq, id, state, priority, owner, name, '' AS document, outputs, tags, device, retry_of, webhook, created, started,"
    " finished, attempt, deaths, models, '{}' AS result, problems"
)


class Queue(Attempts):
    """The job queue of a server, as one owner or an admin sees it."""

    # Queries

    def page(
        self,
        *,
        states: Sequence[str] | None = None,
        owner: str | None = None,
        tag: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Job]:
        """Return jobs, newest first, without documents and results. `before`: `seq` of the previous page's last job."""
        own, given = self._own()
        wheres, values = [f"1{own}"], list[Any](given)
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
            values.append(before)
        statement = f"SELECT {_LIGHT} FROM jobs WHERE {' AND '.join(wheres)} ORDER BY seq DESC LIMIT ?"
        return [job_of(row) for row in self._connection.execute(statement, (*values, limit))]

    def waiting(self, limit: int = 100) -> list[str]:
        """Return the ids of the queued jobs in the order in which they will be claimed."""
        own, values = self._own()
        statement = f"SELECT owner, priority, id FROM jobs WHERE state = 'queued'{own} ORDER BY {ORDER}"
        rows = self._connection.execute(statement, values)
        return [job.id for job in islice(in_turn((Waiting(*row) for row in rows), self._turns()), limit)]

    def counts(self) -> dict[str, int]:
        """Return the number of jobs in each state."""
        own, values = self._own()
        statement = f"SELECT state, count(*) FROM jobs WHERE 1{own} GROUP BY state"
        return dict(self._connection.execute(statement, values).fetchall())

    def _own(self) -> tuple[str, tuple[str, ...]]:
        """Return the condition for this object's jobs, and its values."""
        return ("", ()) if self._owner is None else (" AND owner = ?", (self._owner,))

    def using(self, file: str) -> list[str]:
        """Return the ids of the jobs and batches that have not ended and contain the name of an input file."""
        return [id for use in (jobs_using, batches_using) for id in use(self._connection, file, self._owner)]

    def oldest_waiting(self) -> float | None:
        """Return when the oldest waiting job was queued."""
        found = self._connection.execute("SELECT min(created) FROM jobs WHERE state = 'queued'").fetchone()[0]
        return None if found is None else float(found)

    # Requests

    def submit(self, new: NewJob, *, front: bool = False) -> Job:
        """Queue a job. A repeated request with the same owner and key returns the existing job.

        Raises KeyReused, QueueFull.
        """
        known = self.known(new.owner, new.idempotency_key, new.request)
        if known is not None:
            return known
        self._check_limits(new.owner)
        self._connection.execute(
            "INSERT INTO jobs (id, state, priority, position, owner, name, document, outputs, tags, idempotency_key,"
            " request, device, retry_of, webhook, models, created)"
            " VALUES (?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
                json.dumps(new.models, ensure_ascii=False),
                self._clock(),
            ),
        )
        self._history.append(new.id, {"event": "job_queued", "name": new.name})
        return self.job(new.id)

    def known(self, owner: str, key: str | None, request: str) -> Job | None:
        """Return the job of an idempotency key, or None. Raises KeyReused if its request was a different one."""
        row = self._connection.execute(
            "SELECT * FROM jobs WHERE owner = ? AND idempotency_key = ?", (owner, key)
        ).fetchone()
        if row is not None and row["request"] != request:
            raise reused(key)
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
        """Return a position before or after all unfinished jobs of a priority. Active jobs may be queued again."""
        edge = "min(position) - 1" if front else "max(position) + 1"
        statement = f"SELECT {edge} FROM jobs WHERE state = ? AND priority = ?"  # one state: uses the index
        found = [self._connection.execute(statement, (state, priority)).fetchone()[0] for state in OPEN]
        known = [float(position) for position in found if position is not None]
        return (min(known) if front else max(known)) if known else 0.0

    def retry(self, id: str, owner: str, key: str | None = None, request: str = "") -> Job:
        """Queue a failed or cancelled job again, as a new job. A repeated request with the same key has no effect.

        Raises UnknownJob, WrongState, QueueFull, KeyReused.
        """
        known = self.known(owner, key, request)
        if known is not None:
            return known
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
                idempotency_key=key,
                request=request,
                device=job.device,
                retry_of=id,
                webhook=job.webhook,
                models=job.models,
            )
        )

    def move(self, id: str, to: Literal["front", "back"] | None = None, before: str | None = None) -> Job:
        """Move a queued job to the front or back of its priority, or before another job, with that job's priority.

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
        """Return a position between a job and its predecessor. If there is no gap, all positions are renumbered."""
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
        """Pause or resume the queue. Running jobs continue in both cases."""
        self._connection.execute("INSERT OR REPLACE INTO settings VALUES ('paused', ?)", (str(int(paused)),))
        self._history.append("", {"event": "queue_paused" if paused else "queue_resumed"})

    def cancel(self, id: str) -> Job:
        """Cancel a job: a queued one at once, a running one when its worker has stopped. Raises UnknownJob, WrongState.

        Cancelling it again is not an error.
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

    def cancel_all(self) -> list[str]:
        """Cancel all unfinished jobs, and return their ids."""
        where, values = self._own()
        rows = self._connection.execute(
            f"SELECT id, state FROM jobs WHERE state IN ('queued', 'claimed', 'running'){where} ORDER BY seq", values
        ).fetchall()
        ended = ("cancelled", self._clock(), "{}", "[]")
        self._connection.execute(f"UPDATE jobs SET {ENDED} WHERE state = 'queued'{where}", (*ended, *values))
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
