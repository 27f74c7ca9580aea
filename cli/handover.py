"""`loom run` while a server uses the device: the server runs the job, and its progress is shown as for a local run."""

import os
from collections.abc import Sequence
from pathlib import Path

from latentloom.api import wire
from latentloom.api.client import Client
from latentloom.cli.errors import say
from latentloom.cli.followed_job import followed, outcome_of
from latentloom.cli.progress import Meter
from latentloom.engine.engine import Job
from latentloom.engine.execution.outcome import Outcome
from latentloom.engine.jobs.serving import DeviceTaken, Serving, serving_in
from latentloom.engine.settings import Settings
from latentloom.web.tokens import operators_own, tokens_of


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
        ended = followed(client, lambda: client.submit(job.workflow, outputs=outputs).id, meter, json=json)
        return outcome_of(ended, _files(client, ended, settings, out))


def _token(settings: Settings) -> str | None:
    """Return the token. A user who can read the server's settings may use the server."""
    own = operators_own(tokens_of(settings.tokens))
    return os.environ.get("LATENTLOOM_TOKEN", own.secret if own else None)


def _files(client: Client, job: wire.Job, settings: Settings, out: Path | None) -> list[str]:
    if out is not None:
        return [str(path) for path in client.download(job, out)]
    return [str(settings.output / file.path) for file in job.files or ()]
