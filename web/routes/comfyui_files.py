"""File routes for ComfyUI clients: view files in the output and input folders, and upload to the input folder."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from latentloom.engine.document.strict_json import parse
from latentloom.engine.errors import FileError, PathError, WorkflowError, brief
from latentloom.engine.files.catalog import safe_join
from latentloom.engine.files.owners import uploads_of
from latentloom.engine.files.pictures import picture_suffix
from latentloom.engine.jobs.faults import StorageError
from latentloom.web.http_errors import RequestError
from latentloom.web.intake import suffix_of
from latentloom.web.multipart import Part, parts_in
from latentloom.web.routes.files import HEAD_BYTES, INLINE, file_response, gone, input_path
from latentloom.web.routes.json_bodies import answer
from latentloom.web.routing import Call, limited
from latentloom.web.services import LOW_DISK, Services

FOLDERS = {  # ComfyUI's name of a model folder -> our source
    "checkpoints": "models/checkpoints", "loras": "models/loras", "vae": "models/vae", "clip": "models/clip",
    "text_encoders": "models/clip", "unet": "models/unet", "diffusion_models": "models/unet",
    "controlnet": "models/controlnet", "upscale_models": "models/upscale_models",
    "clip_vision": "models/clip_vision", "embeddings": "models/embeddings", "ipadapter": "models/ipadapter",
    "style_models": "models/style_models",
}  # fmt: skip
CHANNELS = ("rgba", "rgb", "a")
MAX_HEADER = 64 * 2**20  # bytes of a safetensors header


async def view(services: Services, call: Call) -> web.StreamResponse:
    """Give a file below the output or the input folder: as it was saved, as a preview, or one of its channels."""
    query = call.request.query
    name = _below(query.get("subfolder", ""), query.get("filename", ""))
    try:
        path = await _path(services, call, name, in_input=query.get("type") == "input")
    except PathError as error:
        raise RequestError("that file cannot be named", got=error.problem.message) from None
    format, channel = query.get("preview"), query.get("channel", "rgba")
    if channel not in CHANNELS:
        raise RequestError("there is no such channel", expected=", ".join(CHANNELS), got=brief(channel))
    if not _is_picture(path) or (format is None and channel == "rgba"):
        return file_response(path)
    with services.temporary() as made:
        await services.dispatcher.ask(
            "view", path=str(path), to=str(made), channel=channel, **_encoding(format, channel)
        )
        data = await services.disk(made.read_bytes)
    media = INLINE[suffix_of(data)]
    headers = {"Cache-Control": "private, no-cache", "Content-Security-Policy": "sandbox; default-src 'none'"}
    return web.Response(body=data, content_type=media, headers=headers)


async def _path(services: Services, call: Call, name: str, *, in_input: bool) -> Path:
    """Return the path of a file below the input or the output folder. Raises PathError.

    Raises NotFound for a file that does not exist, or that the caller does not see.
    """
    output = services.settings.output
    path = input_path(services, call, name) if in_input else safe_join(output, name)
    if not in_input and call.sees is not None:
        below = path.relative_to(output.resolve()).as_posix()
        if not await call.store.read(lambda t: t.outputs.at(below)):
            raise gone()
    if not path.is_file():
        raise gone()
    return path


def _is_picture(path: Path) -> bool:
    """Whether the first bytes are those of a picture. Raises NotFound."""
    try:
        with path.open("rb") as file:
            return picture_suffix(file.read(HEAD_BYTES)) is not None
    except OSError:
        raise gone() from None


def _encoding(preview: str | None, channel: str) -> dict[str, Any]:
    """Return format and quality for `preview`, such as "webp;90". A single channel is a PNG."""
    if preview is None or channel == "a":
        return {"format": "PNG", "quality": 90}
    name, _, quality = preview.partition(";")
    number = int(quality) if quality.isascii() and quality.isdigit() and len(quality) < 4 else 90
    return {"format": "JPEG" if name in ("jpeg", "jpg") else "WEBP", "quality": min(100, max(1, number))}


async def view_metadata(services: Services, call: Call) -> web.Response:
    """Give the metadata in the header of a safetensors file of a model folder; 404 if it has none."""
    source = FOLDERS.get(call.part("folder"))
    name = call.request.query.get("filename", "")
    if source is None or not name.endswith(".safetensors"):
        return web.Response(status=404)
    found = await services.disk(_metadata, services.intake.files(call.sees).find(source, name).path)
    return web.Response(status=404) if found is None else answer(found)


def _metadata(path: Path) -> dict[str, str] | None:
    """Return the texts in a header; None if there are none or the file has no header."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = parse(file.read(length)) if length <= MAX_HEADER else None
    except (OSError, WorkflowError):
        return None
    known = header.get("__metadata__") if type(header) is dict else None
    return {str(key): str(text) for key, text in known.items()} if type(known) is dict else None


async def upload_image(services: Services, call: Call) -> web.Response:
    """Store a picture below the input folder, under its own name or one with a number."""
    parts = await _upload(services, call.request)
    with services.temporary() as picture:
        await services.disk(picture.write_bytes, parts["image"].content)
        await services.dispatcher.ask("inspect", path=str(picture))
    return answer(await services.disk(_stored, services, call.sees, parts, parts["image"].content))


async def upload_mask(services: Services, call: Call) -> web.Response:
    """Store a picture whose transparency becomes that of another one, its original."""
    parts = await _upload(services, call.request)
    original = await _original(services, call, parts)
    with services.temporary() as mask, services.temporary() as joined:
        await services.disk(mask.write_bytes, parts["image"].content)
        await services.dispatcher.ask("join_alpha", path=str(original), mask=str(mask), to=str(joined))
        content = await services.disk(joined.read_bytes)
    return answer(await services.disk(_stored, services, call.sees, parts, content))


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


def _stored(services: Services, sees: str | None, parts: Mapping[str, Part], content: bytes) -> dict[str, str]:
    """Store the picture of an upload, in the caller's own folder unless it is an admin. Raises PathError, FileError.

    The name in the answer is the one for documents, since some clients disregard the subfolder.
    """
    folder = _text(parts, "subfolder")
    name = parts["image"].filename.replace("\\", "/").rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    place = services.settings.input / uploads_of(sees)
    path, count = safe_join(place, _below(folder, name)), 1
    overwrite = _text(parts, "overwrite").lower() in ("true", "1")
    while not overwrite and path.exists() and path.read_bytes() != content:
        name = f"{stem} ({count}).{suffix}" if dot else f"{suffix} ({count})"
        path, count = safe_join(place, _below(folder, name)), count + 1
    _placed(path, content)
    if sees is not None:
        name, folder = f"{uploads_of(sees)}{_below(folder, name)}", ""
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


async def _original(services: Services, call: Call, parts: Mapping[str, Part]) -> Path:
    """Return the path of the picture that a mask belongs to. Raises RequestError, PathError, NotFound."""
    try:
        named = parse(_text(parts, "original_ref"))
        known = type(named) is dict and type(named.get("filename")) is str
    except WorkflowError:
        known = False
    if not known:
        raise RequestError("the upload names no original", expected="a part named `original_ref` with a `filename`")
    name = _below(str(named.get("subfolder", "")), named["filename"])
    return await _path(services, call, name, in_input=named.get("type") != "output")
