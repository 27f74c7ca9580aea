"""The routes for ComfyUI clients. They use the same queue, files and access checks as all other routes.

Each route exists with and without `/api`. Bodies are read as JSON regardless of their media type.
"""

import os
import platform
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from latentloom.engine.errors import WorkflowError
from latentloom.engine.jobs.faults import UnknownJob
from latentloom.engine.jobs.job import Job, NewJob
from latentloom.engine.jobs.states import ACTIVE, FINAL, OPEN
from latentloom.engine.planning.validate import CHOICE_SOURCES
from latentloom.plugins.comfyui import protocol
from latentloom.plugins.comfyui.graph import is_api_format
from latentloom.plugins.comfyui.object_info import object_info, pack_info
from latentloom.web.comfyui_jobs import (
    MAX_LISTED,
    client_of,
    light_jobs,
    one_job,
    prompt_id_of,
    remaining,
    some_jobs,
    tags_of,
    told,
    whole_jobs,
    with_id,
)
from latentloom.web.http_errors import NotFound
from latentloom.web.intake import Order
from latentloom.web.queue_writer import OwnedTables
from latentloom.web.routes.comfyui_files import FOLDERS, upload_image, upload_mask, view, view_metadata
from latentloom.web.routes.comfyui_socket import follow
from latentloom.web.routes.json_bodies import answer, read_json
from latentloom.web.routing import AnyQuery, Call, Handler, Route
from latentloom.web.services import Services
from latentloom.web.waiting_jobs import cancel

VERSION = "0.3.64"  # the version whose results the tests compare with


def routes() -> tuple[Route, ...]:
    """Return the routes, with and without `/api`."""
    api = ComfyApi()
    table: tuple[tuple[str, str, Handler], ...] = (
        ("POST", "/prompt", api.post_prompt),
        ("GET", "/prompt", api.show_remaining),
        ("GET", "/queue", api.show_queue),
        ("POST", "/queue", api.change_queue),
        ("GET", "/history", api.list_history),
        ("GET", "/history/{id}", api.show_history),
        ("POST", "/history", api.change_history),
        ("GET", "/view", view),
        ("GET", "/view_metadata/{folder}", view_metadata),
        ("POST", "/upload/image", upload_image),
        ("POST", "/upload/mask", upload_mask),
        ("GET", "/object_info", api.show_classes),
        ("GET", "/object_info/{name}", api.show_class),
        ("GET", "/system_stats", api.show_stats),
        ("GET", "/embeddings", api.list_embeddings),
        ("GET", "/models", api.list_folders),
        ("GET", "/models/{folder}", api.list_models),
        ("GET", "/features", api.show_features),
        ("GET", "/extensions", api.list_extensions),
        ("POST", "/interrupt", api.interrupt),
        ("POST", "/free", api.free),
        ("GET", "/ws", api.follow),
    )
    jobs: tuple[tuple[str, str, Handler], ...] = (
        ("GET", "/api/jobs", api.list_jobs),
        ("GET", "/api/jobs/{id}", api.show_job),
        ("POST", "/api/jobs/{id}/cancel", api.cancel_job),
        ("POST", "/api/jobs/cancel", api.cancel_jobs),
    )
    both = [(method, prefix + path, handler) for prefix in ("", "/api") for method, path, handler in table]
    return tuple(
        Route(method=method, path=path, handler=handler, query=AnyQuery) for method, path, handler in (*both, *jobs)
    )


class ComfyApi:
    """The handlers. Jobs that a client deletes from its history are hidden from it until the server restarts."""

    def __init__(self) -> None:
        self._forgotten: set[str] = set()  # only jobs of who deleted them

    # Prompts

    async def post_prompt(self, services: Services, call: Call) -> web.Response:
        """Queue a graph in the API format."""
        data = await read_json(services, call.request)
        graph, given = data.get("prompt"), data.get("prompt_id")
        if not is_api_format(graph):
            return answer(protocol.refusal("no_prompt", "No prompt provided", "No prompt provided"), 400)
        id = None if given is None else protocol.job_id(given)
        if given is not None and id is None:
            return answer(protocol.refusal("invalid_prompt_id", "prompt_id must be a canonical UUID"), 400)
        targets = data.get("partial_execution_targets")
        wanted = [str(target) for target in targets] if type(targets) is list else None
        prompt = await services.intake.thread(protocol.prompt_of, graph, wanted, services.intake.registry)
        client = client_of(data.get("client_id"))
        try:
            new = await self._job(services, call, prompt, client)
        except WorkflowError as error:
            records = [problem.record() for problem in error.problems]
            return answer(protocol.refused_problems(prompt, records), 400)
        new = new if id is None else with_id(new, id, call.sees)
        front = data.get("front") is True or (type(data.get("number")) in (int, float) and data["number"] < 0)
        job = await call.store.write(lambda t: _submitted(t, new, front))
        if job is None:
            return answer(protocol.refusal("invalid_prompt_id", "there is a job with that prompt_id already"), 400)
        services.dispatcher.wake()
        return answer({"prompt_id": prompt_id_of(job), "number": job.seq, "node_errors": {}})

    async def _job(self, services: Services, call: Call, prompt: protocol.Prompt, client: str) -> NewJob:
        extra = {"client_id": client} if client else {}
        document = {**prompt.document, "extra": protocol.kept(prompt, extra)}
        order = Order(document, {}, None, call.sees)
        return await services.intake.job(order, owner=call.owner, tags=tags_of(client))

    async def show_remaining(self, _: Services, call: Call) -> web.Response:
        """Tell how many jobs wait or run."""
        return answer(protocol.status(await remaining(call.store))["data"]["status"])

    # Queue

    async def show_queue(self, _: Services, call: Call) -> web.Response:
        """List the jobs that run and that wait, in their order."""

        def read(tables: OwnedTables) -> dict[str, Any]:
            places = {id: n for n, id in enumerate(tables.queue.waiting(MAX_LISTED))}
            found = whole_jobs(tables, call.owner, OPEN)
            waiting = sorted((job for job in found if job.state == "queued"), key=lambda job: places.get(job.id, 0))
            running = [job for job in found if job.state in ACTIVE]
            return {
                "queue_running": [told(job).queued() for job in running],
                "queue_pending": [told(job).queued() for job in waiting],
            }

        return answer(await call.store.read(read))

    async def change_queue(self, services: Services, call: Call) -> web.Response:
        """Cancel the jobs that wait: all of them, or some."""
        data = await read_json(services, call.request)
        found = await call.store.read(
            lambda t: (
                light_jobs(t, call.owner, ("queued",))
                if data.get("clear") is True
                else some_jobs(t, _ids(data.get("delete")), call.owner)
            )
        )
        await cancel(services, call.store, [job.id for job in found if job.state == "queued"])
        return web.Response()

    async def interrupt(self, services: Services, call: Call) -> web.Response:
        """Cancel what runs: all of it, or one job."""
        data = await read_json(services, call.request)
        found = await call.store.read(
            lambda t: (
                light_jobs(t, call.owner, ACTIVE)
                if data.get("prompt_id") is None
                else some_jobs(t, _ids([data["prompt_id"]]), call.owner)
            )
        )
        await cancel(services, call.store, [job.id for job in found if job.state in ACTIVE])
        return web.Response()

    # Histories

    async def list_history(self, _: Services, call: Call) -> web.Response:
        """List the ended jobs with their files, the oldest first."""
        most = _number(call, "max_items", 200)
        skip = max(0, _number(call, "offset", 0))

        def read(tables: OwnedTables) -> dict[str, Any]:
            found = [job for job in whole_jobs(tables, call.owner, FINAL, most + skip) if job.id not in self._forgotten]
            return {prompt_id_of(job): _history(tables, job) for job in reversed(found[skip : skip + most])}

        return answer(await call.store.read(read))

    async def show_history(self, _: Services, call: Call) -> web.Response:
        """Give an ended job with its files; nothing while it waits or runs."""
        id = protocol.job_id(call.part("id"))

        def read(tables: OwnedTables) -> dict[str, Any]:
            job = one_job(tables, id, call.owner)
            if job is None or job.state not in FINAL or job.id in self._forgotten:
                return {}
            return {prompt_id_of(job): _history(tables, job)}

        return answer(await call.store.read(read))

    async def change_history(self, services: Services, call: Call) -> web.Response:
        """Show jobs in the history no longer; jobs and files stay."""
        data = await read_json(services, call.request)
        given = _ids(data.get("delete"))

        def own(tables: OwnedTables) -> set[str]:
            if data.get("clear") is True:
                return {job.id for job in light_jobs(tables, call.owner, FINAL)}
            return {job.id for job in some_jobs(tables, given, call.owner)}

        self._forgotten |= await call.store.read(own)
        return web.Response()

    # Jobs

    async def list_jobs(self, _: Services, call: Call) -> web.Response:
        """List jobs, the newest first, a page at a time."""
        limit, skip = _number(call, "limit", 100), max(0, _number(call, "offset", 0))

        def read(tables: OwnedTables) -> dict[str, Any]:
            found = whole_jobs(tables, call.owner, None)
            page = [_listed(tables, job) for job in found[skip : skip + limit]]
            more = {"offset": skip, "limit": limit, "total": len(found), "has_more": len(found) > skip + limit}
            return {"jobs": page, "pagination": more}

        return answer(await call.store.read(read))

    async def show_job(self, _: Services, call: Call) -> web.Response:
        """Show a job."""
        id = protocol.job_id(call.part("id"))

        def read(tables: OwnedTables) -> dict[str, Any] | None:
            job = one_job(tables, id, call.owner)
            return None if job is None else {**_listed(tables, job), **_history(tables, job)}

        found = await call.store.read(read)
        return answer({"error": "Job not found"}, 404) if found is None else answer(found)

    async def cancel_job(self, services: Services, call: Call) -> web.Response:
        """Cancel a job."""
        id = protocol.job_id(call.part("id"))
        job = await call.store.read(lambda t: one_job(t, id, call.owner))
        if job is None:
            return answer({"error": "Job not found"}, 404)
        await cancel(services, call.store, [job.id] if job.state in OPEN else [])
        return answer({"cancelled": job.state in OPEN})

    async def cancel_jobs(self, services: Services, call: Call) -> web.Response:
        """Cancel some jobs."""
        data = await read_json(services, call.request)
        found = await call.store.read(lambda t: some_jobs(t, _ids(data.get("job_ids")), call.owner))
        wanted = [job for job in found if job.state in OPEN]
        await cancel(services, call.store, [job.id for job in wanted])
        return answer({"cancelled": [prompt_id_of(job) for job in wanted]})

    # What is installed

    async def show_classes(self, services: Services, call: Call) -> web.Response:
        """Describe every class that runs here."""
        return answer(await services.disk(_classes, services, call.sees))

    async def show_class(self, services: Services, call: Call) -> web.Response:
        """Describe one class; nothing for one that does not run here."""
        name = call.part("name")
        found = await services.disk(_classes, services, call.sees)
        return answer({name: found[name]} if name in found else {})

    async def list_embeddings(self, services: Services, call: Call) -> web.Response:
        """List the embeddings by their names without suffixes."""
        names = await services.disk(services.intake.files(call.sees).names, "models/embeddings")
        return answer([name.rpartition(".")[0] or name for name in names])

    async def list_folders(self, _: Services, __: Call) -> web.Response:
        """List the folders of models."""
        return answer(sorted(FOLDERS))

    async def list_models(self, services: Services, call: Call) -> web.Response:
        """List the models of a folder. Raises NotFound."""
        source = FOLDERS.get(call.part("folder"))
        if source is None:
            raise NotFound("there is no such folder of models", expected=", ".join(sorted(FOLDERS)))
        return answer(await services.disk(services.intake.files(call.sees).names, source))

    async def show_stats(self, services: Services, _: Call) -> web.Response:
        """Tell of the machine and its workers; memory of devices is not measured in this process and is 0."""
        pages = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
        total, free = (pages * os.sysconf(name) if pages else 0 for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
        system = {"os": os.name, "ram_total": total, "ram_free": free, "comfyui_version": VERSION, "argv": []}
        system |= {"python_version": platform.python_version(), "pytorch_version": "", "embedded_python": False}
        nothing = dict.fromkeys(("vram_total", "vram_free", "torch_vram_total", "torch_vram_free"), 0)
        named = [worker.name for worker in services.dispatcher.workers if worker.device]
        devices = [{"name": name, "type": name.split(":")[0], "index": n, **nothing} for n, name in enumerate(named)]
        return answer({"system": system, "devices": devices})

    async def show_features(self, services: Services, _: Call) -> web.Response:
        """Tell what this server can do beside the plain protocol."""
        return answer(features(services))

    async def list_extensions(self, _: Services, __: Call) -> web.Response:
        """List extensions of ComfyUI's own editor: none."""
        return answer([])

    async def free(self, services: Services, call: Call) -> web.Response:
        """Answer; models leave memory here when others need it."""
        await read_json(services, call.request)
        return web.Response()

    async def follow(self, services: Services, call: Call) -> web.StreamResponse:
        """Follow the jobs of a client over a WebSocket."""
        client = client_of(call.request.query.get("clientId")) or secrets.token_hex(16)
        return await follow(services, call, client, features(services))


def features(services: Services) -> dict[str, Any]:
    """Return the features of this server beyond the basic protocol."""
    return {"supports_preview_metadata": False, "max_upload_size": services.settings.upload_bytes}


def _ids(given: Any) -> list[str]:
    return [id for item in (given if type(given) is list else []) if (id := protocol.job_id(item)) is not None]


def _number(call: Call, name: str, default: int) -> int:
    text = call.request.query.get(name, "")
    return min(int(text), MAX_LISTED) if text.isascii() and text.isdigit() and len(text) < 10 else default


def _submitted(tables: OwnedTables, new: NewJob, front: bool) -> Job | None:
    """Submit a job and return it; None if its id exists."""
    if tables.queue.known(new.owner, new.idempotency_key, new.request) is not None:
        return None
    try:
        tables.queue.job(new.id)
    except UnknownJob:
        return tables.queue.submit(new, front=front)
    return None


def _history(tables: OwnedTables, job: Job) -> dict[str, Any]:
    files = [(output.node, output.path) for output in tables.outputs.of_job(job.id)]
    return protocol.history(told(job), files)


def _listed(tables: OwnedTables, job: Job) -> dict[str, Any]:
    return protocol.listed(told(job), len(tables.outputs.of_job(job.id)))


def _classes(services: Services, sees: str | None) -> dict[str, Any]:
    """Return the descriptions of all classes that run here, those of packs too."""
    return {**pack_info(services.intake.registry), **object_info(_choices(services, sees))}


def _choices(services: Services, sees: str | None) -> Callable[[str], Sequence[str]]:
    """Return a function that lists the installed names of a source."""
    registry, catalog = services.intake.registry, services.intake.files(sees)

    def choices(source: str) -> list[str]:
        if source in CHOICE_SOURCES:
            return list(registry.extensions(CHOICE_SOURCES[source]))
        return catalog.names(source)

    return choices
