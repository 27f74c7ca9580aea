"""`loom run --server`: runs a workflow on a server, downloads its files and prints the report of a run."""

from collections.abc import Sequence

from latentloom.api import wire
from latentloom.api.client import Client
from latentloom.cli import report
from latentloom.cli.followed_job import followed, outcome_of
from latentloom.cli.inputs import Asked
from latentloom.cli.progress import Meter
from latentloom.cli.remote import order_of
from latentloom.cli.run import EXIT, Options, tell
from latentloom.cli.session import opened
from latentloom.engine.document.flatten import flatten
from latentloom.engine.document.reading import from_json
from latentloom.engine.errors import Problem, WorkflowError
from latentloom.engine.types.registry import Registry


def run_at(server: str, token: str | None, asked: Asked, options: Options, refused: Sequence[str]) -> int:
    """Run a workflow on a server, print the report and return the exit code.

    `refused` are given flags that work only in this process. Raises ServerError with all problems, UnreachableError.
    """
    if refused:
        text = f"a run on a server cannot have {', '.join(refused)}"
        raise WorkflowError([Problem(code="usage", message=text, hint="leave that out, or --server")])
    with Client(server, token=token, patience=10) as client:
        return _run(client, asked, options)


def _run(client: Client, asked: Asked, options: Options) -> int:
    meter = Meter()
    with opened() as session:
        registry = session.engine.registry
        workflow, inputs = order_of(client, asked, registry)
        folder = options.out or session.settings.output
    job = followed(
        client, lambda: client.submit(workflow, inputs=inputs, outputs=asked.outputs).id, meter, json=options.json
    )
    outcome = outcome_of(job, [str(path) for path in client.download(job, folder)])
    tell(job.name, _seeds(client, job, registry) if options.json else {}, outcome, meter, options)
    return EXIT[outcome.status]


def _seeds(client: Client, job: wire.Job, registry: Registry) -> dict[str, int]:
    """Return the seeds of a job by "node.input", including those that the server drew."""
    flat = flatten(from_json(client.job_workflow(job.id)), registry)
    ports = [(id, node, found) for id, node in flat.nodes.items() if (found := flat.types.get(id)) is not None]
    return report.seeds((id, found.spec, node.inputs) for id, node, found in ports)
