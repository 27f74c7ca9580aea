"""Headers of weight files: names, shapes and metadata. The format is detected by content, not by suffix."""

import itertools
import json
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from latentloom.engine.errors import FileError
from latentloom.nodes.families.network_titles import network_title
from latentloom.nodes.families.packing.gguf_file import MAGIC, GgufHeader, read_gguf
from latentloom.nodes.families.packing.gguf_types import BLOCKS
from latentloom.nodes.families.packing.layout import TITLES, Layout, Packing, find_layout

MAX_HEADER = 16 * 2**20  # bytes; the largest files for Stable Diffusion have 2 MiB
MOST_KINDS = 3  # of weights in a file that are shown to people
MAX_NOTE = 2**16  # bytes of the JSON note of a packed weight
_NUMBER = re.compile("0|[1-9][0-9]{0,5}")  # of a layer
Shapes = Mapping[str, tuple[int, ...]]


class ShapeTable(dict[str, tuple[int, ...]]):
    """Shapes by name. The shapes below a prefix are cached, because every model kind looks up the same prefixes."""

    def __init__(self, shapes: Shapes) -> None:
        super().__init__(shapes)
        self._names: list[str] = []
        self._below: dict[str, Shapes] = {}

    def below(self, prefix: str) -> Shapes:
        """Return the shapes whose names begin with a prefix; the prefix is removed."""
        if not prefix:
            return self
        if prefix not in self._below:
            self._names = self._names or sorted(self)
            start = bisect_left(self._names, prefix)
            names = itertools.takewhile(lambda name: name.startswith(prefix), self._names[start:])
            chosen = set(names)
            self._below[prefix] = ShapeTable(
                {name.removeprefix(prefix): shape for name, shape in self.items() if name in chosen} if chosen else {}
            )
        return self._below[prefix]


def below(shapes: Shapes, prefix: str) -> Shapes:
    """Return the shapes whose names begin with a prefix; the prefix is removed."""
    return (shapes if isinstance(shapes, ShapeTable) else ShapeTable(shapes)).below(prefix)


@dataclass(frozen=True, slots=True)
class Header:
    """The names and the decoded shapes of a file's weights, and its metadata."""

    path: Path
    shapes: Shapes  # of all tensors except companions of packed weights, such as scales
    metadata: Mapping[str, str]
    nbytes: int  # of the tensors
    dtypes: Mapping[str, str]  # by name, as safetensors calls them: "F16", "BF16", "F8_E4M3", ...
    layout: Layout
    title: str = ""  # of the network; see `network_title`

    def below(self, prefix: str) -> Shapes:
        """Return the shapes whose names begin with a prefix; the prefix is removed."""
        return below(self.shapes, prefix)


def read_header(path: Path) -> Header:
    """Read the header of a safetensors or GGUF file.

    Raises FileError for other files, for a truncated file, and for an unsupported packing format.
    """
    try:
        facts = path.stat()
        return _read(path, facts.st_size, (facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino))
    except OSError as error:
        raise FileError(f"'{path.name}' cannot be read", got=error.strerror or str(error)) from None


@lru_cache(maxsize=8)  # every model kind reads a file's header in turn
def _read(path: Path, size: int, _stamp: tuple[int, ...]) -> Header:
    with path.open("rb") as file:
        start = file.read(8)
        if start.startswith(MAGIC):
            return _gguf(path, read_gguf(path))
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(MAX_HEADER, size - 8):
            _refuse_pickle(path, start)  # only here: the length may begin with the same bytes as a pickle
            raise _foreign(path, "an empty file" if not start else "a different kind of file")
        return _parsed(path, size, file.read(length), file)


def _gguf(path: Path, found: GgufHeader) -> Header:
    """Convert the header of a GGUF file."""
    _check_end(path, found.size, found.end)
    tensors = found.tensors
    packings = {
        name: Packing(f"GGUF {tensor.format}", tensor.format)
        for name, tensor in tensors.items()
        if tensor.format in BLOCKS
    }
    return Header(
        path,
        ShapeTable({name: tensor.shape for name, tensor in tensors.items()}),
        found.metadata,
        sum(tensor.nbytes for tensor in tensors.values()),
        {name: tensor.format for name, tensor in tensors.items()},
        Layout(packings, frozenset()),
        network_title(tensors),
    )


def _parsed(path: Path, size: int, text: bytes, file: BinaryIO) -> Header:
    shapes, dtypes, spans = dict[str, tuple[int, ...]](), dict[str, str](), dict[str, tuple[int, int]]()
    try:
        found = json.loads(text)
        metadata = {str(key): str(value) for key, value in found.pop("__metadata__", {}).items()}
        for name, tensor in found.items():
            shapes[name] = tuple(tensor["shape"])
            dtypes[name] = str(tensor["dtype"])
            spans[name] = tuple(tensor["data_offsets"])
        _check_sizes(shapes.values())
        _check_sizes(spans.values())
        end = max((last for _, last in spans.values()), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        raise _foreign(path) from None
    _check_end(path, size, 8 + len(text) + end)

    def read(name: str) -> bytes:
        first, last = spans[name]
        file.seek(8 + len(text) + first)
        return file.read(min(last - first, MAX_NOTE))

    title = network_title(shapes)
    layout = find_layout(f"'{path.name}'{title and f' ({title})'}", shapes, dtypes, metadata, read)
    weights = ShapeTable({name: shape for name, shape in shapes.items() if name not in layout.beside})
    return Header(path, weights, metadata, end, dtypes, layout, title)


def weights_facts(header: Header) -> dict[str, str]:
    """Return a file's weight formats for people, e.g. {"weights": "fp8 e4m3fn scaled, bf16"}, most frequent first."""
    packings, kinds = header.layout.packings, Counter[str]()
    for name, shape in header.shapes.items():
        if len(shape) > 1:
            kinds[packings[name].title if name in packings else TITLES.get(header.dtypes[name], "")] += 1
    return {"weights": ", ".join(kind for kind, _ in kinds.most_common(MOST_KINDS) if kind)}


def _check_sizes(groups: Iterable[tuple[Any, ...]]) -> None:
    """Raise TypeError for a value that is not a valid length in a header."""
    numbers = list(itertools.chain.from_iterable(groups))
    if not set(map(type, numbers)) <= {int} or min(numbers, default=0) < 0:
        raise TypeError


def _refuse_pickle(path: Path, start: bytes) -> None:
    """Raise FileError for files of torch.save, a zip file or a bare pickle: reading them can execute code."""
    if start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05" and start[1:2]):
        raise FileError(
            f"'{path.name}' is a pickle, which can run arbitrary code when it is opened",
            expected="safetensors",
            got="a file that torch.save wrote",
            hint="look for a .safetensors file of the same model, or, if you trust this one, convert it: "
            "torch.load(file, weights_only=True), then safetensors.torch.save_file",
        )


def _foreign(path: Path, got: str = "a different kind of file") -> FileError:
    return FileError(f"'{path.name}' is not a safetensors file", expected="safetensors or GGUF", got=got)


def _check_end(path: Path, size: int, needed: int) -> None:
    if size < needed:
        raise FileError(
            f"'{path.name}' ends early",
            expected=f"{needed} bytes",
            got=f"{size} bytes",
            hint="the download or copy is incomplete: download it again",
        )


def counted(names: Iterable[str], pattern: str) -> int:
    """Return how many layers a file means to have: the highest n of names that begin with the pattern, plus 1.

    The number in a name is in the place of "{}". A file that lacks a layer in between thus lacks weights. Damaged
    numbers are bounded: the result is at most twice the number of layers that are there.
    """
    before, _, after = pattern.partition("{}")
    rests = (name.removeprefix(before).partition(after) for name in names if name.startswith(before))
    numbers = {int(number) for number, found, _ in rests if found and _NUMBER.fullmatch(number)}
    return min(max(numbers, default=-1) + 1, 2 * len(numbers))
