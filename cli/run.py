"""`loom run`: runs one workflow."""

import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from typing import Any

from latentloom.api import Session
from latentloom.api.running import Running
from latentloom.cli import report
from latentloom.cli.errors import CANCELLED, FAILED, print_json, show
from latentloom.cli.handover import hand_over, server_with
from latentloom.cli.inputs import Asked
from latentloom.cli.interrupts import Interrupts
from latentloom.cli.progress import Meter, display
from latentloom.cli.session import opened
from latentloom.engine.engine import Job
from latentloom.engine.events import Listener, RunEvent
from latentloom.engine.execution.outcome import Outcome

EXIT = {"done": 0, "failed": FAILED, "cancelled": CANCELLED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of `loom run`."""

    out: Path | None = None
    json: bool = False
    cache: bool = True
    metadata: bool = True
    label: bool = True
    debug: bool = False
    own: tuple[str, ...] = ()  # the given flags that work only in this process


def run(asked: Asked, options: Options, settings: Mapping[str, Any]) -> int:
    """Run a workflow, print the report and return the exit code. Raises LoomError if it cannot run."""
    meter = Meter()
    with opened(metadata=options.metadata, label=options.label, **settings) as session:
        if options.json:
            with redirect_stdout(sys.stderr):  # the output of nodes must not break the JSON
                job, outcome = _run(asked, options, session, meter)
        else:
            job, outcome = _run(asked, options, session, meter)
    if options.debug and outcome.error is not None:
        traceback.print_exception(outcome.error, file=sys.stderr)
    tell(job.workflow.name, report.seeds_of(job), outcome, meter, options)
    return EXIT[outcome.status]


def _run(asked: Asked, options: Options, session: Session, meter: Meter) -> tuple[Job, Outcome]:
    job = asked.prepare(session)
    return job, run_job(job, asked.outputs, options, session, meter)


def run_job(job: Job, outputs: Sequence[str] | None, options: Options, session: Session, meter: Meter) -> Outcome:
    """Run a job here, or on the server that uses the accelerator."""
    device = session.engine.environment.device
    if device == "cpu" or not job.checked.needs_device:
        return _run_here(job, options, session, meter)
    settings = session.settings
    serving = server_with(settings, device, options.own)
    if serving is not None:
        wanted = None if outputs is None else list(outputs)
        return hand_over(serving, settings, job, wanted, options.out, meter, options.json)
    return _run_here(job, options, session, meter)


def _run_here(job: Job, options: Options, session: Session, meter: Meter) -> Outcome:
    stop = Flag()

    def body(listen: Listener, _: Flag) -> Outcome:
        def hear(event: RunEvent) -> None:
            meter(event)
            listen(event)

        return session.run_job(job, listen=hear, cancelled=stop, cache=options.cache, out=options.out)

    with Interrupts(stop.set), display(meter, json=options.json) as shown:
        running = Running(body, job)
        for event in running:
            shown(event)
        return running.outcome()


def tell(name: str, seeds: Mapping[str, int], outcome: Outcome, meter: Meter, options: Options) -> None:
    """Print the report of a run: of the workflow of that name, with these seeds."""
    if options.json:
        print_json(report.record(name, seeds, outcome, meter))
        return
    sys.stdout.write("\n".join(report.lines(outcome, meter)) + "\n")
    sys.stdout.flush()
    if outcome.error is not None:
        show(outcome.error.problems, outcome.status, as_json=False)
