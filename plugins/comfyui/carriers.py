"""Extracts graphs from files: JSON, pictures (PNG, WebP and others with EXIF), safetensors."""

import io
import struct
import warnings
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from latentloom.engine.document.strict_json import Limits, parse
from latentloom.engine.errors import LoomError
from latentloom.engine.files.pictures import MAX_PIXELS, formats, picture_suffix

DEPTH = 40  # levels of nesting; placeholders add further levels
MAX_HEADER = 2**26  # maximum bytes of a safetensors header
NAMES = ("prompt", "workflow")


def graphs_in(data: bytes) -> dict[str, Any]:
    """Return the parsed graphs in a file: "prompt" in the API format, "workflow" in the editor's format, or "file".

    Non-finite numbers become None. Raises WorkflowError for invalid JSON.
    """
    if picture_suffix(data):
        return {name: parsed(text) for name, text in _texts(data) if name in NAMES}
    if data[8:9] == b"{":
        return {name: parsed(text) for name, text in _safetensors(data) if name in NAMES}
    if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return {}
    found = parsed(data)
    both = type(found) is dict and any(type(found.get(name)) is dict for name in NAMES)
    return {name: found[name] for name in NAMES if name in found} if both else {"file": found}


def texts_in(data: bytes, names: Collection[str]) -> dict[str, str]:
    """Return the texts of a picture by name. EXIF's UserComment has the name "parameters"."""
    return {name: text for name, text in _texts(data) if name in names} if picture_suffix(data) else {}


def parsed(text: bytes | str) -> Any:
    """Parse JSON as ComfyUI writes it."""
    return parse(text, Limits()._replace(depth=DEPTH), lambda _: None)


def _texts(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield the named texts of a picture: PNG chunks, or EXIF tags that begin with a name and a colon."""
    from PIL import Image as Pil
    from PIL.ExifTags import IFD, Base

    try:
        with warnings.catch_warnings(), Pil.open(io.BytesIO(data), formats=formats()) as picture:
            warnings.simplefilter("ignore")
            if picture.width * picture.height > MAX_PIXELS:
                return
            if picture.format == "PNG":
                picture.load()  # chunks may follow the pixels
            texts: Mapping[Any, Any] = picture.info
            exif = picture.getexif()
            tags, comment = dict(exif), exif.get_ifd(IFD.Exif).get(Base.UserComment)
    except Exception:  # Pillow's decoders raise many types; such a file has no texts
        return
    yield from ((name, text) for name, text in texts.items() if type(name) is str and isinstance(text, str))
    if isinstance(comment, bytes):
        yield "parameters", _comment(comment)
    for tag in tags.values():
        name, colon, text = str(tag).partition(":")
        if colon:
            yield name.lower(), text.rstrip("\0")


def _comment(data: bytes) -> str:
    """Decode EXIF's UserComment: eight bytes that name the encoding, then the text."""
    if not data.startswith(b"UNICODE\0"):
        return data[8:].decode(errors="replace")
    text = data[8:]
    return text.decode("utf-16-le" if text[1:2] == b"\0" else "utf-16-be", errors="replace")


def _safetensors(data: bytes) -> Iterator[tuple[str, str]]:
    (length,) = struct.unpack("<Q", data[:8])
    if length > min(MAX_HEADER, len(data) - 8):
        return
    try:
        header = parse(data[8 : 8 + length])
    except LoomError:
        return
    known = header.get("__metadata__") if type(header) is dict else None
    if type(known) is dict:
        yield from ((name, text) for name, text in known.items() if isinstance(text, str))
