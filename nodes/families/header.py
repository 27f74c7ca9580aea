"""What a weights file says of itself: names, shapes and metadata, told by content and not by suffix."""

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError

MAX_HEADER = 16 * 2**20  # that of the largest files for Stable Diffusion has 2 MiB
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Header:
    """The names and shapes of a safetensors file's tensors, and its metadata."""

    path: Path
    shapes: Shapes
    metadata: Mapping[str, str]
    nbytes: int  # of the tensors
    dtypes: Mapping[str, str]  # by name, as safetensors calls them: "F16", "BF16", "F8_E4M3", ...

    def below(self, prefix: str) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors whose names begin with a prefix, which is cut off."""
        return {name.removeprefix(prefix): shape for name, shape in self.shapes.items() if name.startswith(prefix)}


def read_header(path: Path) -> Header:
    """The header of a safetensors file. Raises FileError for anything else, and for a file that ends early."""
    try:
        with path.open("rb") as file:
            start, size = file.read(8), path.stat().st_size
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > min(MAX_HEADER, size - 8):
                _refuse_pickle(path, start)  # only now: a length may begin with the bytes that a pickle begins with
                raise _foreign(path)
            text = file.read(length)
    except OSError as error:
        raise FileError(f"'{path.name}' cannot be read", got=error.strerror or str(error)) from None
    try:
        found = json.loads(text)
        metadata = {str(key): str(value) for key, value in found.pop("__metadata__", {}).items()}
        shapes = {name: tuple(map(_size, tensor["shape"])) for name, tensor in found.items()}
        dtypes = {name: str(tensor["dtype"]) for name, tensor in found.items()}
        end = max((_size(tensor["data_offsets"][1]) for tensor in found.values()), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        raise _foreign(path) from None
    _check_end(path, size, 8 + length + end)
    return Header(path, shapes, metadata, end, dtypes)


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
