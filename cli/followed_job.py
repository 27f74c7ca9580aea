"""A job on a server, followed as a run in this process is: with progress, and Ctrl-C cancels it."""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

from latentloom.api import wire
from latentloom.api.client import Client
from latentloom.cli.interrupts import Interrupts
from latentloom.cli.progress import Meter, display, follow
from latentloom.engine.errors import LoomError, Problem
from latentloom.engine.execution.outcome import NodeReport, Outcome


class JobFailed(LoomError):
    """A job on the server failed. The problems are the server's."""

    code = "failed"

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems[0].message)
        self._problems = tuple(problems)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The server's own problems."""
        return self._problems


def followed(client: Client, submit: Callable[[], str], meter: Meter, *, json: bool) -> wire.Job:
    """Submit a job and show its progress until it has ended. Ctrl-C cancels it.

    Raises ServerError, UnreachableError.
    """
    cancel = _Cancel(client)
    with Interrupts(cancel.ask):
        id = submit()
        cancel.know(id)
        with display(meter, json=json) as shown:
            follow(client.stream(id, live=True), meter, shown)
    return client.job(id)


class _Cancel:
    """Cancels a job, also if cancelling is requested before the server has returned the job's id."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._asked = False
        self._id: str | None = None

    def ask(self) -> None:
        """Request the cancel. Called by the signal handler, so it must not block."""
        self._asked = True
        if self._id is not None:
            threading.Thread(target=self._send, args=(self._id,), name="latentloom-cancel", daemon=True).start()

    def know(self, id: str) -> None:
        self._id = id
        if self._asked:
            self._send(id)

    def _send(self, id: str) -> None:
        with contextlib.suppress(LoomError):
            self._client.cancel(id)


def outcome_of(job: wire.Job, files: list[str]) -> Outcome:
    """Return the outcome of a job that has ended, as that of a run in this process."""
    result: dict[str, Any] = job.result
    nodes = {id: NodeReport(**record) for id, record in result.get("nodes", {}).items()}
    seconds = (job.finished or 0.0) - (job.started or job.created)
    problems = [Problem(**problem.model_dump()) for problem in job.problems]
    if job.state == "cancelled" and not problems:
        problems = [Problem(code="cancelled", message="the run was cancelled")]
    error = JobFailed(problems) if problems else None
    return Outcome(job.state, seconds, nodes, result.get("outputs", {}), files, error=error)
