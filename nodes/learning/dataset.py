"""The value on DATASET edges: pictures with captions, all in memory, ready to be learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from latentloom.engine.errors import BadValueError

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]

MAX_BYTES = 4 * 2**30
"""Of all pictures of a data set."""


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One picture, uint8 [H, W, 3], with its caption. It is shown `repeats` times in a pass over the data set."""

    pixels: Bytes
    caption: str
    repeats: int = 1


class Dataset:
    """Pictures with captions. The pictures may have different sizes."""

    kind: ClassVar[str] = "DATASET"
    __slots__ = ("items",)

    def __init__(self, items: Sequence[Item]) -> None:
        """Raises BadValueError if there are no pictures, or if they are too many for the memory."""
        if not items:
            raise BadValueError("the data set has no pictures", expected="at least one", got="none")
        check_bytes(len(items), sum(item.pixels.nbytes for item in items))
        self.items = tuple(replace(item, pixels=_frozen(item.pixels)) for item in items)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of pictures, and the height and width of the largest, for estimates of memory."""
        sides = np.array([item.pixels.shape[:2] for item in self.items]).max(axis=0)
        return len(self.items), int(sides[0]), int(sides[1])


class DatasetCodec:
    """Stores a data set as its captions and one array per picture."""

    def split(self, value: Dataset) -> tuple[Any, list[Bytes]]:
        """See `Codec.split`."""
        meta = [[item.caption, item.repeats] for item in value.items]
        return meta, [item.pixels for item in value.items]

    def join(self, meta: Any, arrays: Sequence[Bytes]) -> Dataset:
        """See `Codec.join`."""
        return Dataset([Item(pixels, *said) for pixels, said in zip(arrays, meta, strict=True)])

    def essence(self, value: Dataset) -> Any:
        """See `Codec.essence`."""
        return self.split(value)[0]


def check_bytes(count: int, nbytes: int) -> None:
    """Raise BadValueError if pictures need more memory than a data set may."""
    if nbytes > MAX_BYTES:
        raise BadValueError(
            f"{count} pictures are too many for the memory at this size",
            expected=f"at most {MAX_BYTES / 2**30:.0f} GiB",
            got=f"{nbytes / 2**30:.1f} GiB",
            hint="use a smaller size, or fewer pictures",
        )


def _frozen(pixels: Bytes) -> Bytes:
    if pixels.flags.writeable or not pixels.flags.c_contiguous:
        pixels = np.array(pixels, dtype=np.uint8, order="C")
        pixels.flags.writeable = False
    return pixels
