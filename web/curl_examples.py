"""An example of a call with curl for each route, for the description of the API."""

import json
import re
import shlex
from collections.abc import Iterable
from urllib.parse import urlencode

from latentloom.web.routing import IF_NONE_MATCH, Route

SERVER = "localhost:8420"
_PART = re.compile(r"\{(\w+)(?::[^{}]*(?:\{[^{}]*\}[^{}]*)*)?\}")
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_PARTS = {
    "id": "6c1f4b1e9d0a4c6e8f2b7a5d3c9e0f14",
    "name": "my%20workflow",
    "draft": "draft-1",
    "sha256": _SHA256,
    "file": f"by-hash/9f/{_SHA256}.png",
    "asset": "index.js",
}
_QUERY = {"source": "models/checkpoints", "name": "shapes", "job": _PARTS["id"]}
_FORM = "application/x-www-form-urlencoded"


def curl(route: Route) -> str:
    """Return a command line that calls the route on a server of this machine."""
    if route.status == 101:
        return f"websocat 'ws://{SERVER}{_path(route)}'"
    return " ".join(["curl", *_method(route), *_headers(route), *_body(route), *_to(route), _url(route)])


def _url(route: Route) -> str:
    return shlex.quote(f"http://{SERVER}{_path(route)}")


def _path(route: Route) -> str:
    schema = route.query.model_json_schema() if route.query is not None else {}
    wanted = schema.get("required", ()) or (("job",) if route.status == 101 else ())
    query = urlencode({name: _QUERY.get(name, "") for name in wanted}, safe="/")
    return _PART.sub(lambda match: _PARTS.get(match[1], match[1].upper()), route.path) + (f"?{query}" if query else "")


def _method(route: Route) -> Iterable[str]:
    if route.method == "HEAD":
        return ["-I"]
    has_body = route.body is not None or bool(route.takes)
    return [] if route.method == "GET" or (route.method == "POST" and has_body) else ["-X", route.method]


def _headers(route: Route) -> Iterable[str]:
    if route.public or route.method == "HEAD":
        return
    yield '-H "Authorization: Bearer $TOKEN"'
    if IF_NONE_MATCH in route.reads:
        yield "-H 'If-Match: *'"


def _body(route: Route) -> Iterable[str]:
    if route.body is not None:
        yield "-H 'Content-Type: application/json' -d"
        yield shlex.quote(json.dumps(route.body.example, ensure_ascii=False))
    elif _FORM in route.takes:
        yield '-d "token=$TOKEN"'
    elif route.takes:
        media = next(media for media in route.takes if media.startswith("image/"))
        yield f"-H 'Content-Type: {media}' --data-binary @picture.png"


def _to(route: Route) -> Iterable[str]:
    return ["-o picture"] if route.media.startswith("image/") or route.media == "*/*" else []
