"""The frames between a server and its workers: two lengths, a JSON object, and the bytes that belong to it."""

import json
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

HEAD = struct.Struct(">II")
MAX_JSON, MAX_DATA = 256 * 2**20, 64 * 2**20


class Frame(NamedTuple):
    """A message as JSON, with binary data such as a preview."""

    message: dict[str, Any]
    data: bytes = b""

    @property
    def kind(self) -> str:
        """The kind of the message."""
        return str(self.message["is"])


def encode(message: dict[str, Any], data: bytes = b"") -> bytes:
    """Return the bytes of a frame. Lone surrogates, which an error's message may contain, become question marks.

    Raises ValueError or TypeError for values that are not JSON, such as NaN, and for a frame that is too large.
    """
    text = json.dumps(message, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode(errors="replace")
    _check(len(text), len(data))
    return HEAD.pack(len(text), len(data)) + text + data


def sizes(head: bytes) -> tuple[int, int]:
    """Return the two lengths in a frame's first eight bytes. Raises ValueError if the frame is too large."""
    text, data = HEAD.unpack(head)
    _check(text, data)
    return text, data


def _check(text: int, data: int) -> None:
    if text > MAX_JSON or data > MAX_DATA:
        raise ValueError(f"a frame of {text} + {data} bytes is too large")


def decode(text: bytes, data: bytes) -> Frame:
    """Return the frame from the bytes after the head."""
    return Frame(json.loads(text), data)


def read_frame(exactly: Callable[[int], bytes]) -> Frame:
    """Read the next frame. `exactly(n)` reads n bytes."""
    text, data = sizes(exactly(HEAD.size))
    return decode(exactly(text), exactly(data) if data else b"")
