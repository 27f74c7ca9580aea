"""File routes for ComfyUI clients: view files in the output and input folders, and upload to the input folder."""

import secrets
from collections.abc import Mapping
from pathlib import Path

from aiohttp import web

from latentloom.engine.document.strict_json import parse
from latentloom.engine.errors import FileError, PathError, WorkflowError
from latentloom.engine.files.catalog import safe_join
from latentloom.engine.jobs.faults import StorageError
from latentloom.web.http_errors import RequestError
from latentloom.web.intake import suffix_of
from latentloom.web.multipart import Part, parts_in
from latentloom.web.routes.files import file_response
from latentloom.web.routes.json_bodies import answer
from latentloom.web.routing import Call, limited
from latentloom.web.services import LOW_DISK, Services


async def view(services: Services, call: Call) -> web.StreamResponse:
    """Give a file below the output or the input folder, as it was saved."""
    query = call.request.query
    root = services.settings.input if query.get("type") == "input" else services.settings.output
    try:
        path = safe_join(root, _below(query.get("subfolder", ""), query.get("filename", "")))
    except PathError as error:
        raise RequestError("that file cannot be named", got=error.problem.message) from None
    return file_response(path)


async def upload_image(services: Services, call: Call) -> web.Response:
    """Store a picture below the input folder, under its own name or one with a number."""
    parts = await _upload(services, call.request)
    with services.temporary() as picture:
        await services.disk(picture.write_bytes, parts["image"].content)
        await services.dispatcher.ask("inspect", path=str(picture))
    return answer(await services.disk(_stored, services, parts, parts["image"].content))


async def upload_mask(services: Services, call: Call) -> web.Response:
    """Store a picture whose transparency becomes that of another one, its original."""
    parts = await _upload(services, call.request)
    original = _original(services, parts)
    with services.temporary() as mask, services.temporary() as joined:
        await services.disk(mask.write_bytes, parts["image"].content)
        await services.dispatcher.ask("join_alpha", path=str(original), mask=str(mask), to=str(joined))
        content = await services.disk(joined.read_bytes)
    return answer(await services.disk(_stored, services, parts, content))


def _below(folder: str, name: str) -> str:
    """Join the folder and the name that a client sent."""
    return "/".join(part for part in (*folder.replace("\\", "/").split("/"), name) if part)


async def _upload(services: Services, request: web.Request) -> dict[str, Part]:
    """Return the parts of an upload, which includes a picture. Raises RequestError, WorkflowError, StorageError."""
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
    """Store the picture of an upload. Raises PathError, FileError."""
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
    """Write a file atomically. Raises FileError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.parent / f".{secrets.token_hex(8)}.partial"
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise FileError("the input folder takes no file", got=error.strerror) from None


def _original(services: Services, parts: Mapping[str, Part]) -> Path:
    """Return the path of the picture that a mask belongs to. Raises RequestError, PathError."""
    try:
        named = parse(_text(parts, "original_ref"))
        known = type(named) is dict and type(named.get("filename")) is str
    except WorkflowError:
        known = False
    if not known:
        raise RequestError("the upload names no original", expected="a part named `original_ref` with a `filename`")
    root = services.settings.output if named.get("type") == "output" else services.settings.input
    return safe_join(root, _below(str(named.get("subfolder", "")), named["filename"]))
