"""Routes for several saved files at once: a ZIP archive, tags, removal. A user reaches its own files only."""

from itertools import groupby
from operator import attrgetter

from aiohttp import web

from latentloom.api import wire_outputs
from latentloom.engine.jobs.outputs import Output
from latentloom.web.http_errors import NotFound
from latentloom.web.queue_writer import OwnedTables
from latentloom.web.routing import API, Call, Route
from latentloom.web.services import Services
from latentloom.web.tokens import READERS
from latentloom.web.wire_jobs import output_answer
from latentloom.web.zip_stream import zip_pieces

MISSING = "missing.txt"


async def zip_outputs(services: Services, call: Call) -> web.StreamResponse:
    """Return a ZIP archive of saved files, by their paths in the output folder.

    Files that were removed or changed after they were saved are left out and listed in `missing.txt`.
    """
    found = await call.store.read(lambda t: _found(t, call.body))
    by_content = groupby(sorted(found, key=attrgetter("sha256")), key=attrgetter("sha256"))
    files, missing = [], []
    for outputs in [list(group) for _, group in by_content]:
        path = await services.disk(services.files.intact, outputs)
        if path is None:
            missing.append(outputs[0].path)
        else:
            files.append((path.relative_to(services.settings.output.resolve()).as_posix(), path))
    if not files:
        raise NotFound("the files were removed or changed after they were saved", got=missing[0])
    texts = [(MISSING, "\n".join(missing) + "\n")] if missing else []
    response = web.StreamResponse(headers={"Content-Type": "application/zip", "Cache-Control": "private, no-store"})
    response.headers["Content-Disposition"] = 'attachment; filename="latentloom.zip"'
    await response.prepare(call.request)
    pieces = zip_pieces(sorted(files), texts)
    while piece := await services.disk(next, pieces, b""):
        await response.write(piece)
    await response.write_eof()
    return response


async def tag_outputs(_: Services, call: Call) -> wire_outputs.OutputList:
    """Add tags to saved files, and take tags off. Returns the files, newest first."""
    body: wire_outputs.OutputTags = call.body
    add = [tag.strip() for tag in body.add]

    def act(tables: OwnedTables) -> wire_outputs.OutputList:
        _found(tables, body)
        return _list(tables.outputs.tag(body.sha256, add=add, remove=body.remove))

    return await call.once(wire_outputs.OutputList, act)


async def remove_outputs(services: Services, call: Call) -> wire_outputs.OutputList:
    """Remove saved files and their thumbnails; the files stay in `.trash` for a day. Returns what was removed."""
    gone: list[Output] = []

    def act(tables: OwnedTables) -> wire_outputs.OutputList:
        gone.extend(_found(tables, call.body))
        tables.outputs.forget([output.id for output in gone])
        return _list(gone)

    answer = await call.once(wire_outputs.OutputList, act)
    await services.disk(services.files.remove, gone)
    return answer


def _found(tables: OwnedTables, body: wire_outputs.OutputSet) -> list[Output]:
    """Return all saved files with the requested contents, newest first. Raises NotFound."""
    found = tables.outputs.by_hash(*body.sha256)
    unknown = sorted(set(body.sha256) - {output.sha256 for output in found})
    if unknown:
        raise NotFound("there is no saved file with that sha256", got=", ".join(unknown[:3]))
    return found


def _list(outputs: list[Output]) -> wire_outputs.OutputList:
    return wire_outputs.OutputList(outputs=[output_answer(output) for output in outputs])


_SET = wire_outputs.OutputSet
_LIST = wire_outputs.OutputList

ROUTES = (
    Route(
        method="POST",
        path=f"{API}/outputs/zip",
        handler=zip_outputs,
        body=_SET,
        media="application/zip",
        allows=READERS,
        refuses=(404,),
    ),
    Route(
        method="POST",
        path=f"{API}/outputs/tags",
        handler=tag_outputs,
        body=wire_outputs.OutputTags,
        answer=_LIST,
        refuses=(404,),
    ),
    Route(method="POST", path=f"{API}/outputs/remove", handler=remove_outputs, body=_SET, answer=_LIST, refuses=(404,)),
)
