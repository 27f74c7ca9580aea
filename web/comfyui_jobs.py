"""Jobs from ComfyUI clients: their client ids, and their form in that API."""

from collections.abc import Sequence

from latentloom.engine.jobs.faults import UnknownJob
from latentloom.engine.jobs.job import Job
from latentloom.engine.jobs.states import OPEN
from latentloom.plugins.comfyui import protocol
from latentloom.web.queue_writer import Tables
from latentloom.web.services import Services

MAX_LISTED = 1000
MAX_CLIENT = 100  # characters of a client's id
CLIENT = "comfyui-client:"


def client_of(given: object) -> str:
    """Return a client's id; empty if it is not valid."""
    return given if isinstance(given, str) and given.isprintable() and len(given) <= MAX_CLIENT else ""


def tags_of(client: str) -> tuple[str, ...]:
    """Return the tags of a client's jobs."""
    return (protocol.TAG, CLIENT + client) if client else (protocol.TAG,)


def told(job: Job) -> protocol.Told:
    """Return a job in the form for these clients."""
    client = next((tag.removeprefix(CLIENT) for tag in job.tags if tag.startswith(CLIENT)), "")
    times = {"created": job.created, "started": job.started, "finished": job.finished}
    return protocol.told_of(
        job.document, job.id, number=job.seq, state=job.state, client=client, problems=job.problems, **times
    )


def light_jobs(tables: Tables, owner: str, states: Sequence[str] | None, most: int = MAX_LISTED) -> list[Job]:
    """Return an owner's jobs without their documents, newest first."""
    return tables.queue.page(states=states, owner=owner, tag=protocol.TAG, limit=most)


def whole_jobs(tables: Tables, owner: str, states: Sequence[str] | None, most: int = MAX_LISTED) -> list[Job]:
    """Return an owner's jobs with their documents, newest first."""
    return [tables.queue.job(job.id) for job in light_jobs(tables, owner, states, most)]


def one_job(tables: Tables, id: str | None, owner: str) -> Job | None:
    """Return an owner's job; None if it does not exist or did not come from such a client."""
    try:
        job = tables.queue.job(id or "")
    except UnknownJob:
        return None
    return job if protocol.TAG in job.tags and job.owner == owner else None


async def remaining(services: Services) -> int:
    """Return the number of waiting and running jobs."""
    counts = await services.store.read(lambda t: t.queue.counts())
    return sum(counts.get(state, 0) for state in OPEN)
