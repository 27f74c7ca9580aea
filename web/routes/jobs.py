"""Routes about jobs and the queue."""

from typing import Any

from aiohttp import web
from pydantic import Field

from latentloom.api import wire
from latentloom.engine.errors import brief
from latentloom.engine.jobs.states import STATES
from latentloom.web.http_errors import RequestError
from latentloom.web.intake import Order, fingerprint
from latentloom.web.queue_writer import Tables
from latentloom.web.routes.workflows import document_of
from latentloom.web.routing import API, Call, Query, Route
from latentloom.web.services import Services
from latentloom.web.webhooks import checked
from latentloom.web.wire_jobs import job_answer


class JobQuery(Query):
    """Which jobs."""

    state: str | None = Field(None, description="States, separated by commas.", max_length=100)
    owner: str | None = Field(None, max_length=100)
    tag: str | None = Field(None, max_length=200)
    before: str | None = Field(None, max_length=64, description="Continue after the job of that id.")
    limit: int = Field(100, ge=1, le=1000)


async def order_of(services: Services, body: Any) -> Order:
    """The workflow that a body names or holds. Raises RequestError, UnknownDocument."""
    if (body.workflow is None) == (body.workflow_name is None):
        raise RequestError("a workflow is needed", expected="`workflow` or `workflow_name`, one of the two")
    outputs = None if body.outputs is None else tuple(body.outputs)
    if body.workflow is not None:
        return Order(body.workflow, body.inputs, outputs)
    return Order((await document_of(services, body.workflow_name))[1], body.inputs, outputs)


async def submit(services: Services, call: Call) -> web.StreamResponse:
    """Queue a job: answers at once with the job, or with everything that is wrong with it.

    201 for a new job, 200 for the one that the same idempotency key has given before.
    """
    body = call.body
    asked = await services.intake.thread(lambda: fingerprint(body.model_dump(mode="json")))
    order = await order_of(services, body)
    webhook = checked(body.webhook, services.settings)
    new = await services.intake.job(
        order,
        owner=call.owner,
        priority=body.priority,
        tags=tuple(body.tags),
        idempotency_key=body.idempotency_key,
        request=asked,
        webhook=webhook,
    )
    job = await services.store.write(lambda t: t.queue.submit(new, front=body.front), durable=True)
    services.dispatcher.wake()
    status = 201 if job.id == new.id else 200
    headers = {"Location": f"{API}/jobs/{job.id}"}
    text = job_answer(job).model_dump_json()
    return web.Response(status=status, text=text, content_type="application/json", headers=headers)


async def list_jobs(services: Services, call: Call) -> wire.JobPage:
    """List jobs, the newest first."""
    query = call.query
    states = None if query.state is None else _states(query.state)

    def page(tables: Tables) -> wire.JobPage:
        jobs = tables.queue.page(
            states=states, owner=query.owner, tag=query.tag, before=query.before, limit=query.limit
        )
        next = jobs[-1].id if len(jobs) == query.limit else None
        return wire.JobPage(jobs=[job_answer(job, listing=True) for job in jobs], next=next)

    return await services.store.read(page)


def _states(text: str) -> list[str]:
    """The states in a text. Raises RequestError."""
    states = text.split(",")
    unknown = next((state for state in states if state not in STATES), None)
    if unknown is not None:
        raise RequestError("there is no such state", expected=", ".join(STATES), got=brief(unknown))
    return states


async def show_job(services: Services, call: Call) -> wire.Job:
    """Show a job with its result and files."""
    id = call.part("id")
    return await services.store.read(lambda t: job_answer(t.queue.job(id), t.outputs.of_job(id)))


async def show_job_workflow(services: Services, call: Call) -> web.Response:
    """Give the resolved document that a job runs."""
    id = call.part("id")
    job = await services.store.read(lambda t: t.queue.job(id))
    return web.Response(text=job.document, content_type="application/json")


async def cancel_job(services: Services, call: Call) -> wire.Job:
    """Cancel a job: at once when it waits, at its next step when it runs."""
    id = call.part("id")
    job = await services.store.write(lambda t: t.queue.cancel(id), durable=True)
    services.dispatcher.cancel(job)
    return job_answer(job)


async def cancel_jobs(services: Services, _: Call) -> wire.Cancelled:
    """Cancel every job that waits or runs."""
    ids = await services.store.write(lambda t: t.queue.cancel_all(), durable=True)
    jobs = await services.store.read(lambda t: t.queue.page(states=["cancelling"], limit=1000))
    for job in jobs:
        services.dispatcher.cancel(job)
    return wire.Cancelled(cancelled=ids)


async def retry_job(services: Services, call: Call) -> wire.Job:
    """Queue a failed or cancelled job again, as a new one; what was stored is not made again."""
    id = call.part("id")
    job = await services.store.write(lambda t: t.queue.retry(id, call.owner), durable=True)
    services.dispatcher.wake()
    return job_answer(job)


async def move_job(services: Services, call: Call) -> wire.Job:
    """Move a waiting job to the front, to the back, or before another one."""
    id, body = call.part("id"), call.body
    if (body.to is None) == (body.before is None):
        raise RequestError("a place is needed", expected="`to` or `before`, one of the two")
    return job_answer(await services.store.write(lambda t: t.queue.move(id, body.to, body.before)))


async def show_queue(services: Services, _: Call) -> wire.Queue:
    """Show how many jobs are in each state, and who is next."""
    return await services.store.read(
        lambda t: wire.Queue(paused=t.queue.paused, counts=t.queue.counts(), waiting=t.queue.waiting(1000))
    )


async def change_queue(services: Services, call: Call) -> wire.Queue:
    """Pause the queue or let it go on; what runs goes on either way."""
    await services.store.write(lambda t: t.queue.pause(call.body.paused), durable=True)
    services.dispatcher.wake()
    return await show_queue(services, call)


ROUTES = (
    Route(method="POST", path=f"{API}/jobs", handler=submit, body=wire.JobOrder, answer=wire.Job, status=201),
    Route(method="GET", path=f"{API}/jobs", handler=list_jobs, query=JobQuery, answer=wire.JobPage),
    Route(method="GET", path=f"{API}/jobs/{{id}}", handler=show_job, answer=wire.Job),
    Route(method="GET", path=f"{API}/jobs/{{id}}/workflow", handler=show_job_workflow),
    Route(method="POST", path=f"{API}/jobs/{{id}}/cancel", handler=cancel_job, answer=wire.Job),
    Route(method="POST", path=f"{API}/jobs/{{id}}/retry", handler=retry_job, answer=wire.Job, status=201),
    Route(method="POST", path=f"{API}/jobs/{{id}}/move", handler=move_job, body=wire.Move, answer=wire.Job),
    Route(method="GET", path=f"{API}/queue", handler=show_queue, answer=wire.Queue),
    Route(method="PATCH", path=f"{API}/queue", handler=change_queue, body=wire.QueueChange, answer=wire.Queue),
    Route(method="POST", path=f"{API}/queue/cancel", handler=cancel_jobs, answer=wire.Cancelled),
)
