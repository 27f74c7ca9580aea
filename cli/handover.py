"""`loom run` while a server uses the device: the server runs the job, and its progress is shown as for a local run."""

import contextlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latentloom.api import wire
from latentloom.api.client import Client
from latentloom.cli.errors import say
from latentloom.cli.interrupts import Interrupts
from latentloom.cli.progress import Meter, display, follow
from latentloom.engine.engine import Job
from latentloom.engine.errors import LoomError, Problem
from latentloom.engine.execution.outcome import NodeReport, Outcome
from latentloom.engine.jobs.serving import DeviceTaken, Serving, serving_in
from latentloom.engine.settings import Settings
from latentloom.web.tokens import operators_own, tokens_of


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


def server_with(settings: Settings, device: str, own: Sequence[str]) -> Serving | None:
    """Return the server of this data folder if it uses the device, or None.

    `own` are flags that work only in this process. Raises DeviceTaken if there are any.
    """
    serving = serving_in(settings.data)
    if serving is None or device not in serving.devices:
        return None
    if own:
        raise DeviceTaken(
            f"the server at {serving.address} uses {device}; a job that is handed over cannot have {', '.join(own)}",
            hint="leave that out, stop the server, or choose another --device",
        )
    return serving


def hand_over(
    serving: Serving,
    settings: Settings,
    job: Job,
    outputs: list[str] | None,
    out: Path | None,
    meter: Meter,
    json: bool,
) -> Outcome:
    """Queue a prepared job on the server and follow it until it ends. Raises ServerError, UnreachableError."""
    say(f"the server at {serving.address} has the device: the job is handed to it")
    with Client(serving.address, token=_token(settings)) as client:
        cancel = _Cancel(client)
        with Interrupts(cancel.ask):
            id = client.submit(job.workflow, outputs=outputs).id
            cancel.know(id)
            with display(meter, json=json) as shown:
                follow(client.stream(id, live=True), meter, shown)
        ended = client.job(id)
        return _outcome(ended, _files(client, ended, settings, out))


def _token(settings: Settings) -> str | None:
    """Return the token. A user who can read the server's settings may use the server."""
    own = operators_own(tokens_of(settings.tokens))
    return os.environ.get("LATENTLOOM_TOKEN", own and own.secret)


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


def _files(client: Client, job: wire.Job, settings: Settings, out: Path | None) -> list[str]:
    if out is not None:
        return [str(path) for path in client.download(job, out)]
    return [str(settings.output / file.path) for file in job.files or ()]


def _outcome(job: wire.Job, files: list[str]) -> Outcome:
    result: dict[str, Any] = job.result
    nodes = {id: NodeReport(**report) for id, report in result.get("nodes", {}).items()}
    seconds = (job.finished or 0.0) - (job.started or job.created)
    problems = [Problem(**problem.model_dump()) for problem in job.problems]
    if job.state == "cancelled" and not problems:
        problems = [Problem(code="cancelled", message="the run was cancelled")]
    error = JobFailed(problems) if problems else None
    return Outcome(job.state, seconds, nodes, result.get("outputs", {}), files, error)
