"""Packed weights: bytes as they lie in a file, and what makes numbers of them when a layer is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ALIGNMENT = 64
CHUNK = {"cpu": 2**19}  # numbers that are decoded at once: a processor's cache holds them
WIDE_CHUNK = 2**24  # on other devices, where starting a computation costs more than memory


def aligned(nbytes: int) -> int:
    """Bytes up to where the next weight may begin."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


class Decoder(Protocol):
    """How the bytes of a weight become numbers; equal bytes give equal numbers, whichever rows are asked for."""

    def rows(self, parts: Sequence[Tensor], first: int, last: int) -> Tensor:
        """Rows `first` to `last` of a weight, float32 [last - first, columns], on the device of its parts."""

    def sliced(self, parts: Sequence[Tensor], first: int, last: int) -> tuple[Tensor, ...]:
        """The parts of those rows alone; views where parts go by rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A weight as bytes: parts (numbers, scales, ...), and what decodes them.

    A tensor with an attribute `packed` stands for it in a module, in the decoded weight's shape.
    """

    decoder: Decoder
    parts: tuple[Tensor, ...]
    shape: tuple[int, ...]
    """Of the decoded weight, [rows, ...]."""

    @property
    def sizes(self) -> list[int]:
        """Bytes of each part, aligned."""
        return [aligned(part.nbytes) for part in self.parts]

    @property
    def nbytes(self) -> int:
        """Bytes of the packed weight, aligned."""
        return sum(self.sizes)

    def decode(self, target: Tensor, parts: Sequence[Tensor] | None = None) -> None:
        """Write the numbers, rounded once from float32, into a tensor of the weight's shape, on the device of `parts`,
        which stand for its own.
        """
        found = self.parts if parts is None else parts
        count = max(1, CHUNK.get(target.device.type, WIDE_CHUNK) * self.shape[0] // max(1, target.numel()))
        for first in range(0, self.shape[0], count):
            place = target[first : first + count]
            place.copy_(self.decoder.rows(found, first, first + len(place)).view(place.shape))

    def decoded(self, dtype: torch.dtype) -> Tensor:
        """The numbers in memory of their own."""
        import torch

        made = torch.empty(self.shape, dtype=dtype, device=self.parts[0].device)
        self.decode(made)
        return made

    def rows(self, first: int, last: int) -> Self:
        """Some rows as a weight of its own, over the same bytes."""
        parts = self.decoder.sliced(self.parts, first, last)
        return replace(self, parts=parts, shape=(last - first, *self.shape[1:]))

    def reshaped(self, shape: tuple[int, ...]) -> Self:
        """The weight with the same rows in another shape."""
        return replace(self, shape=shape)
