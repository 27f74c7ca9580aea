"""Routes for the server itself: state, health, metrics, login, and the description of the API."""

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version

from aiohttp import web

from latentloom.api import wire
from latentloom.engine.jobs.database import sqlite_faults
from latentloom.web.http_errors import Unauthorized
from latentloom.web.openapi import document, html
from latentloom.web.routing import API, TABLE, Call, Route
from latentloom.web.services import Services
from latentloom.web.tokens import MONITORS, ROLES
from latentloom.web.worker_process import WorkerProcess

METRICS = "/metrics"
LIVE = ("claiming", "queue")
"""The checks that a restart of the server may fix."""


async def show_system(services: Services, call: Call) -> wire.System:
    """Show version, workers, queue, memory and disk, and whom the server sees in the caller.

    A user gets the counts of its own jobs, and no ids of others' jobs.
    """
    counts, paused = await call.store.read(lambda t: (t.queue.counts(), t.queue.paused))
    return wire.System(
        version=version("latentloom"),
        owner=call.owner,
        role=call.caller.role or "",
        workers=[_worker(worker, call.sees) for worker in services.dispatcher.workers],
        queue=counts,
        paused=paused,
        ready=services.intake.ready,
        inspecting=services.intake.inspecting,
        memory=services.memory()["server"],
        disk_free=services.disk_free(),
        event=services.event_hub.last,
        stream=services.event_hub.stream,
    )


def _worker(worker: WorkerProcess, sees: str | None) -> wire.Worker:
    shown = wire.Worker(**{name: getattr(worker, name) for name in wire.Worker.model_fields})
    return shown if sees in (None, worker.owner) else shown.model_copy(update={"job": None})


async def live(services: Services, _: Call) -> web.Response:
    """Check that the process is alive: 503 if only a restart can help. Needs no token."""
    return _health({name: good for name, good in services.checks().items() if name in LIVE})


async def ready(services: Services, _: Call) -> web.Response:
    """Check that the server accepts jobs: 200 if it does, 503 if not. Needs no token."""
    waiting = services.intake.inspecting
    warnings = [f"jobs that need these plugins wait for their inspection: {', '.join(waiting)}"] if waiting else []
    return _health({**services.checks(), "plugins": services.intake.ready}, warnings)


async def health(services: Services, _: Call) -> web.Response:
    """Check that the server works: 200 if it does, 503 if not. Needs no token."""
    return _health(services.checks())


def _health(checks: dict[str, bool], warnings: Sequence[str] = ()) -> web.Response:
    good = all(checks.values())
    answer = wire.Health(status="ok" if good else "failing", checks=checks, warnings=[*warnings, *sqlite_faults()])
    return web.Response(status=200 if good else 503, text=answer.model_dump_json(), content_type="application/json")


async def metrics(services: Services, _: Call) -> web.Response:
    """Return the server's metrics in Prometheus text format: of all owners. A user may not read them."""
    counts, oldest = await services.store.read(lambda t: (t.queue.counts(), t.queue.oldest_waiting()))
    workers = dict(Counter(worker.state for worker in services.dispatcher.workers))
    on_disk = await services.disk(services.cache_bytes)
    disks = await services.disk(services.disks_free)
    text = services.metrics.text(counts, workers, services.memory(), services.event_hub.clients, oldest, on_disk, disks)
    return web.Response(body=text, content_type="text/plain", charset="utf-8")


async def login(services: Services, call: Call) -> web.Response:
    """Exchange a token for a cookie. Needs no token in a header."""
    owner = services.access.owner_of(call.body.token, services.access.address_of(call.request))
    if owner is None:
        raise Unauthorized("that token is not known")
    response = web.Response(text="{}", content_type="application/json")
    services.access.cookies.give(response, owner, secure=services.access.is_secure(call.request))
    return response


async def logout(services: Services, call: Call) -> web.Response:
    """Delete the cookie of this browser."""
    response = web.Response(text="{}", content_type="application/json")
    services.access.cookies.take_away(response, secure=services.access.is_secure(call.request))
    return response


async def show_openapi(services: Services, call: Call) -> web.Response:
    """Return the OpenAPI 3.1 document of this API."""
    return web.json_response(document(call.request.app[TABLE], services.access.cookies.name))


async def show_docs(_: Services, call: Call) -> web.Response:
    """Return the API documentation as an HTML page without scripts or external resources."""
    return web.Response(text=html(call.request.app[TABLE]), content_type="text/html")


ROUTES = (
    *(
        Route(method=method, path=path, handler=handler, answer=wire.Health, public=True, fails=wire.Health)
        for path, handler in (("/healthz", health), ("/livez", live), ("/readyz", ready))
        for method in ("GET", "HEAD")
    ),
    Route(method="GET", path=METRICS, handler=metrics, media="text/plain", allows=MONITORS),
    Route(
        method="POST",
        path=f"{API}/login",
        handler=login,
        body=wire.Login,
        answer=wire.Empty,
        public=True,
        refuses=(401, 429),
    ),
    Route(method="POST", path=f"{API}/logout", handler=logout, answer=wire.Empty, allows=ROLES),
    Route(method="GET", path=f"{API}/system", handler=show_system, answer=wire.System),
    Route(method="GET", path=f"{API}/openapi.json", handler=show_openapi),
    Route(method="GET", path=f"{API}/docs", handler=show_docs, media="text/html"),
)
