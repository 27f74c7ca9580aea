"""Packed (quantised) weights: the bytes of a file, and a decoder that converts them when a layer is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ALIGNMENT = 64
CHUNK = {"cpu": 2**19}  # numbers that are decoded at once: they fit in a CPU's cache
WIDE_CHUNK = 2**24  # on other devices, where a kernel launch is expensive


def aligned(nbytes: int) -> int:
    """Round bytes up to the alignment of the next weight."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


class Decoder(Protocol):
    """Converts the bytes of a weight to numbers. Equal bytes give equal numbers, whichever rows are decoded."""

    def rows(self, parts: Sequence[Tensor], first: int, last: int, dtype: torch.dtype) -> Tensor:
        """Decode rows `first` to `last` (exclusive) to [last - first, columns], on the device of the parts.

        The result is float32, or `dtype` if the decoder rounds to it directly; each number is rounded as from float32.
        """

    def sliced(self, parts: Sequence[Tensor], first: int, last: int) -> tuple[Tensor, ...]:
        """Return the parts of these rows only. A part with one entry per row is returned as a view."""


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A packed weight: its parts (numbers, scales, ...) and their decoder.

    In a module, a tensor with the attribute `packed` and the shape of the decoded weight stands for it.
    """

    decoder: Decoder
    parts: tuple[Tensor, ...]
    shape: tuple[int, ...]
    """The shape of the decoded weight, [rows, ...]."""

    @property
    def sizes(self) -> list[int]:
        """The aligned bytes of each part."""
        return [aligned(part.nbytes) for part in self.parts]

    @property
    def nbytes(self) -> int:
        """The aligned bytes of the packed weight."""
        return sum(self.sizes)

    def decode(self, target: Tensor, parts: Sequence[Tensor] | None = None) -> None:
        """Decode the weight into `target`, a tensor of its shape. Numbers are rounded once, from float32.

        `parts` replace the weight's own parts, for instance copies on another device. `target` is on their device.
        """
        found = self.parts if parts is None else parts
        count = max(1, CHUNK.get(target.device.type, WIDE_CHUNK) * self.shape[0] // max(1, target.numel()))
        for first in range(0, self.shape[0], count):
            place = target[first : first + count]
            place.copy_(self.decoder.rows(found, first, first + len(place), target.dtype).view(place.shape))

    def decoded(self, dtype: torch.dtype) -> Tensor:
        """Return the decoded weight in new memory."""
        import torch

        made = torch.empty(self.shape, dtype=dtype, device=self.parts[0].device)
        self.decode(made)
        return made

    def rows(self, first: int, last: int) -> Self:
        """Return some rows as a packed weight over the same bytes."""
        parts = self.decoder.sliced(self.parts, first, last)
        return replace(self, parts=parts, shape=(last - first, *self.shape[1:]))

    def reshaped(self, shape: tuple[int, ...]) -> Self:
        """Return the weight with the same rows in another shape."""
        return replace(self, shape=shape)
