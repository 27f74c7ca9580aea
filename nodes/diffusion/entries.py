"""Entries: conditions with a strength, a region of the picture and a range of steps."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentloom.nodes.diffusion.prediction import Condition
from latentloom.nodes.diffusion.seamless import EDGES, Axes
from latentloom.nodes.diffusion.timeline import Moment
from latentloom.nodes.text.prompt_times import ALWAYS, Times

RAMP = 8  # cells over which an area fades at an edge inside the picture


@dataclass(frozen=True, slots=True)
class Area:
    """A part of a latent, in cells."""

    top: int
    left: int
    height: int
    width: int

    def of(self, x: Tensor) -> Tensor:
        """Return this part of [..., h, w], as a view."""
        return x[..., self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A condition with its weight, its region and its range of steps.

    With an `area` the network sees only that part of the picture. `mask` [1 or B, 1, h, w] is on the CPU. The entry is
    active while start <= step / total < end, at the `times` given in the prompt. Along the axes `around` the picture
    wraps around and has no edges.
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
        """Whether the entry has an effect at a moment."""
        told = self.times.active(moment.step, moment.total)
        return told and self.strength > 0 and moment.within(self.start, self.end)

    @property
    def everywhere(self) -> bool:
        """Whether the weight is the same in the whole picture."""
        return self.mask is None and self.area is None

    def weight(self, height: int, width: int) -> Tensor:
        """Return the weight of each cell, [1 or B, 1, h, w] on the CPU."""
        found = torch.full((1, 1, height, width), self.strength)
        if self.area is not None:
            inside = self.area.of(found) * _ramp(self.area, height, width, self.around)
            found = torch.zeros_like(found)
            self.area.of(found).copy_(inside)
        return found if self.mask is None else found * self.mask


def _ramp(area: Area, height: int, width: int, around: Axes) -> Tensor:
    """The weights inside an area: 1, decreasing towards edges of the area that are not edges of the picture."""
    down = _side(area.top, area.height, height, around=around.vertical)
    across = _side(area.left, area.width, width, around=around.horizontal)
    return down[:, None] * across[None, :]


def _side(start: int, length: int, whole: int, *, around: bool) -> Tensor:
    """The weights along one side. A ramp is at most a quarter of the side long."""
    fades_in, fades_out = start > 0, start + length < whole
    if around:
        fades_in = fades_out = length < whole
    place = torch.arange(length, dtype=torch.float32)
    size = max(1, min(RAMP, length // 4))
    rise = ((place + 1) / size).clamp(max=1) if fades_in else torch.ones(length)
    fall = ((length - place) / size).clamp(max=1) if fades_out else torch.ones(length)
    return rise * fall


def share(entries: Sequence[Entry], height: int, width: int) -> Tensor | None:
    """Return the sum of the entries' weights in each cell, [1 or B, 1, h, w].

    Returns None for a single entry that covers the whole picture: its prediction is then used unchanged.
    """
    if len(entries) == 1 and entries[0].everywhere:
        return None
    return sum((entry.weight(height, width) for entry in entries), torch.zeros(1, 1, height, width))
