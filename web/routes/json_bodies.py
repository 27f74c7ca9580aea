"""JSON bodies and answers of the routes for clients of other programs."""

import json
from typing import Any

from aiohttp import web

from latentloom.engine.document.strict_json import Limits, parse
from latentloom.web.http_errors import RequestError
from latentloom.web.routing import limited
from latentloom.web.services import Services


async def read_json(
    services: Services, request: web.Request, *, size: int | None = None, finite: bool = False
) -> dict[str, Any]:
    """Return the JSON object in a body of any media type; {} for an empty body. Raises RequestError, WorkflowError.

    `size`: maximum bytes, default that of all JSON bodies. `finite`: NaN and infinities are errors, not None.
    """
    settings = services.settings
    size = size or settings.request_bytes
    data = await limited(request, size)
    if not data.strip():
        return {}
    limits = Limits(size=size, nodes=settings.request_nodes)
    found = await services.intake.thread(lambda: parse(data, limits, None if finite else lambda _: None))
    if type(found) is not dict:
        raise RequestError("the body is not an object")
    return found


def answer(data: Any, status: int = 200) -> web.Response:
    """Return JSON data as an answer in UTF-8."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    return web.Response(text=text, status=status, content_type="application/json")
