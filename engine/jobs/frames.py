"""The frames that a server and its workers exchange: two lengths, a JSON object, and bytes that belong to it."""

import json
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

HEAD = struct.Struct(">II")
MAX_JSON, MAX_DATA = 256 * 2**20, 64 * 2**20


class Frame(NamedTuple):
    """A message: what it is and says, and the bytes of a preview."""

    message: dict[str, Any]
    data: bytes = b""

    @property
    def kind(self) -> str:
        """What the message is."""
        return str(self.message["is"])


def encode(message: dict[str, Any], data: bytes = b"") -> bytes:
    """The bytes of a frame. Halves of surrogate pairs, which an error's message may hold, become question marks.

    Raises ValueError or TypeError for what is no JSON, NaN too, and for more than a frame may hold.
    """
    text = json.dumps(message, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode(errors="replace")
    _check(len(text), len(data))
    return HEAD.pack(len(text), len(data)) + text + data


def sizes(head: bytes) -> tuple[int, int]:
    """The two lengths in a frame's first eight bytes. Raises ValueError for more than a frame may hold."""
    text, data = HEAD.unpack(head)
    _check(text, data)
    return text, data


def _check(text: int, data: int) -> None:
    if text > MAX_JSON or data > MAX_DATA:
        raise ValueError(f"a frame of {text} + {data} bytes is too large")


def decode(text: bytes, data: bytes) -> Frame:
    """The frame in the bytes after the head."""
    return Frame(json.loads(text), data)


def read_frame(exactly: Callable[[int], bytes]) -> Frame:
    """The next frame from a reader of exactly n bytes."""
    text, data = sizes(exactly(HEAD.size))
    return decode(exactly(text), exactly(data) if data else b"")
