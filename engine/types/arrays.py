"""Frozen float32 arrays: the content of pictures, latents and embeddings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    Floats = npt.NDArray[np.float32]


class Array:
    """A frozen float32 array that numpy and torch share without a copy.

    `numpy()` is read-only. `tensor()` returns a tensor over the same memory, which must not be modified. Python cannot
    enforce that, so untrusted code gets `lent()` arrays.
    """

    __slots__ = ("_data", "_source", "_span", "_tensor")

    def __init__(self, data: npt.ArrayLike | torch.Tensor) -> None:
        if hasattr(data, "detach"):
            data = data.detach().cpu().float().contiguous().numpy()
        array = np.ascontiguousarray(data, dtype=np.float32)
        self._data: Floats | None = array if array.flags.writeable else array.copy()
        self._source: Array | None = None
        self._tensor: torch.Tensor | None = None
        self._span: tuple[float, float] | None = None

    @classmethod
    def known(cls, data: Floats, span: tuple[float, float] | None) -> Array:
        """Return an array over memory that nobody else has, with its `span`, if that is known."""
        made = cls(data)
        made._span = span
        return made

    @property
    def known_span(self) -> tuple[float, float] | None:
        """The `span`, or None if it has not been computed."""
        return self._span

    def lent(self) -> Array:
        """Return a private copy of this array. Its memory is allocated on first access."""
        made = Array.__new__(Array)
        made._source, made._span = self, self._span
        made._data = made._tensor = None
        return made

    def sealed(self) -> Array:
        """Return the same numbers in unshared memory: a copy, or the source of a lent array, if it was not modified."""
        return self._source if self._source is not None else Array(self._memory().copy())

    def equals(self, other: Array) -> bool:
        """Whether both hold the same bits. A lent array that was never accessed is not compared with its source."""
        if self is other or (self._data is None and self._source is other):
            return True
        one, two = self._memory(), other._memory()
        return one.shape == two.shape and bool((one.view(np.uint32) == two.view(np.uint32)).all())

    def _memory(self) -> Floats:
        if self._data is None:
            assert self._source is not None
            self._data = self._source._memory().copy()
        return self._data

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each dimension."""
        found = self._source if self._data is None and self._source is not None else self
        return found._memory().shape

    @property
    def nbytes(self) -> int:
        """The size of the data in bytes."""
        return 4 * math.prod(self.shape)

    @property
    def span(self) -> tuple[float, float]:
        """The minimum and maximum; NaN if any number is NaN. The array must not be empty."""
        if self._span is None:
            self._span = float(self._memory().min()), float(self._memory().max())
        return self._span

    def numpy(self) -> Floats:
        """Return a read-only view."""
        view = self._memory().view()
        view.flags.writeable = False
        return view

    def tensor(self) -> torch.Tensor:
        """Return a torch tensor over the same memory. Do not modify it."""
        if self._tensor is None:
            import torch

            self._tensor = torch.from_numpy(self._memory())
        return self._tensor
