"""Routes for jobs and the queue."""

from aiohttp import web
from pydantic import Field

from latentloom.api import wire
from latentloom.engine.errors import brief
from latentloom.engine.jobs.job import Job
from latentloom.engine.jobs.states import STATES
from latentloom.web.http_errors import Forbidden, RequestError
from latentloom.web.intake import Order, fingerprint
from latentloom.web.named_workflows import document_of
from latentloom.web.queue_writer import OwnedTables
from latentloom.web.referenced_outputs import with_outputs
from latentloom.web.routing import API, MOST, Call, Query, Reply, Route
from latentloom.web.services import Services
from latentloom.web.tokens import ADMINS
from latentloom.web.waiting_jobs import ended_within
from latentloom.web.wire_jobs import job_answer


class JobQuery(Query):
    """Which jobs."""

    state: str | None = Field(None, description="States, separated by commas.", max_length=100)
    owner: str | None = Field(None, max_length=100)
    tag: str | None = Field(None, max_length=200)
    before: int | None = Field(None, ge=0, le=MOST, description="Continue after the page that returned that `next`.")
    limit: int = Field(100, ge=1, le=1000)


class SubmitQuery(Query):
    """How long to wait for the job."""

    wait: float = Field(
        0.0,
        ge=0,
        le=60,
        description="Wait up to this many seconds for the end of the job, and return it with its result and files.",
    )


async def order_of(call: Call, services: Services) -> Order:
    """Return the order for the workflow that a body names or contains.

    Raises RequestError, UnknownDocument, WorkflowError.
    """
    body = call.body
    if (body.workflow is None) == (body.workflow_name is None):
        raise RequestError("a workflow is needed", expected="`workflow` or `workflow_name`, one of the two")
    outputs = None if body.outputs is None else tuple(body.outputs)
    document = body.workflow
    if document is None:
        document = (await document_of(services, call.store, body.workflow_name))[1]
    return Order(document, await with_outputs(services, call, body.inputs), outputs, call.sees)


async def submit(services: Services, call: Call) -> Reply:
    """Queue a job. The response is the job, or all problems of the request.

    201 for a new job, 200 for the existing job of the same idempotency key. With `wait`, the job as it is when it has
    ended or the time is over. The job continues if the client disconnects.
    """
    job, status = await _submitted(services, call)
    if not call.query.wait:
        return _queued(job_answer(job), status)
    await ended_within(services, call.request, job.id, call.query.wait)
    return _queued(await _shown(call, job.id), status)


async def _submitted(services: Services, call: Call) -> tuple[Job, int]:
    """Queue a job and return it with the status of the answer."""
    body, key = call.body, key_of(call)
    keyed = body.model_copy(update={"idempotency_key": key})  # key in body or header: the same request
    asked = await services.intake.thread(lambda: fingerprint(keyed.model_dump(mode="json")))
    known = await call.store.read(lambda t: t.queue.known(call.owner, key, asked))
    if known is not None:
        return known, 200
    check_priority(services, call, body.priority)
    order = await order_of(call, services)
    webhook = services.webhooks.checked(body.webhook)
    new = await services.intake.job(
        order,
        owner=call.owner,
        priority=body.priority,
        tags=tuple(body.tags),
        idempotency_key=key,
        request=asked,
        webhook=webhook,
    )
    job = await call.store.write(lambda t: t.queue.submit(new, front=body.front))
    services.dispatcher.wake()
    return job, 201 if job.id == new.id else 200


def check_priority(services: Services, call: Call, priority: int) -> None:
    """Raise Forbidden if the caller's role does not allow a priority."""
    most = services.settings.user_priority
    if call.caller.role not in ADMINS and priority > most:
        raise Forbidden(
            "the role of this token does not allow that priority", expected=f"at most {most}", got=str(priority)
        )


def key_of(call: Call) -> str | None:
    """Return the idempotency key from the body or the header. Raises RequestError if both are given."""
    own: str | None = call.body.idempotency_key
    if own is not None and call.key is not None and own != call.key:
        raise RequestError("the request has two idempotency keys", expected="one of the two", got=brief(own))
    return own or call.key


def _queued(job: wire.Job, status: int) -> Reply:
    return Reply(job, status, {"Location": f"{API}/jobs/{job.id}"})


async def list_jobs(_: Services, call: Call) -> wire.JobPage:
    """List jobs, newest first. A user gets its own."""
    query = call.query
    states = None if query.state is None else _states(query.state)

    def page(tables: OwnedTables) -> wire.JobPage:
        jobs = tables.queue.page(
            states=states, owner=query.owner, tag=query.tag, before=query.before, limit=query.limit
        )
        next = jobs[-1].seq if len(jobs) == query.limit else None
        return wire.JobPage(jobs=[job_answer(job, listing=True) for job in jobs], next=next)

    return await call.store.read(page)


def _states(text: str) -> list[str]:
    """Parse a list of states. Raises RequestError."""
    states = text.split(",")
    unknown = next((state for state in states if state not in STATES), None)
    if unknown is not None:
        raise RequestError("there is no such state", expected=", ".join(STATES), got=brief(unknown))
    return states


async def show_job(_: Services, call: Call) -> wire.Job:
    """Show a job with its result and files."""
    return await _shown(call, call.part("id"))


async def _shown(call: Call, id: str) -> wire.Job:
    return await call.store.read(lambda t: job_answer(t.queue.job(id), t.outputs.of_job(id)))


async def show_job_workflow(_: Services, call: Call) -> web.Response:
    """Return the resolved document that a job runs."""
    id = call.part("id")
    job = await call.store.read(lambda t: t.queue.job(id))
    return web.Response(text=job.document, content_type="application/json")


async def cancel_job(services: Services, call: Call) -> wire.Job:
    """Cancel a job. A running job stops at its next step."""
    id = call.part("id")
    answer = await call.once(wire.Job, lambda t: job_answer(t.queue.cancel(id)))
    services.dispatcher.cancel(id, answer.state)
    return answer


async def cancel_jobs(services: Services, call: Call) -> wire.Cancelled:
    """Cancel all waiting and running jobs. A user cancels its own."""
    answer = await call.once(wire.Cancelled, lambda t: wire.Cancelled(cancelled=t.queue.cancel_all()))
    for job in await call.store.read(lambda t: t.queue.page(states=["cancelling"], limit=1000)):
        services.dispatcher.cancel(job.id, job.state)
    return answer


async def retry_job(services: Services, call: Call) -> Reply:
    """Queue a failed or cancelled job again as a new job; cached results are reused.

    201 for a new job, 200 for the existing job of the same idempotency key.
    """
    id, asked = call.part("id"), call.asked()
    known = await call.store.read(lambda t: t.queue.known(call.owner, call.key, asked))
    job = await call.store.write(lambda t: t.queue.retry(id, call.owner, call.key, asked))
    services.dispatcher.wake()
    return _queued(job_answer(job), 201 if known is None else 200)


async def move_job(_: Services, call: Call) -> wire.Job:
    """Move a waiting job to the front, to the back, or before another one."""
    id, body = call.part("id"), call.body
    if (body.to is None) == (body.before is None):
        raise RequestError("a place is needed", expected="`to` or `before`, one of the two")
    return await call.once(wire.Job, lambda t: job_answer(t.queue.move(id, body.to, body.before)))


async def show_queue(_: Services, call: Call) -> wire.Queue:
    """Show the number of jobs in each state, and the next jobs. A user gets its own."""
    return await call.store.read(
        lambda t: wire.Queue(paused=t.queue.paused, counts=t.queue.counts(), waiting=t.queue.waiting(1000))
    )


async def change_queue(services: Services, call: Call) -> wire.Queue:
    """Pause or resume the queue. Running jobs continue."""
    await call.store.write(lambda t: t.queue.pause(call.body.paused))
    services.dispatcher.wake()
    return await show_queue(services, call)


ROUTES = (
    Route(
        method="POST",
        path=f"{API}/jobs",
        handler=submit,
        query=SubmitQuery,
        body=wire.JobOrder,
        answer=wire.Job,
        status=201,
        also=(200,),
        refuses=(404,),
    ),
    Route(method="GET", path=f"{API}/jobs", handler=list_jobs, query=JobQuery, answer=wire.JobPage),
    Route(method="GET", path=f"{API}/jobs/{{id}}", handler=show_job, answer=wire.Job),
    Route(method="GET", path=f"{API}/jobs/{{id}}/workflow", handler=show_job_workflow),
    Route(method="POST", path=f"{API}/jobs/{{id}}/cancel", handler=cancel_job, answer=wire.Job),
    Route(method="POST", path=f"{API}/jobs/{{id}}/retry", handler=retry_job, answer=wire.Job, status=201, also=(200,)),
    Route(method="POST", path=f"{API}/jobs/{{id}}/move", handler=move_job, body=wire.Move, answer=wire.Job),
    Route(method="GET", path=f"{API}/queue", handler=show_queue, answer=wire.Queue),
    Route(
        method="PATCH",
        path=f"{API}/queue",
        handler=change_queue,
        body=wire.QueueChange,
        answer=wire.Queue,
        allows=ADMINS,
    ),
    Route(method="POST", path=f"{API}/queue/cancel", handler=cancel_jobs, answer=wire.Cancelled),
)
