"""`loom submit`, `status`, `watch` and `cancel`: commands for the jobs of a server."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latentloom.api.client import Client, ServerError
from latentloom.api.wire import Job
from latentloom.api.workflow_files import load_workflow
from latentloom.cli.errors import CANCELLED, FAILED, plain, print_json, show
from latentloom.cli.imported import opened_workflow
from latentloom.cli.inputs import Asked, assign, bind
from latentloom.cli.progress import Meter, display, follow
from latentloom.cli.session import opened
from latentloom.cli.table import print_lines, print_table
from latentloom.engine.document.input_texts import port_of
from latentloom.engine.document.workflow import Workflow
from latentloom.engine.errors import MissingFileError, Problem, WorkflowError
from latentloom.engine.types.registry import Registry

EXIT = {"done": 0, "failed": FAILED, "cancelled": CANCELLED}
SHOWN = 20
NOT_FOUND = 404


def submit(
    client: Client, asked: Asked, *, priority: int, tags: Sequence[str], watching: bool, out: Path | None, json: bool
) -> int:
    """Queue a workflow and print the job's id, or follow it to its end. Raises ServerError with all problems."""
    with opened() as session:
        workflow, inputs = order_of(client, asked, session.engine.registry)
    job = client.submit(workflow, inputs=inputs, outputs=asked.outputs, priority=priority, tags=tags)
    if watching or out is not None:
        return watch(client, job.id, out=out, json=json)
    if json:
        print_json(job.model_dump())
    else:
        print_lines([job.id])
    return 0


def order_of(client: Client, asked: Asked, registry: Registry) -> tuple[Workflow, dict[str, Any]]:
    """Return the workflow and its named inputs. A path of an existing picture becomes a Path, which is uploaded."""
    workflow = _opened(client, asked.name, registry)
    inputs = bind(workflow, registry, asked.given)
    for named in workflow.inputs:
        port, value = port_of(workflow, registry, named), inputs.get(named.name)
        if port is not None and port.kind == "FILE" and isinstance(value, str) and Path(value).is_file():
            inputs[named.name] = Path(value)
    return workflow.with_values(assign(workflow, registry, asked.assigned)), inputs


def _opened(client: Client, name: str, registry: Registry) -> Workflow:
    """Open a file or a shipped workflow; if there is none of that name, the workflow saved on the server."""
    try:
        return opened_workflow(name, registry)
    except MissingFileError as missing:
        try:
            return load_workflow(client.workflow(name).workflow)
        except ServerError as error:
            if error.status != NOT_FOUND:
                raise
            raise missing from None


def watch(client: Client, id: str, *, out: Path | None, json: bool) -> int:
    """Show a job's progress to its end. Ctrl-C stops watching and does not affect the job."""
    meter = Meter()
    with display(meter, json=json) as shown:
        follow(client.stream(id, live=True), meter, shown)
    job = client.job(id)
    files = [str(path) for path in client.download(job, out)] if out is not None else []
    _tell(job, files, json=json)
    return EXIT[job.state]


def _tell(job: Job, files: list[str], *, json: bool) -> None:
    if json:
        print_json({**job.model_dump(), "downloaded": files})
        return
    lines = files or [f"{file.path}  {file.width}x{file.height}" for file in job.files or ()]
    lines += [f"{name}: {value}" for name, value in job.result.get("outputs", {}).items()]
    seconds = (job.finished or 0) - (job.started or job.created)
    print_lines([plain(line) for line in (*lines, f"{job.state} in {seconds:.3g} s")])
    if job.problems:
        show([Problem(**problem.model_dump()) for problem in job.problems], job.state, as_json=False)


def status(client: Client, id: str | None, *, json: bool) -> int:
    """Show one job, or the queue and the newest jobs. Raises ServerError."""
    if id is not None:
        job = client.job(id)
        if json:
            print_json(job.model_dump())
        else:
            print_table(("job", "state", "workflow", "tags"), [_row(job)])
        return 0
    queue, page = client.queue(), client.jobs(limit=SHOWN)
    if json:
        print_json({"queue": queue.model_dump(), "jobs": page.model_dump()["jobs"]})
        return 0
    counts = ", ".join(f"{count} {state}" for state, count in queue.counts.items()) or "no jobs"
    print_lines([f"{counts}{'; paused' if queue.paused else ''}", ""])
    print_table(("job", "state", "workflow", "tags"), [_row(job) for job in page.jobs])
    return 0


def _row(job: Job) -> tuple[str, str, str, str]:
    return job.id, job.state, plain(job.name), plain(", ".join(job.tags))


def cancel(client: Client, id: str | None, *, all: bool) -> int:
    """Cancel one job, or all waiting and running jobs. Raises ServerError."""
    if all:
        found = client.cancel_all()
        print_lines([f"{len(found)} job{'s' * (len(found) != 1)} cancelled"])
        return 0
    if id is None:
        raise WorkflowError([Problem(code="usage", message="name a job, or give --all")])
    print_lines([f"{id}: {client.cancel(id).state}"])
    return 0
