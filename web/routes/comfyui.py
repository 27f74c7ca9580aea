"""The routes for ComfyUI clients. They use the same queue, files and access checks as all other routes.

Each route exists with and without `/api`. Bodies are read as JSON regardless of their media type.
"""

import os
import platform
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
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
    remaining,
    tags_of,
    told,
    whole_jobs,
)
from latentloom.web.http_errors import NotFound
from latentloom.web.intake import Order
from latentloom.web.queue_writer import Tables
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
    """The handlers. Jobs that a client deletes from its history are hidden until the server restarts."""

    def __init__(self) -> None:
        self._forgotten: set[str] = set()

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
            new = await self._job(services, prompt, client, call.owner)
        except WorkflowError as error:
            records = [problem.record() for problem in error.problems]
            return answer(protocol.refused_problems(prompt, records), 400)
        new = new if id is None else replace(new, id=id)
        front = data.get("front") is True or (type(data.get("number")) in (int, float) and data["number"] < 0)
        job = await services.store.write(lambda t: _submitted(t, new, front), durable=True)
        if job is None:
            return answer(protocol.refusal("invalid_prompt_id", "there is a job with that prompt_id already"), 400)
        services.dispatcher.wake()
        return answer({"prompt_id": protocol.prompt_id(job.id), "number": job.seq, "node_errors": {}})

    async def _job(self, services: Services, prompt: protocol.Prompt, client: str, owner: str) -> NewJob:
        extra = {"client_id": client} if client else {}
        document = {**prompt.document, "extra": protocol.kept(prompt, extra)}
        return await services.intake.job(Order(document, {}, None), owner=owner, tags=tags_of(client))

    async def show_remaining(self, services: Services, _: Call) -> web.Response:
        """Tell how many jobs wait or run."""
        return answer(protocol.status(await remaining(services))["data"]["status"])

    # Queue

    async def show_queue(self, services: Services, call: Call) -> web.Response:
        """List the jobs that run and that wait, in their order."""

        def read(tables: Tables) -> dict[str, Any]:
            places = {id: n for n, id in enumerate(tables.queue.waiting(MAX_LISTED))}
            found = whole_jobs(tables, call.owner, OPEN)
            waiting = sorted((job for job in found if job.state == "queued"), key=lambda job: places.get(job.id, 0))
            running = [job for job in found if job.state in ACTIVE]
            return {
                "queue_running": [told(job).queued() for job in running],
                "queue_pending": [told(job).queued() for job in waiting],
            }

        return answer(await services.store.read(read))

    async def change_queue(self, services: Services, call: Call) -> web.Response:
        """Cancel the jobs that wait: all of them, or some."""
        data = await read_json(services, call.request)
        waiting = await services.store.read(lambda t: [job.id for job in light_jobs(t, call.owner, ("queued",))])
        wanted = waiting if data.get("clear") is True else _ids(data.get("delete"))
        await cancel(services, [id for id in wanted if id in waiting])
        return web.Response()

    async def interrupt(self, services: Services, call: Call) -> web.Response:
        """Cancel what runs: all of it, or one job."""
        data = await read_json(services, call.request)
        running = await services.store.read(lambda t: [job.id for job in light_jobs(t, call.owner, ACTIVE)])
        wanted = _ids([data["prompt_id"]]) if data.get("prompt_id") is not None else running
        await cancel(services, [id for id in wanted if id in running])
        return web.Response()

    # Histories

    async def list_history(self, services: Services, call: Call) -> web.Response:
        """List the ended jobs with their files, the oldest first."""
        most = _number(call, "max_items", 200)
        skip = max(0, _number(call, "offset", 0))

        def read(tables: Tables) -> dict[str, Any]:
            found = [job for job in whole_jobs(tables, call.owner, FINAL, most + skip) if job.id not in self._forgotten]
            return {protocol.prompt_id(job.id): _history(tables, job) for job in reversed(found[skip : skip + most])}

        return answer(await services.store.read(read))

    async def show_history(self, services: Services, call: Call) -> web.Response:
        """Give an ended job with its files; nothing while it waits or runs."""
        id = protocol.job_id(call.part("id"))

        def read(tables: Tables) -> dict[str, Any]:
            job = one_job(tables, id, call.owner)
            if job is None or job.state not in FINAL or job.id in self._forgotten:
                return {}
            return {protocol.prompt_id(job.id): _history(tables, job)}

        return answer(await services.store.read(read))

    async def change_history(self, services: Services, call: Call) -> web.Response:
        """Show jobs in the history no longer; jobs and files stay."""
        data = await read_json(services, call.request)
        self._forgotten |= set(_ids(data.get("delete")))
        if data.get("clear") is True:
            self._forgotten |= await services.store.read(lambda t: {job.id for job in light_jobs(t, call.owner, FINAL)})
        return web.Response()

    # Jobs

    async def list_jobs(self, services: Services, call: Call) -> web.Response:
        """List jobs, the newest first, a page at a time."""
        limit, skip = _number(call, "limit", 100), max(0, _number(call, "offset", 0))

        def read(tables: Tables) -> dict[str, Any]:
            found = whole_jobs(tables, call.owner, None)
            page = [_listed(tables, job) for job in found[skip : skip + limit]]
            more = {"offset": skip, "limit": limit, "total": len(found), "has_more": len(found) > skip + limit}
            return {"jobs": page, "pagination": more}

        return answer(await services.store.read(read))

    async def show_job(self, services: Services, call: Call) -> web.Response:
        """Show a job."""
        id = protocol.job_id(call.part("id"))

        def read(tables: Tables) -> dict[str, Any] | None:
            job = one_job(tables, id, call.owner)
            return None if job is None else {**_listed(tables, job), **_history(tables, job)}

        found = await services.store.read(read)
        return answer({"error": "Job not found"}, 404) if found is None else answer(found)

    async def cancel_job(self, services: Services, call: Call) -> web.Response:
        """Cancel a job."""
        id = protocol.job_id(call.part("id"))
        job = await services.store.read(lambda t: one_job(t, id, call.owner))
        if job is None:
            return answer({"error": "Job not found"}, 404)
        await cancel(services, [job.id] if job.state in OPEN else [])
        return answer({"cancelled": job.state in OPEN})

    async def cancel_jobs(self, services: Services, call: Call) -> web.Response:
        """Cancel some jobs."""
        data = await read_json(services, call.request)
        known = await services.store.read(lambda t: {job.id for job in light_jobs(t, call.owner, OPEN)})
        wanted = [id for id in _ids(data.get("job_ids")) if id in known]
        await cancel(services, wanted)
        return answer({"cancelled": [protocol.prompt_id(id) for id in wanted]})

    # What is installed

    async def show_classes(self, services: Services, _: Call) -> web.Response:
        """Describe every class that runs here."""
        return answer(await services.disk(_classes, services))

    async def show_class(self, services: Services, call: Call) -> web.Response:
        """Describe one class; nothing for one that does not run here."""
        name = call.part("name")
        found = await services.disk(_classes, services)
        return answer({name: found[name]} if name in found else {})

    async def list_embeddings(self, services: Services, _: Call) -> web.Response:
        """List the embeddings by their names without suffixes."""
        names = await services.disk(services.intake.catalog.names, "models/embeddings")
        return answer([name.rpartition(".")[0] or name for name in names])

    async def list_folders(self, _: Services, __: Call) -> web.Response:
        """List the folders of models."""
        return answer(sorted(FOLDERS))

    async def list_models(self, services: Services, call: Call) -> web.Response:
        """List the models of a folder. Raises NotFound."""
        source = FOLDERS.get(call.part("folder"))
        if source is None:
            raise NotFound("there is no such folder of models", expected=", ".join(sorted(FOLDERS)))
        return answer(await services.disk(services.intake.catalog.names, source))

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
        return await follow(services, call.request, call.owner, client, features(services))


def features(services: Services) -> dict[str, Any]:
    """Return the features of this server beyond the basic protocol."""
    return {"supports_preview_metadata": False, "max_upload_size": services.settings.upload_bytes}


def _ids(given: Any) -> list[str]:
    return [id for item in (given if type(given) is list else []) if (id := protocol.job_id(item)) is not None]


def _number(call: Call, name: str, default: int) -> int:
    text = call.request.query.get(name, "")
    return min(int(text), MAX_LISTED) if text.isascii() and text.isdigit() and len(text) < 10 else default


def _submitted(tables: Tables, new: NewJob, front: bool) -> Job | None:
    """Submit a job and return it; None if its id exists."""
    try:
        tables.queue.job(new.id)
    except UnknownJob:
        return tables.queue.submit(new, front=front)
    return None


def _history(tables: Tables, job: Job) -> dict[str, Any]:
    files = [(output.node, output.path) for output in tables.outputs.of_job(job.id)]
    return protocol.history(told(job), files)


def _listed(tables: Tables, job: Job) -> dict[str, Any]:
    return protocol.listed(told(job), len(tables.outputs.of_job(job.id)))


def _classes(services: Services) -> dict[str, Any]:
    """Return the descriptions of all classes that run here, those of packs too."""
    return {**pack_info(services.intake.registry), **object_info(_choices(services))}


def _choices(services: Services) -> Callable[[str], Sequence[str]]:
    """Return a function that lists the installed names of a source."""
    registry, catalog = services.intake.registry, services.intake.catalog

    def choices(source: str) -> list[str]:
        if source in CHOICE_SOURCES:
            return list(registry.extensions(CHOICE_SOURCES[source]))
        return catalog.names(source)

    return choices
