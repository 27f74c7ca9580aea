"""The editor's files from dist/: the page at / and at /app/NAME, and assets whose names contain their hash."""

import asyncio
import html
import mimetypes
from pathlib import Path
from urllib.parse import parse_qsl

from aiohttp import web
from pydantic import Field

from latentloom.engine.errors import brief
from latentloom.web.http_errors import NotFound, Unauthorized, UnsupportedMedia
from latentloom.web.routes.files import FOR_EVER
from latentloom.web.routing import API, OF_A_FILE, Call, Query, Route, limited
from latentloom.web.services import Services

DIST = Path(__file__).parents[1] / "dist"
MISSING = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Latentloom</title>
<h1>The web editor is not in this installation</h1>
<p>The server works; its API is described at <a href="{API}/docs">{API}/docs</a>. To get the editor, install
Latentloom without <code>SKIP_EDITOR</code>; in a checkout <code>make editor</code> builds it.</p></html>
"""


ENTER = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Latentloom</title>
<meta name="viewport" content="width=device-width"><h1>Latentloom</h1><form method="post" action="./">
<input type="hidden" name="code" value="{code}"><button autofocus>Open the editor · 打开编辑器</button></form></html>
"""
"""The page of a one-time address. A button, because programs that only look at the address must not use it up."""
ENTER_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "same-origin"}  # else the form's Origin is `null`
FORM = "application/x-www-form-urlencoded"
FORM_BYTES = 4096


class CodeQuery(Query):
    """A one-time code."""

    code: str | None = Field(None, max_length=200)


async def home(_: Services, call: Call) -> web.StreamResponse:
    """Return the editor; for a one-time code, a page with a button that exchanges it for a cookie."""
    if call.query.code is not None:
        text = ENTER.format(code=html.escape(call.query.code))
        return web.Response(text=text, content_type="text/html", headers=ENTER_HEADERS)
    if not call.owner:
        raise Unauthorized("this server needs a token", hint="open the one-time address that it printed at its start")
    page = DIST / "index.html"
    if not page.is_file():
        return web.Response(text=MISSING, content_type="text/html")
    return web.FileResponse(page, headers={"Cache-Control": "private, no-cache"})


async def app(_: Services, __: Call) -> web.Response:
    """Return the page of a workflow, on which its form is filled in. The page asks for the workflow itself."""
    page = DIST / "index.html"
    if not page.is_file():
        return web.Response(text=MISSING, content_type="text/html")
    text = (await asyncio.to_thread(page.read_text, "utf-8")).replace('="./', '="../')  # it is one level deeper
    return web.Response(text=text, content_type="text/html", headers={"Cache-Control": "private, no-cache"})


async def enter(services: Services, call: Call) -> web.Response:
    """Exchange a one-time code, sent as a form, for a cookie."""
    if call.request.content_type != FORM:
        raise UnsupportedMedia("the body has an unsupported type", expected=FORM, got=brief(call.request.content_type))
    form = dict(parse_qsl((await limited(call.request, FORM_BYTES)).decode(errors="replace")))
    owner = services.access.cookies.redeem(form.get("code", ""))
    if owner is None:
        raise Unauthorized("that one-time address has been used, or is too old", hint="restart the server")
    response = web.Response(status=303, headers={"Location": "./", "Cache-Control": "no-store"})
    services.access.cookies.give(response, owner, secure=services.access.is_secure(call.request))
    return response


async def show_asset(_: Services, call: Call) -> web.StreamResponse:
    """Return a file of the editor; its name contains a hash of its content."""
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
        also=(206, 304),
        refuses=(401, 412, 416),
    ),
    Route(method="POST", path="/", handler=enter, public=True, takes=(FORM,), status=303, refuses=(401,)),
    Route(method="GET", path="/app/{name}", handler=app, media="text/html"),
    Route(method="GET", path=r"/assets/{asset:[\w-]+\.[\w.-]+}", handler=show_asset, media="*/*", **OF_A_FILE),
)
