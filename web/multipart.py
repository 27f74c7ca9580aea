"""Parses multipart forms with files (RFC 7578)."""

import re
from typing import NamedTuple

from aiohttp import web

from latentloom.engine.errors import brief
from latentloom.web.http_errors import RequestError, UnsupportedMedia

MAX_PARTS = 32
MAX_HEAD = 8192  # maximum bytes of a part's headers
_NAME = re.compile(r'(?<![\w*])name="([^"]*)"')
_FILENAME = re.compile(r'filename="([^"]*)"')


class Part(NamedTuple):
    """A field of a form. Only a file has a file name."""

    filename: str
    content: bytes


def parts_in(request: web.Request, body: bytes) -> dict[str, Part]:
    """Return the fields of a form by name; of equal names the last. Raises UnsupportedMedia, RequestError."""
    return dict(all_parts_in(request, body))


def all_parts_in(request: web.Request, body: bytes) -> list[tuple[str, Part]]:
    """Return names and fields of a form, in order. Raises UnsupportedMedia, RequestError."""
    boundary = request.headers.get("Content-Type", "").partition("boundary=")[2].partition(";")[0].strip().strip('"')
    if request.content_type != "multipart/form-data" or not 0 < len(boundary) <= 200:
        raise UnsupportedMedia(
            "the body has an unsupported type", expected="multipart/form-data", got=brief(request.content_type)
        )
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode(), MAX_PARTS + 2)
    if len(pieces) > MAX_PARTS + 2:
        raise RequestError("the form has too many parts", expected=f"at most {MAX_PARTS}")
    return [_part(piece) for piece in pieces[1:-1]]


def _part(piece: bytes) -> tuple[str, Part]:
    head, blank, content = piece.partition(b"\r\n\r\n")
    text = head[:MAX_HEAD].decode(errors="replace")
    name, filename = _NAME.search(text), _FILENAME.search(text)
    if not blank or name is None:
        raise RequestError("a part of the form has no name")
    return name[1], Part(filename[1] if filename else "", content)
