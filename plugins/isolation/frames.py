"""The messages between this process and another: a JSON object and arrays. Nothing is pickled."""

import json
import mmap
import struct
from collections.abc import Sequence
from itertools import accumulate
from typing import IO, Any, NamedTuple

import numpy as np

from latentloom.plugins.isolation.shared_memory import Mapping, Segment, shares

HEAD = struct.Struct(">IQ")
MAX_JSON, MAX_DATA = 64 * 2**20, 16 * 2**30
KINDS = "biufc"  # of numpy dtypes: numbers and truth values
ALIGNED, ALIGNED_SHARED = 64, mmap.PAGESIZE  # bytes; each array begins at a multiple


class Message(NamedTuple):
    """A JSON object, and the arrays that it refers to by index. `shared`: where large arrays are."""

    body: dict[str, Any]
    arrays: list[Any]
    shared: Mapping | None = None
    offsets: tuple[int, ...] = ()

    def written(self, index: int) -> bool | None:
        """Whether this process has written to an array; None if that is not known."""
        return None if self.shared is None else self.shared.written(self.offsets[index], self.arrays[index].nbytes)


def write(stream: IO[bytes], body: dict[str, Any], arrays: Sequence[Any] = ()) -> Segment | None:
    """Write a message. Raises OSError, and ValueError or TypeError for a body that is not JSON.

    Large arrays are passed in shared memory. Then close the returned segment when the message has been read.
    """
    parts = [np.asarray(array, order="C") for array in arrays]
    shared = shares(sum(part.nbytes for part in parts))
    pieces = [piece for part in parts for piece in (_bytes(part), bytes(_padding(part.nbytes, shared=shared)))]
    size = sum(len(piece) for piece in pieces)
    segment = Segment(pieces) if shared else None
    try:
        described = [[part.dtype.str, list(part.shape)] for part in parts]
        text = json.dumps([body, described, segment.place if segment else None]).encode()
        stream.write(HEAD.pack(len(text), size) + text)
        for piece in pieces if segment is None else ():
            stream.write(piece)
        stream.flush()
    except BaseException:
        if segment is not None:
            segment.close()
        raise
    return segment


def read(stream: IO[bytes]) -> Message:
    """Read the next message. Raises EOFError at the end of the stream, ValueError for a message that is malformed."""
    text, size = HEAD.unpack(_exactly(stream, HEAD.size))
    if text > MAX_JSON or size > MAX_DATA:
        raise ValueError(f"a message of {text} + {size} bytes is too large")
    body, described, place = json.loads(_exactly(stream, text))
    types = [(np.dtype(code), shape) for code, shape in described]
    if any(type.kind not in KINDS for type, _ in types):
        raise ValueError("the arrays are not of numbers")
    sizes = [int(np.prod(shape, dtype=np.int64)) * type.itemsize for type, shape in types]
    places = [length + _padding(length, shared=place is not None) for length in sizes]
    if sum(places) != size or min(sizes, default=0) < 0:
        raise ValueError("the arrays have another size than the message says")
    shared = Mapping(place, size) if place is not None else None
    data = np.frombuffer(bytearray(_exactly(stream, size)), np.uint8) if shared is None else shared.data
    offsets = tuple(accumulate(places[:-1], initial=0))
    arrays = [
        data[first : first + length].view(type).reshape(shape)
        for first, length, (type, shape) in zip(
            offsets, sizes, types, strict=False
        )  # without arrays, one offset is left
    ]
    return Message(body, arrays, shared, offsets)


def _bytes(array: Any) -> Any:
    return array.reshape(-1).view(np.uint8).data if array.size else b""


def _padding(size: int, *, shared: bool) -> int:
    return -size % (ALIGNED_SHARED if shared else ALIGNED)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    found = stream.read(size)
    if len(found) < size:
        raise EOFError
    return found
