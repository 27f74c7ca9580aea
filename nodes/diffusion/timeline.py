"""Finds the step of a run to which a call of the denoiser belongs."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Moment:
    """The sigma and the step of a call; steps are counted from 0, `total` is their number."""

    sigma: float
    step: int = 0
    total: int = 1

    def within(self, start: float, end: float) -> bool:
        """Whether start * total <= step < end * total; an `end` of 1 includes the last step."""
        return start * self.total - _TOLERANCE <= self.step and (end >= 1 or self.step < end * self.total - _TOLERANCE)


class Timeline:
    """The steps of a run by sigma: a call between two sigmas belongs to the step that starts at the higher one."""

    def __init__(
        self,
        sigmas: Sequence[float],
        first: int = 0,
        total: int | None = None,
        ends: tuple[float, float] | None = None,
    ) -> None:
        """`sigmas` descend. For a part of a longer run, `first`, `total` and `ends` describe the whole run.

        They are the number of the part's first step, the number of steps, and the first and last sigma.
        """
        self._negated = [-sigma for sigma in sigmas]
        self._first = first
        self._total = max(1, len(sigmas) - 1) if total is None else total
        self.ends = ends or ((sigmas[0], sigmas[-1]) if sigmas else (0.0, 0.0))

    def at(self, sigma: float) -> Moment:
        """Return the moment of a call."""
        if not self._negated:
            return Moment(sigma)
        index = bisect_left(self._negated, -sigma * (1 + _TOLERANCE))
        if index == len(self._negated) or -self._negated[index] < sigma * (1 - _TOLERANCE):
            index -= 1
        last = max(0, len(self._negated) - 2)
        return Moment(sigma, self._first + min(max(index, 0), last), self._total)
