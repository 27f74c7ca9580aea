"""The routes that ComfyUI's clients use, on the same queue, files and access checks as all others.

Each stands with and without `/api`. Bodies are JSON whatever their media type says, as those clients send them.
"""

import contextlib
import json
import os
import platform
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web
from pydantic import ConfigDict

from latentloom.engine.document.strict_json import Limits, parse
from latentloom.engine.errors import FileError, PathError, WorkflowError
from latentloom.engine.files.catalog import safe_join
from latentloom.engine.jobs.faults import StorageError, UnknownJob
from latentloom.engine.jobs.job import Job, NewJob
from latentloom.engine.jobs.states import ACTIVE, FINAL, OPEN
from latentloom.engine.planning.validate import CHOICE_SOURCES
from latentloom.plugins.comfyui import protocol
from latentloom.plugins.comfyui.graph import is_api_format
from latentloom.plugins.comfyui.object_info import object_info
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
from latentloom.web.http_errors import NotFound, RequestError
from latentloom.web.intake import Order, suffix_of
from latentloom.web.multipart import Part, parts_in
from latentloom.web.queue_writer import Tables
from latentloom.web.routes.comfyui_socket import follow
from latentloom.web.routes.files import file_response
from latentloom.web.routing import Call, Handler, Query, Route, limited
from latentloom.web.services import LOW_DISK, Services

VERSION = "0.3.64"  # the one whose results tests compare with
FOLDERS = {  # what ComfyUI calls a folder of models, and our source
    "checkpoints": "models/checkpoints", "loras": "models/loras", "vae": "models/vae", "clip": "models/clip",
    "text_encoders": "models/clip", "unet": "models/unet", "diffusion_models": "models/unet",
    "controlnet": "models/controlnet", "upscale_models": "models/upscale_models",
    "clip_vision": "models/clip_vision", "embeddings": "models/embeddings", "ipadapter": "models/ipadapter",
}  # fmt: skip


class AnyQuery(Query):
    """Parameters of which those that are not known are passed over, as ComfyUI does."""

    model_config = ConfigDict(extra="allow", frozen=True)


def routes() -> tuple[Route, ...]:
    """The routes, with and without `/api`."""
    api = ComfyApi()
    table: tuple[tuple[str, str, Handler], ...] = (
        ("POST", "/prompt", api.post_prompt),
        ("GET", "/prompt", api.show_remaining),
        ("GET", "/queue", api.show_queue),
        ("POST", "/queue", api.change_queue),
        ("GET", "/history", api.list_history),
        ("GET", "/history/{id}", api.show_history),
        ("POST", "/history", api.change_history),
        ("GET", "/view", api.view),
        ("POST", "/upload/image", api.upload_image),
        ("POST", "/upload/mask", api.upload_mask),
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
    """The handlers. What a client has deleted from its history is not shown until the server starts again."""

    def __init__(self) -> None:
        self._forgotten: set[str] = set()

    # Prompts

    async def post_prompt(self, services: Services, call: Call) -> web.Response:
        """Queue a graph in the API format."""
        data = await _json(services, call.request)
        graph, given = data.get("prompt"), data.get("prompt_id")
        if not is_api_format(graph):
            return _answer(protocol.refusal("no_prompt", "No prompt provided", "No prompt provided"), 400)
        id = None if given is None else protocol.job_id(given)
        if given is not None and id is None:
            return _answer(protocol.refusal("invalid_prompt_id", "prompt_id must be a canonical UUID"), 400)
        targets = data.get("partial_execution_targets")
        wanted = [str(target) for target in targets] if type(targets) is list else None
        prompt = await services.intake.thread(protocol.prompt_of, graph, wanted)
        client = client_of(data.get("client_id"))
        try:
            new = await self._job(services, prompt, client, call.owner)
        except WorkflowError as error:
            records = [problem.record() for problem in error.problems]
            return _answer(protocol.refused_problems(prompt, records), 400)
        new = new if id is None else replace(new, id=id)
        front = data.get("front") is True or (type(data.get("number")) in (int, float) and data["number"] < 0)
        job = await services.store.write(lambda t: _submitted(t, new, front), durable=True)
        if job is None:
            return _answer(protocol.refusal("invalid_prompt_id", "there is a job with that prompt_id already"), 400)
        services.dispatcher.wake()
        return _answer({"prompt_id": protocol.prompt_id(job.id), "number": job.seq, "node_errors": {}})

    async def _job(self, services: Services, prompt: protocol.Prompt, client: str, owner: str) -> NewJob:
        extra = {"client_id": client} if client else {}
        document = {**prompt.document, "extra": protocol.kept(prompt, extra)}
        return await services.intake.job(Order(document, {}, None), owner=owner, tags=tags_of(client))

    async def show_remaining(self, services: Services, _: Call) -> web.Response:
        """Tell how many jobs wait or run."""
        return _answer(protocol.status(await remaining(services))["data"]["status"])

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

        return _answer(await services.store.read(read))

    async def change_queue(self, services: Services, call: Call) -> web.Response:
        """Cancel the jobs that wait: all of them, or some."""
        data = await _json(services, call.request)
        waiting = await services.store.read(lambda t: [job.id for job in light_jobs(t, call.owner, ("queued",))])
        wanted = waiting if data.get("clear") is True else _ids(data.get("delete"))
        await self._cancel(services, [id for id in wanted if id in waiting])
        return web.Response()

    async def interrupt(self, services: Services, call: Call) -> web.Response:
        """Cancel what runs: all of it, or one job."""
        data = await _json(services, call.request)
        running = await services.store.read(lambda t: [job.id for job in light_jobs(t, call.owner, ACTIVE)])
        wanted = _ids([data["prompt_id"]]) if data.get("prompt_id") is not None else running
        await self._cancel(services, [id for id in wanted if id in running])
        return web.Response()

    async def _cancel(self, services: Services, ids: Iterable[str]) -> None:
        for id in ids:
            with contextlib.suppress(UnknownJob):
                job = await services.store.write(_cancelling(id), durable=True)
                services.dispatcher.cancel(id, job.state)

    # Histories

    async def list_history(self, services: Services, call: Call) -> web.Response:
        """List the ended jobs with their files, the oldest first."""
        most = _number(call, "max_items", 200)
        skip = max(0, _number(call, "offset", 0))

        def read(tables: Tables) -> dict[str, Any]:
            found = [job for job in whole_jobs(tables, call.owner, FINAL, most + skip) if job.id not in self._forgotten]
            return {protocol.prompt_id(job.id): _history(tables, job) for job in reversed(found[skip : skip + most])}

        return _answer(await services.store.read(read))

    async def show_history(self, services: Services, call: Call) -> web.Response:
        """Give an ended job with its files; nothing while it waits or runs."""
        id = protocol.job_id(call.part("id"))

        def read(tables: Tables) -> dict[str, Any]:
            job = one_job(tables, id, call.owner)
            if job is None or job.state not in FINAL or job.id in self._forgotten:
                return {}
            return {protocol.prompt_id(job.id): _history(tables, job)}

        return _answer(await services.store.read(read))

    async def change_history(self, services: Services, call: Call) -> web.Response:
        """Show jobs in the history no longer; jobs and files stay."""
        data = await _json(services, call.request)
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

        return _answer(await services.store.read(read))

    async def show_job(self, services: Services, call: Call) -> web.Response:
        """Show a job."""
        id = protocol.job_id(call.part("id"))

        def read(tables: Tables) -> dict[str, Any] | None:
            job = one_job(tables, id, call.owner)
            return None if job is None else {**_listed(tables, job), **_history(tables, job)}

        found = await services.store.read(read)
        return _answer({"error": "Job not found"}, 404) if found is None else _answer(found)

    async def cancel_job(self, services: Services, call: Call) -> web.Response:
        """Cancel a job."""
        id = protocol.job_id(call.part("id"))
        job = await services.store.read(lambda t: one_job(t, id, call.owner))
        if job is None:
            return _answer({"error": "Job not found"}, 404)
        await self._cancel(services, [job.id] if job.state in OPEN else [])
        return _answer({"cancelled": job.state in OPEN})

    async def cancel_jobs(self, services: Services, call: Call) -> web.Response:
        """Cancel some jobs."""
        data = await _json(services, call.request)
        known = await services.store.read(lambda t: {job.id for job in light_jobs(t, call.owner, OPEN)})
        wanted = [id for id in _ids(data.get("job_ids")) if id in known]
        await self._cancel(services, wanted)
        return _answer({"cancelled": [protocol.prompt_id(id) for id in wanted]})

    # Files

    async def view(self, services: Services, call: Call) -> web.StreamResponse:
        """Give a file below the output or the input folder, as it was saved."""
        query = call.request.query
        root = services.settings.input if query.get("type") == "input" else services.settings.output
        try:
            path = safe_join(root, _below(query.get("subfolder", ""), query.get("filename", "")))
        except PathError as error:
            raise RequestError("that file cannot be named", got=error.problem.message) from None
        return file_response(path)

    async def upload_image(self, services: Services, call: Call) -> web.Response:
        """Store a picture below the input folder, under its own name or one with a number."""
        parts = await _upload(services, call.request)
        with _waiting(services) as picture:
            await services.disk(picture.write_bytes, parts["image"].content)
            await services.dispatcher.ask("inspect", path=str(picture))
        return _answer(await services.disk(_stored, services, parts, parts["image"].content))

    async def upload_mask(self, services: Services, call: Call) -> web.Response:
        """Store a picture whose transparency becomes that of another one, its original."""
        parts = await _upload(services, call.request)
        original = _original(services, parts)
        with _waiting(services) as mask, _waiting(services) as joined:
            await services.disk(mask.write_bytes, parts["image"].content)
            await services.dispatcher.ask("join_alpha", path=str(original), mask=str(mask), to=str(joined))
            content = await services.disk(joined.read_bytes)
        return _answer(await services.disk(_stored, services, parts, content))

    # What is installed

    async def show_classes(self, services: Services, _: Call) -> web.Response:
        """Describe every class that runs here."""
        return await self._classes(services)

    async def show_class(self, services: Services, call: Call) -> web.Response:
        """Describe one class; nothing for one that does not run here."""
        name = call.part("name")
        found = await services.disk(object_info, _choices(services))
        return _answer({name: found[name]} if name in found else {})

    async def _classes(self, services: Services) -> web.Response:
        return _answer(await services.disk(object_info, _choices(services)))

    async def list_embeddings(self, services: Services, _: Call) -> web.Response:
        """List the embeddings by their names without suffixes."""
        names = await services.disk(services.intake.catalog.names, "models/embeddings")
        return _answer([name.rpartition(".")[0] or name for name in names])

    async def list_folders(self, _: Services, __: Call) -> web.Response:
        """List the folders of models."""
        return _answer(sorted(FOLDERS))

    async def list_models(self, services: Services, call: Call) -> web.Response:
        """List the models of a folder. Raises NotFound."""
        source = FOLDERS.get(call.part("folder"))
        if source is None:
            raise NotFound("there is no such folder of models", expected=", ".join(sorted(FOLDERS)))
        return _answer(await services.disk(services.intake.catalog.names, source))

    async def show_stats(self, services: Services, _: Call) -> web.Response:
        """Tell of the machine and its workers; memory of devices is not measured in this process and is 0."""
        pages = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
        total, free = (pages * os.sysconf(name) if pages else 0 for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
        system = {"os": os.name, "ram_total": total, "ram_free": free, "comfyui_version": VERSION, "argv": []}
        system |= {"python_version": platform.python_version(), "pytorch_version": "", "embedded_python": False}
        nothing = dict.fromkeys(("vram_total", "vram_free", "torch_vram_total", "torch_vram_free"), 0)
        named = [worker.name for worker in services.dispatcher.workers if worker.device]
        devices = [{"name": name, "type": name.split(":")[0], "index": n, **nothing} for n, name in enumerate(named)]
        return _answer({"system": system, "devices": devices})

    async def show_features(self, services: Services, _: Call) -> web.Response:
        """Tell what this server can do beside the plain protocol."""
        return _answer(features(services))

    async def list_extensions(self, _: Services, __: Call) -> web.Response:
        """List extensions of ComfyUI's own editor: none."""
        return _answer([])

    async def free(self, services: Services, call: Call) -> web.Response:
        """Answer; models leave memory here when others need it."""
        await _json(services, call.request)
        return web.Response()

    async def follow(self, services: Services, call: Call) -> web.StreamResponse:
        """Follow the jobs of a client over a WebSocket."""
        client = client_of(call.request.query.get("clientId")) or secrets.token_hex(16)
        return await follow(services, call.request, call.owner, client, features(services))


def features(services: Services) -> dict[str, Any]:
    """What this server can do beside the plain protocol."""
    return {"supports_preview_metadata": False, "max_upload_size": services.settings.upload_bytes}


async def _json(services: Services, request: web.Request) -> dict[str, Any]:
    """The object in a body of any media type; an empty body is an empty object. Raises RequestError, WorkflowError."""
    data = await limited(request, services.settings.request_bytes)
    if not data.strip():
        return {}
    limits = Limits(size=services.settings.request_bytes, nodes=services.settings.request_nodes)
    found = await services.intake.thread(lambda: parse(data, limits, lambda _: None))
    if type(found) is not dict:
        raise RequestError("the body is no object")
    return found


def _answer(data: Any, status: int = 200) -> web.Response:
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    return web.Response(text=text, status=status, content_type="application/json")


def _ids(given: Any) -> list[str]:
    return [id for item in (given if type(given) is list else []) if (id := protocol.job_id(item)) is not None]


def _number(call: Call, name: str, default: int) -> int:
    text = call.request.query.get(name, "")
    return min(int(text), MAX_LISTED) if text.isascii() and text.isdigit() and len(text) < 10 else default


def _cancelling(id: str) -> Callable[[Tables], Job]:
    return lambda tables: tables.queue.cancel(id)


def _submitted(tables: Tables, new: NewJob, front: bool) -> Job | None:
    """The new job; None where there is one with its id."""
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


def _choices(services: Services) -> Callable[[str], Sequence[str]]:
    """What is installed of a source, by name."""
    registry, catalog = services.intake.registry, services.intake.catalog

    def choices(source: str) -> list[str]:
        if source in CHOICE_SOURCES:
            return list(registry.extensions(CHOICE_SOURCES[source]))
        return catalog.names(source)

    return choices


# Uploads


def _below(folder: str, name: str) -> str:
    """A name below a folder, from what clients send of both."""
    return "/".join(part for part in (*folder.replace("\\", "/").split("/"), name) if part)


async def _upload(services: Services, request: web.Request) -> dict[str, Part]:
    """The parts of an upload, with a picture among them. Raises RequestError, WorkflowError, StorageError."""
    if services.disk_free() < LOW_DISK + (request.content_length or 0):
        raise StorageError("the disk has no room for that file", hint="free some space on the server's disk")
    parts = parts_in(request, await limited(request, services.settings.upload_bytes))
    if "image" not in parts or not parts["image"].filename:
        raise RequestError("the upload has no picture", expected="a part named `image` with a file name")
    suffix_of(parts["image"].content)
    return parts


def _text(parts: Mapping[str, Part], name: str) -> str:
    return parts[name].content.decode(errors="replace") if name in parts else ""


def _stored(services: Services, parts: Mapping[str, Part], content: bytes) -> dict[str, str]:
    """Put a picture where an upload says. Raises PathError, FileError."""
    folder = _text(parts, "subfolder")
    name = parts["image"].filename.replace("\\", "/").rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    path, count = safe_join(services.settings.input, _below(folder, name)), 1
    overwrite = _text(parts, "overwrite").lower() in ("true", "1")
    while not overwrite and path.exists() and path.read_bytes() != content:
        name = f"{stem} ({count}).{suffix}" if dot else f"{suffix} ({count})"
        path, count = safe_join(services.settings.input, _below(folder, name)), count + 1
    _placed(path, content)
    return {"name": name, "subfolder": folder, "type": "input"}


def _placed(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises FileError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.parent / f".{secrets.token_hex(8)}.partial"
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise FileError("the input folder takes no file", got=error.strerror) from None


def _original(services: Services, parts: Mapping[str, Part]) -> Path:
    """The picture that a mask is for. Raises RequestError, PathError."""
    try:
        named = parse(_text(parts, "original_ref"))
        known = type(named) is dict and type(named.get("filename")) is str
    except WorkflowError:
        known = False
    if not known:
        raise RequestError("the upload names no original", expected="a part named `original_ref` with a `filename`")
    root = services.settings.output if named.get("type") == "output" else services.settings.input
    return safe_join(root, _below(str(named.get("subfolder", "")), named["filename"]))


@contextlib.contextmanager
def _waiting(services: Services) -> Iterator[Path]:
    """A file that exists for the time of a block."""
    services.uploads.mkdir(parents=True, exist_ok=True)
    path = services.uploads / secrets.token_hex(8)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
