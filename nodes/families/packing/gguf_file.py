"""GGUF files: reads the tensor table of the header (ggml/docs/gguf.md, versions 2 and 3, little-endian; MIT).

The package `gguf` needs a third of a second for a header with a thousand tensors, which is too slow for a model list
with hundreds of headers. Nothing else of that package is needed.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from latentloom.engine.errors import FileError
from latentloom.nodes.families.packing.gguf_names import model_names, paired_heads
from latentloom.nodes.families.packing.gguf_types import BLOCKS, PLAIN, TYPES, nbytes_of
from latentloom.nodes.families.packing.layout import unread

MAGIC = b"GGUF"
MAX_TEXT, MAX_COUNT, MAX_RANK = 2**26, 2**24, 8  # of a text, of entries, of axes: a file with more is damaged
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_TEXT, _ARRAY = 8, 9
_SHAPE = "comfy.gguf.orig_shape."  # prefix of a tensor's name: its shape before it was flattened


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """A tensor of a file."""

    format: str
    shape: tuple[int, ...]
    start: int  # offset of its bytes in the file
    nbytes: int
    paired: int = 0  # heads, if the rows of each are in llama.cpp's order; see `paired_heads`


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """The tensors of a file, by the names that modules use, and its metadata."""

    tensors: Mapping[str, GgufTensor]
    metadata: Mapping[str, str]
    size: int

    @property
    def end(self) -> int:
        """The end of the last tensor, in bytes."""
        return max((tensor.start + tensor.nbytes for tensor in self.tensors.values()), default=0)


def is_gguf(path: Path) -> bool:
    """Whether a file starts like a GGUF file. Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_gguf(path: Path) -> GgufHeader:
    """Read the header of a GGUF file. Raises FileError if it is damaged or a tensor has an unsupported type."""
    facts = path.stat()
    return _read(path, facts.st_size, (facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino))


@lru_cache(maxsize=8)
def _read(path: Path, size: int, _stamp: tuple[int, ...]) -> GgufHeader:
    with path.open("rb") as file:
        try:
            return _parsed(path.name, _Reader(file), size)
        except (struct.error, ValueError, OverflowError):
            raise FileError(f"'{path.name}' is a damaged GGUF file", got="a header that cannot be read") from None


def read_metadata(path: Path, prefix: str) -> dict[str, Any]:
    """Read the metadata of a GGUF file whose keys start with a prefix, arrays included; the keys are without it.

    Raises FileError if the file is damaged.
    """
    with path.open("rb") as file:
        reader = _Reader(file)
        try:
            _check_version(path.name, reader)
            _, pairs = reader.count(), reader.count()
            found = {}
            for _ in range(pairs):
                key, kind = reader.text(), reader.number("<I")
                wanted = key.startswith(prefix)
                value = reader.array() if wanted and kind == _ARRAY else reader.value(kind)
                found |= {key.removeprefix(prefix): value} if wanted else {}
            return found
        except (struct.error, ValueError, OverflowError):
            raise FileError(f"'{path.name}' is a damaged GGUF file", got="metadata that cannot be read") from None


class _Reader:
    """Reads numbers and texts of a file in sequence. Raises struct.error at the end of the file."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.file.read(struct.calcsize(form)))[0]

    def count(self, most: int = MAX_COUNT) -> int:
        found: int = self.number("<Q")
        if found > most:
            raise ValueError
        return found

    def text(self) -> str:
        length = self.count(MAX_TEXT)
        found = self.file.read(length)
        if len(found) < length:
            raise ValueError
        return found.decode(errors="replace")

    def array(self) -> list[Any]:
        """Read an array of texts or numbers."""
        inner, count = self.number("<I"), self.count()
        if inner == _TEXT:
            return [self.text() for _ in range(count)]
        form = _scalar(inner)
        return list(struct.unpack(f"<{count}{form[1]}", self.file.read(struct.calcsize(form) * count)))

    def value(self, kind: int) -> Any:
        """Read a value; long arrays are skipped and returned as None."""
        if kind == _TEXT:
            return self.text()
        if kind != _ARRAY:
            return self.number(_scalar(kind))
        inner, count = self.number("<I"), self.count()
        if count <= MAX_RANK and inner in _SCALARS:
            return [self.number(_scalar(inner)) for _ in range(count)]
        if inner == _TEXT:
            for _ in range(count):
                self.text()
        else:
            self.file.seek(struct.calcsize(_scalar(inner)) * count, 1)
        return None


def _scalar(kind: int) -> str:
    if kind not in _SCALARS:
        raise ValueError
    return _SCALARS[kind]


def _check_version(where: str, reader: _Reader) -> None:
    """Read the start of a file. Raises FileError for a version that is not read, and for big-endian numbers."""
    if reader.file.read(4) != MAGIC:
        raise ValueError
    version = reader.number("<I")
    if version not in (2, 3):
        got = "big-endian numbers" if version >> 24 and not version & 0xFFFF else f"version {version}"
        raise FileError(f"'{where}' is a GGUF file of another kind", expected="version 2 or 3, little-endian", got=got)


def _parsed(where: str, reader: _Reader, size: int) -> GgufHeader:
    _check_version(where, reader)
    count, pairs = reader.count(), reader.count()
    said = {reader.text(): reader.value(reader.number("<I")) for _ in range(pairs)}
    infos = [_info(reader) for _ in range(count)]
    alignment = said.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError
    first = -(-reader.file.tell() // alignment) * alignment
    names = model_names([name for name, *_ in infos])
    paired = paired_heads(names.values(), said)
    tensors = {
        names[name]: replace(_tensor(where, name, shape, kind, first + offset, said), paired=paired.get(names[name], 0))
        for name, shape, kind, offset in infos
    }
    if any(len(tensor.shape) != 2 or tensor.shape[0] % (2 * tensor.paired) for tensor in _paired(tensors)):
        raise ValueError
    metadata = {key: str(value) for key, value in said.items() if isinstance(value, str | int | float)}
    return GgufHeader(tensors, metadata, size)


def _paired(tensors: Mapping[str, GgufTensor]) -> list[GgufTensor]:
    return [tensor for tensor in tensors.values() if tensor.paired]


def _info(reader: _Reader) -> tuple[str, tuple[int, ...], int, int]:
    """Read a tensor's name, shape [rows, ...], type and offset."""
    name, rank = reader.text(), reader.number("<I")
    if rank > MAX_RANK:
        raise ValueError
    shape = tuple(reader.count(2**40) for _ in range(rank))[::-1]
    return name, shape, reader.number("<I"), reader.number("<Q")


def _tensor(
    where: str, name: str, shape: tuple[int, ...], kind: int, start: int, said: Mapping[str, Any]
) -> GgufTensor:
    format = TYPES.get(kind, f"type {kind}")
    if format not in BLOCKS and format not in PLAIN:
        raise unread(f"'{where}'", f"GGUF {format}", name)
    nbytes = nbytes_of(format, shape)
    flattened = said.get(_SHAPE + name)
    whole = tuple(flattened) if isinstance(flattened, list) else shape
    if nbytes is None or prod(whole) != prod(shape):
        raise ValueError
    if format in BLOCKS and (len(whole) < 2 or prod(whole[1:]) % BLOCKS[format].numbers):
        raise unread(f"'{where}'", f"GGUF {format} in rows that are not a whole number of blocks", name)
    return GgufTensor(format, whole, start, nbytes)
