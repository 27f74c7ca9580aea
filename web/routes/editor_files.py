"""The editor's files from dist/: the page at /, and assets whose names contain their hash."""

import mimetypes
from pathlib import Path

from aiohttp import web
from pydantic import Field

from latentloom.web.http_errors import NotFound, Unauthorized
from latentloom.web.routes.files import FOR_EVER
from latentloom.web.routing import API, OF_A_FILE, Call, Query, Route
from latentloom.web.services import Services

DIST = Path(__file__).parents[1] / "dist"
MISSING = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Latentloom</title>
<h1>The web editor is not in this installation</h1>
<p>The server works; its API is described at <a href="{API}/docs">{API}/docs</a>. To get the editor, install
Latentloom without <code>SKIP_EDITOR</code>; in a checkout <code>make editor</code> builds it.</p></html>
"""


class CodeQuery(Query):
    """A one-time code."""

    code: str | None = Field(None, max_length=200)


async def home(services: Services, call: Call) -> web.StreamResponse:
    """Give the editor; a one-time code is first exchanged for a cookie."""
    if call.query.code is not None:
        return _let_in(services, call)
    if not call.owner:
        raise Unauthorized("this server needs a token", hint="open the one-time address that it printed at its start")
    page = DIST / "index.html"
    if not page.is_file():
        return web.Response(text=MISSING, content_type="text/html")
    return web.FileResponse(page, headers={"Cache-Control": "private, no-cache"})


def _let_in(services: Services, call: Call) -> web.Response:
    owner = services.access.cookies.redeem(call.query.code)
    if owner is None:
        raise Unauthorized("that one-time address has been used, or is too old", hint="restart the server")
    response = web.Response(status=303, headers={"Location": "/", "Cache-Control": "no-store"})
    services.access.cookies.give(response, owner, secure=services.access.is_secure(call.request))
    return response


async def show_asset(_: Services, call: Call) -> web.StreamResponse:
    """Give a file of the editor; its name holds a hash of its content."""
    path = DIST / "assets" / call.part("asset")
    if not path.is_file():
        raise NotFound("the editor has no such file", hint="reload the page: the editor has been updated")
    media = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return web.FileResponse(path, headers={"Cache-Control": FOR_EVER, "Content-Type": media})


ROUTES = (
    Route(
        method="GET",
        path="/",
        handler=home,
        query=CodeQuery,
        public=True,
        media="text/html",
        also=(206, 303, 304),
        refuses=(401, 412, 416),
    ),
    Route(method="GET", path=r"/assets/{asset:[\w-]+\.[\w.-]+}", handler=show_asset, media="*/*", **OF_A_FILE),
)
