"""What a weights file says of itself: names, shapes and metadata, told by content and not by suffix."""

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from latentloom.engine.errors import FileError
from latentloom.nodes.families.packing.gguf_file import MAGIC, GgufHeader, read_gguf
from latentloom.nodes.families.packing.gguf_types import BLOCKS
from latentloom.nodes.families.packing.layout import Layout, Packing, find_layout

MAX_HEADER = 16 * 2**20  # that of the largest files for Stable Diffusion has 2 MiB
MAX_NOTE = 2**16  # bytes of JSON beside a packed weight
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Header:
    """The names and shapes of a file's weights, as they are when they are decoded, and its metadata."""

    path: Path
    shapes: Shapes  # of all tensors but those that stand beside packed weights, such as scales
    metadata: Mapping[str, str]
    nbytes: int  # of the tensors
    dtypes: Mapping[str, str]  # by name, as safetensors calls them: "F16", "BF16", "F8_E4M3", ...
    layout: Layout

    def below(self, prefix: str) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors whose names begin with a prefix, which is cut off."""
        return {name.removeprefix(prefix): shape for name, shape in self.shapes.items() if name.startswith(prefix)}


def read_header(path: Path) -> Header:
    """The header of a safetensors or GGUF file.

    Raises FileError for anything else, for a file that ends early, and for weights packed in a way that is not read.
    """
    try:
        facts = path.stat()
        return _read(path, facts.st_size, (facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino))
    except OSError as error:
        raise FileError(f"'{path.name}' cannot be read", got=error.strerror or str(error)) from None


@lru_cache(maxsize=8)  # every kind of model looks at a file's header in turn
def _read(path: Path, size: int, _stamp: tuple[int, ...]) -> Header:
    with path.open("rb") as file:
        start = file.read(8)
        if start.startswith(MAGIC):
            return _gguf(path, read_gguf(path))
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(MAX_HEADER, size - 8):
            _refuse_pickle(path, start)  # only now: a length may begin with the bytes that a pickle begins with
            raise _foreign(path)
        return _parsed(path, size, file.read(length), file)


def _gguf(path: Path, found: GgufHeader) -> Header:
    """A GGUF file's header as that of a safetensors file."""
    _check_end(path, found.size, found.end)
    tensors = found.tensors
    packings = {
        name: Packing(f"GGUF {tensor.format}", tensor.format)
        for name, tensor in tensors.items()
        if tensor.format in BLOCKS
    }
    return Header(
        path,
        {name: tensor.shape for name, tensor in tensors.items()},
        found.metadata,
        sum(tensor.nbytes for tensor in tensors.values()),
        {name: tensor.format for name, tensor in tensors.items()},
        Layout(packings, frozenset()),
    )


def _parsed(path: Path, size: int, text: bytes, file: BinaryIO) -> Header:
    try:
        found = json.loads(text)
        metadata = {str(key): str(value) for key, value in found.pop("__metadata__", {}).items()}
        shapes = {name: tuple(map(_size, tensor["shape"])) for name, tensor in found.items()}
        dtypes = {name: str(tensor["dtype"]) for name, tensor in found.items()}
        spans = {name: tuple(map(_size, tensor["data_offsets"])) for name, tensor in found.items()}
        end = max((last for _, last in spans.values()), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        raise _foreign(path) from None
    _check_end(path, size, 8 + len(text) + end)

    def read(name: str) -> bytes:
        first, last = spans[name]
        file.seek(8 + len(text) + first)
        return file.read(min(last - first, MAX_NOTE))

    layout = find_layout(path.name, shapes, dtypes, metadata, read)
    weights = {name: shape for name, shape in shapes.items() if name not in layout.beside}
    return Header(path, weights, metadata, end, dtypes, layout)


def _size(number: Any) -> int:
    """A length as it stands in a header. Raises TypeError for anything else."""
    if type(number) is not int or number < 0:
        raise TypeError
    return number


def _refuse_pickle(path: Path, start: bytes) -> None:
    """Refuse what torch.save writes: a zip file or a bare pickle. Reading either runs code that the file names."""
    if start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05" and start[1:2]):
        raise FileError(
            f"'{path.name}' is a pickle: opening one can run any code that its author put in",
            expected="safetensors",
            got="a file that torch.save wrote",
            hint="look for a .safetensors file of the same model, or convert this one where you trust it: "
            "torch.load(file, weights_only=True), then safetensors.torch.save_file",
        )


def _foreign(path: Path) -> FileError:
    return FileError(f"'{path.name}' is no safetensors file", expected="safetensors", got="another kind of file")


def _check_end(path: Path, size: int, needed: int) -> None:
    if size < needed:
        raise FileError(
            f"'{path.name}' ends early",
            expected=f"{needed} bytes",
            got=f"{size} bytes",
            hint="the download or copy was cut off: get it again",
        )


def counted(names: Iterable[str], pattern: str) -> int:
    """How many numbers n from 0 on have a name that begins with the pattern's text, "{}" standing for n."""
    before, _, after = pattern.partition("{}")
    rests = (name.removeprefix(before).partition(after) for name in names if name.startswith(before))
    numbers = {number for number, found, _ in rests if found}
    return next(n for n in itertools.count() if str(n) not in numbers)
