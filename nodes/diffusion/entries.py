"""Entries: conditions that count somewhere in the picture and at some of the steps."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentloom.nodes.diffusion.prediction import Condition
from latentloom.nodes.diffusion.seamless import EDGES, Axes
from latentloom.nodes.diffusion.timeline import Moment
from latentloom.nodes.text.prompt_times import ALWAYS, Times

RAMP = 8  # cells over which an area fades where it does not end with the picture


@dataclass(frozen=True, slots=True)
class Area:
    """A part of a latent, in cells."""

    top: int
    left: int
    height: int
    width: int

    def of(self, x: Tensor) -> Tensor:
        """That part of [..., h, w], as a view."""
        return x[..., self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A condition, how much it counts, where and when.

    With an `area` the network sees that part of the picture alone. `mask` [1 or B, 1, h, w] is on the CPU. The entry
    counts while start <= step / total < end, and at the `times` that a prompt names. Along the axes `around` the
    picture has no edges.
    """

    condition: Condition
    strength: float = 1.0
    mask: Tensor | None = None
    area: Area | None = None
    start: float = 0.0
    end: float = 1.0
    times: Times = ALWAYS
    around: Axes = EDGES

    def active(self, moment: Moment) -> bool:
        """Whether it counts at a moment."""
        told = self.times.active(moment.step, moment.total)
        return told and self.strength > 0 and moment.within(self.start, self.end)

    @property
    def everywhere(self) -> bool:
        """Whether it counts the same in the whole picture."""
        return self.mask is None and self.area is None

    def weight(self, height: int, width: int) -> Tensor:
        """How much it counts in each cell, [1 or B, 1, h, w] on the CPU."""
        found = torch.full((1, 1, height, width), self.strength)
        if self.area is not None:
            inside = self.area.of(found) * _ramp(self.area, height, width, self.around)
            found = torch.zeros_like(found)
            self.area.of(found).copy_(inside)
        return found if self.mask is None else found * self.mask


def _ramp(area: Area, height: int, width: int, around: Axes) -> Tensor:
    """1 inside, less towards those edges of an area that are not edges of the picture."""
    down = _side(area.top, area.height, height, around=around.vertical)
    across = _side(area.left, area.width, width, around=around.horizontal)
    return down[:, None] * across[None, :]


def _side(start: int, length: int, whole: int, *, around: bool) -> Tensor:
    """The ramp along one side, no longer than a quarter of it."""
    fades_in, fades_out = start > 0, start + length < whole
    if around:
        fades_in = fades_out = length < whole
    place = torch.arange(length, dtype=torch.float32)
    size = max(1, min(RAMP, length // 4))
    rise = ((place + 1) / size).clamp(max=1) if fades_in else torch.ones(length)
    fall = ((length - place) / size).clamp(max=1) if fades_out else torch.ones(length)
    return rise * fall


def share(entries: Sequence[Entry], height: int, width: int) -> Tensor | None:
    """How much some entries count in each cell together, [1 or B, 1, h, w]; None if one alone counts everywhere.

    That one alone is then the answer, without any arithmetic on it.
    """
    if len(entries) == 1 and entries[0].everywhere:
        return None
    return sum((entry.weight(height, width) for entry in entries), torch.zeros(1, 1, height, width))
