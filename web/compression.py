"""Compresses large answers with gzip, if the client accepts it."""

import asyncio
import zlib

from aiohttp import web
from aiohttp.typedefs import Handler

LEAST = 1400  # bytes: smaller answers fit into one packet anyway
INLINE = 65536  # larger bodies are compressed in a thread
LEVEL = 5
GZIP = 16 + zlib.MAX_WBITS
_TYPES = ("application/json", "text/html", "text/plain")


@web.middleware
async def compression(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Compress the body of an answer. Files and streams are sent as they are."""
    response = await handler(request)
    if not isinstance(response, web.Response) or response.content_type not in _TYPES or response.prepared:
        return response
    body = response.body
    if not isinstance(body, bytes) or len(body) < LEAST or "Content-Encoding" in response.headers:
        return response
    response.headers["Vary"] = "Accept-Encoding"
    if accepts_gzip(request.headers.get("Accept-Encoding", "")):
        response.body = await _compressed(body)
        response.headers["Content-Encoding"] = "gzip"
    return response


async def _compressed(body: bytes) -> bytes:
    if len(body) < INLINE:
        return zlib.compress(body, LEVEL, GZIP)
    return await asyncio.to_thread(zlib.compress, body, LEVEL, GZIP)


def accepts_gzip(header: str) -> bool:
    """Whether a header Accept-Encoding allows gzip (RFC 9110, 12.5.3)."""
    weights: dict[str, bool] = {}
    for part in header.lower().split(","):
        coding, _, parameters = part.partition(";")
        weight = parameters.replace(" ", "").removeprefix("q=")
        weights[coding.strip()] = weight.strip("0.") != "" or not weight
    return weights.get("gzip", weights.get("*", False))
