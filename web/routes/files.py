"""Routes for pictures: input pictures of workflows, and pictures saved by jobs."""

import contextlib
import hashlib
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web
from pydantic import Field

from latentloom.api import wire
from latentloom.engine.document.strict_json import parse
from latentloom.engine.files.catalog import safe_join
from latentloom.engine.files.owners import is_visible, uploads_of
from latentloom.engine.files.partial import partial_path
from latentloom.engine.jobs.faults import StorageError
from latentloom.engine.jobs.outputs import Output
from latentloom.web.http_errors import Forbidden, InUse, NotFound, RequestError, UnsupportedMedia
from latentloom.web.intake import suffix_of
from latentloom.web.routing import API, MOST, OF_A_FILE, Call, Query, Reply, Route, parts_of
from latentloom.web.services import LOW_DISK, Services
from latentloom.web.tokens import READERS
from latentloom.web.wire_jobs import output_answer

INLINE = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".avif": "image/avif",
}
PICTURES = (*INLINE.values(), "image/heic", "image/heif", "image/bmp", "image/tiff")
IMPORTS = ("application/json", "application/octet-stream", *PICTURES)
MOST_WORDS = 10
HEAD_BYTES = 16  # that identify a picture format
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
FOR_EVER = "private, max-age=31536000, immutable"


def file_response(path: Path, *, cache: str = "private, no-cache") -> web.StreamResponse:
    """Return a file: inline if its first bytes are those of an allowed picture format, otherwise as a download.

    Raises NotFound.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        raise gone() from None
    media = None
    with contextlib.suppress(Exception):
        media = INLINE.get(suffix_of(head))
    headers = {"Cache-Control": cache, "Content-Type": media or "application/octet-stream"}
    headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    if media is None:
        headers["Content-Disposition"] = "attachment"
    return web.FileResponse(path, headers=headers)


# Input pictures


async def list_files(services: Services, call: Call) -> wire.FileList:
    """List the pictures that workflows can use. A user gets its own uploads and the pictures for everybody."""
    return wire.FileList(files=await services.disk(services.intake.files(call.sees).names, "input"))


async def upload(services: Services, call: Call) -> Reply:
    """Store a picture under the hash of its content. The body is the file itself, with its media type."""
    if call.request.content_type not in PICTURES:
        raise UnsupportedMedia("the body has an unsupported type", expected=", ".join(PICTURES))
    async with _received(services, call) as (waiting, sha256):
        suffix = suffix_of(await services.disk(_head, waiting))
        asked = call.asked(sha256)
        known = await call.store.read(lambda t: call.known(t, asked))
        if known is not None:
            return Reply(wire.StoredFile.model_validate_json(known), 201)
        facts = await services.dispatcher.ask("inspect", path=str(waiting))
        size = waiting.stat().st_size
        name = await services.disk(services.intake.files(call.sees).store_file, waiting, sha256, suffix)
    stored = wire.StoredFile(name=name, sha256=sha256, bytes=size, width=facts["width"], height=facts["height"])
    return Reply(await call.once(wire.StoredFile, lambda _: stored, asked), 201)


async def take_in(services: Services, call: Call) -> wire.Imported:
    """Read the workflow in a file: a document, a saved picture, or what a plugin can import. Nothing is stored."""
    if call.request.content_type not in IMPORTS:
        raise UnsupportedMedia("the body has an unsupported type", expected=", ".join(IMPORTS))
    async with _received(services, call) as (waiting, _):
        return wire.Imported(**await services.dispatcher.ask("import", path=str(waiting)))


@contextlib.asynccontextmanager
async def _received(services: Services, call: Call) -> AsyncIterator[tuple[Path, str]]:
    """Stream a body to a temporary file, which exists for the duration of a with-block, and yield its sha256."""
    room = services.disk_free() - LOW_DISK - (call.request.content_length or 0)
    if room < 0:
        raise StorageError("the disk has no room for that file", hint="free some space on the server's disk")
    services.uploads.mkdir(parents=True, exist_ok=True)
    waiting, digest = services.uploads / secrets.token_hex(8), hashlib.sha256()
    try:
        with waiting.open("wb") as file:
            async for part in parts_of(call.request, services.settings.upload_bytes):
                digest.update(part)
                await services.disk(file.write, part)
        yield waiting, digest.hexdigest()
    finally:
        waiting.unlink(missing_ok=True)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


async def show_file(services: Services, call: Call) -> web.StreamResponse:
    """Return a picture that workflows can use."""
    return file_response(input_path(services, call, call.part("file")))


def input_path(services: Services, call: Call, name: str) -> Path:
    """Return the path of a picture in the input folder. Raises PathError; NotFound for another owner's upload."""
    path = safe_join(services.settings.input, name)
    if not is_visible(path.relative_to(services.settings.input.resolve()).as_posix(), call.sees):
        raise gone()
    return path


def gone() -> NotFound:
    """Return the error for a file that does not exist for the caller."""
    return NotFound("the file is gone")


async def remove_file(services: Services, call: Call) -> wire.Empty:
    """Remove a picture that workflows can use; the file stays in `.trash` for a day.

    A picture that a waiting or running job or batch uses is not removed. A user removes its own uploads.
    """
    name = call.part("file")
    input_path(services, call, name)
    if not name.startswith(uploads_of(call.sees)):
        raise Forbidden("that picture is for everybody", hint="an admin can remove it")
    using = await call.store.search(lambda t: t.queue.using(name))
    if using:
        hint = "wait until they have ended, or cancel them"
        raise InUse(f"jobs or batches use the picture '{name}'", got=", ".join(using[:3]), hint=hint)
    await services.disk(services.inputs.remove, name)
    return wire.Empty()


# Saved pictures


class OutputQuery(Query):
    """Which files."""

    q: str | None = Field(
        None, max_length=500, description="Words in the prompts, models, tags, seed or name of the workflow."
    )
    model: str | None = Field(None, max_length=500, description="Part of a model's name.")
    seed: str | None = Field(None, max_length=20)
    tag: str | None = Field(None, max_length=200)
    workflow: str | None = Field(None, max_length=500, description="Name of the workflow.")
    job: str | None = Field(None, max_length=64)
    before: int | None = Field(None, ge=0, le=MOST, description="Continue after the file with that id.")
    limit: int = Field(50, ge=1, le=500)


async def list_outputs(_: Services, call: Call) -> wire.OutputPage:
    """Search the saved files, newest first. All conditions must match. A user gets its own."""
    conditions = call.query.model_dump()
    text = conditions.pop("q")
    words = len((text or "").split())
    if words > MOST_WORDS:
        raise RequestError("too many words to search for", expected=f"at most {MOST_WORDS}", got=str(words))
    found = await call.store.search(lambda t: t.outputs.search(text=text, **conditions))
    next = found[-1].id if len(found) == call.query.limit else None
    return wire.OutputPage(outputs=[output_answer(output) for output in found], next=next)


async def _outputs(call: Call) -> list[Output]:
    """Return all saved files with the requested content, newest first. Raises NotFound."""
    sha256, found = call.part("sha256"), list[Output]()
    if _SHA256.match(sha256):
        found = await call.store.read(lambda t: t.outputs.by_hash(sha256))
    if not found:
        raise NotFound("there is no saved file with that sha256")
    return found


async def _intact(services: Services, outputs: list[Output]) -> Path:
    """Return a saved file that is unchanged. Raises NotFound."""
    path = await services.disk(services.files.intact, outputs)
    if path is None:
        raise NotFound("the file was removed or changed after it was saved", got=outputs[0].path)
    return path


async def show_output(_: Services, call: Call) -> wire.OutputFile:
    """Show the metadata of a saved file."""
    return output_answer((await _outputs(call))[0])


async def show_content(services: Services, call: Call) -> web.StreamResponse:
    """Return the content of a saved file, if it is unchanged."""
    return file_response(await _intact(services, await _outputs(call)), cache=FOR_EVER)


async def show_thumbnail(services: Services, call: Call) -> web.StreamResponse:
    """Return a thumbnail of a saved picture, as WebP."""
    outputs = await _outputs(call)
    if not outputs[0].media.startswith("image/"):
        raise NotFound("only pictures have thumbnails")
    small = services.files.thumbnail(outputs[0].sha256)
    if not small.exists():
        path = await _intact(services, outputs)
        small.parent.mkdir(parents=True, exist_ok=True)
        partial = partial_path(small.parent)
        await services.dispatcher.ask("thumbnail", path=str(path), to=str(partial))
        partial.replace(small)
    return file_response(small, cache=FOR_EVER)


async def show_making(services: Services, call: Call) -> wire.Making:
    """Return the workflow and the record stored in a saved picture."""
    path = await _intact(services, await _outputs(call))
    found = await services.dispatcher.ask("making", path=str(path))
    return wire.Making(workflow=parse(found["workflow"]), record=found["record"])


async def remove_output(services: Services, call: Call) -> wire.Empty:
    """Remove every saved file with that content, and its thumbnail; the files stay in `.trash` for a day."""
    found = await _outputs(call)
    await call.store.write(lambda t: t.outputs.forget([output.id for output in found]))
    await services.disk(services.files.remove, found)
    return wire.Empty()


_ONE = f"{API}/outputs/{{sha256:[0-9a-f]{{64}}}}"

ROUTES = (
    Route(method="GET", path=f"{API}/files", handler=list_files, answer=wire.FileList),
    Route(method="POST", path=f"{API}/files", handler=upload, answer=wire.StoredFile, status=201, takes=PICTURES),
    Route(method="POST", path=f"{API}/import", handler=take_in, answer=wire.Imported, takes=IMPORTS, allows=READERS),
    Route(method="GET", path=f"{API}/files/{{file:.+}}", handler=show_file, media="image/*", **OF_A_FILE),
    Route(method="DELETE", path=f"{API}/files/{{file:.+}}", handler=remove_file, answer=wire.Empty),
    Route(method="GET", path=f"{API}/outputs", handler=list_outputs, query=OutputQuery, answer=wire.OutputPage),
    Route(method="GET", path=_ONE, handler=show_output, answer=wire.OutputFile),
    Route(method="GET", path=f"{_ONE}/content", handler=show_content, media="image/*", **OF_A_FILE),
    Route(method="GET", path=f"{_ONE}/thumbnail", handler=show_thumbnail, media="image/webp", **OF_A_FILE),
    Route(method="GET", path=f"{_ONE}/making", handler=show_making, answer=wire.Making),
    Route(method="DELETE", path=_ONE, handler=remove_output, answer=wire.Empty),
)
