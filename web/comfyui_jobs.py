"""Jobs from ComfyUI clients: their client ids, and their form in that API."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from latentloom.engine.jobs.faults import UnknownJob
from latentloom.engine.jobs.job import Job, NewJob
from latentloom.engine.jobs.states import OPEN
from latentloom.plugins.comfyui import protocol
from latentloom.web.queue_writer import OwnedStore, OwnedTables

MAX_LISTED = 1000
MAX_CLIENT = 100  # characters of a client's id
CLIENT = "comfyui-client:"
PROMPT = "comfyui-prompt:"


def client_of(given: object) -> str:
    """Return a client's id; empty if it is not valid."""
    return given if isinstance(given, str) and given.isprintable() and len(given) <= MAX_CLIENT else ""


def tags_of(client: str) -> tuple[str, ...]:
    """Return the tags of a client's jobs."""
    return (protocol.TAG, CLIENT + client) if client else (protocol.TAG,)


def with_id(new: NewJob, given: str, sees: str | None) -> NewJob:
    """Return a job under an id that a client chose.

    A user's choice is a name among that user's own jobs: a clash with another owner's job would tell of that job.
    """
    if sees is None:
        return replace(new, id=given)
    return replace(new, idempotency_key=PROMPT + given, tags=(*new.tags, PROMPT + given))


def id_of(job: Job) -> str:
    """Return the id under which clients know a job."""
    return next((tag.removeprefix(PROMPT) for tag in job.tags if tag.startswith(PROMPT)), job.id)


def prompt_id_of(job: Job) -> str:
    """Return a job's id in the form for these clients."""
    return protocol.prompt_id(id_of(job))


def told(job: Job) -> protocol.Told:
    """Return a job in the form for these clients."""
    client = next((tag.removeprefix(CLIENT) for tag in job.tags if tag.startswith(CLIENT)), "")
    times = {"created": job.created, "started": job.started, "finished": job.finished}
    return protocol.told_of(
        job.document, id_of(job), number=job.seq, state=job.state, client=client, problems=job.problems, **times
    )


def light_jobs(tables: OwnedTables, owner: str, states: Sequence[str] | None, most: int = MAX_LISTED) -> list[Job]:
    """Return an owner's jobs without their documents, newest first."""
    return tables.queue.page(states=states, owner=owner, tag=protocol.TAG, limit=most)


def whole_jobs(tables: OwnedTables, owner: str, states: Sequence[str] | None, most: int = MAX_LISTED) -> list[Job]:
    """Return an owner's jobs with their documents, newest first."""
    return [tables.queue.job(job.id) for job in light_jobs(tables, owner, states, most)]


def one_job(tables: OwnedTables, id: str | None, owner: str) -> Job | None:
    """Return an owner's job; None if it does not exist or did not come from such a client."""
    try:
        job = tables.queue.known(owner, f"{PROMPT}{id}", "") or tables.queue.job(id or "")
    except UnknownJob:
        return None
    return job if protocol.TAG in job.tags and job.owner == owner else None


def some_jobs(tables: OwnedTables, ids: Iterable[str], owner: str) -> list[Job]:
    """Return those of some jobs that are an owner's and came from such clients."""
    return [job for id in ids if (job := one_job(tables, id, owner)) is not None]


async def remaining(store: OwnedStore) -> int:
    """Return the number of waiting and running jobs."""
    counts = await store.read(lambda t: t.queue.counts())
    return sum(counts.get(state, 0) for state in OPEN)
