"""Bodies and answers of the routes for ComfyUI clients."""

import json
from typing import Any

from aiohttp import web

from latentloom.engine.document.strict_json import Limits, parse
from latentloom.web.http_errors import RequestError
from latentloom.web.routing import limited
from latentloom.web.services import Services


async def read_json(services: Services, request: web.Request) -> dict[str, Any]:
    """Return the JSON object in a body of any media type; {} for an empty body. Raises RequestError, WorkflowError."""
    data = await limited(request, services.settings.request_bytes)
    if not data.strip():
        return {}
    limits = Limits(size=services.settings.request_bytes, nodes=services.settings.request_nodes)
    found = await services.intake.thread(lambda: parse(data, limits, lambda _: None))
    if type(found) is not dict:
        raise RequestError("the body is no object")
    return found


def answer(data: Any, status: int = 200) -> web.Response:
    """Return JSON data as an answer in UTF-8."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    return web.Response(text=text, status=status, content_type="application/json")
