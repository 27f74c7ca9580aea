"""Plots curves, with round ticks on the axes, a legend at the side and a dot at every point."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from latentloom.nodes.drawing.sheet import GREY, RULE, Point, Sheet, text_width

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

Scale = Literal["log", "linear"]

# Okabe and Ito's colours, which colour-blind people can distinguish; yellow and black adapted, and two more.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#24292f", "#8c564b", "#a0a30d", "#7b4fb5")
LEFT, TOP, BOTTOM, GAP = 58, 44, 46, 24


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps numbers between `low` and `high` to pixels between `start` and `end`."""

    low: float
    high: float
    start: float
    end: float
    scale: Scale = "linear"
    whole: bool = True
    """Whether ticks are whole numbers."""

    def pixel(self, value: float) -> float:
        """Return the pixel position of a value."""
        place, low, high = (self._even(number) for number in (value, self.low, self.high))
        return self.start + (self.end - self.start) * (place - low) / (high - low)

    def ticks(self) -> list[float]:
        """Return round numbers on the axis: 1, 2 and 5 times powers of ten, evenly spaced on a linear scale."""
        if self.scale == "log":
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [round(digit * 10.0**decade, 12) for decade in decades for digit in (1, 2, 5)]
        else:
            step = _round_step((self.high - self.low) / 8, least=1 if self.whole else 0)
            found = [round(n * step, 12) for n in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [tick for tick in found if self.low <= tick <= self.high]

    def _even(self, value: float) -> float:
        return math.log(value) if self.scale == "log" else value


def _round_step(wanted: float, least: float) -> float:
    """The smallest of 1, 2, 5, 10, ... and their tenths, hundredths, ... that is at least `wanted` and `least`."""
    wanted = max(wanted, least)
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= wanted)


def plot(
    curves: Mapping[str, Sequence[float]], size: tuple[int, int], scale: Scale, *, title: str, x: str, y: str
) -> "Floats":
    """Plot curves by name to [1, H, W, 3] pixels; each number is drawn against its index.

    A log scale omits numbers that are not positive; at least one must be positive. `x` and `y` name the axes.
    """
    shown = {name: _points(numbers, scale) for name, numbers in curves.items()}
    across, up = _axes(shown, size, scale)
    sheet = Sheet(*size)
    _frame(sheet, across, up)
    sheet.text((LEFT, 18), title, 15)
    sheet.text((LEFT, TOP - 9), y, 12, GREY)
    sheet.text((across.end, size[1] - 12), x, 12, GREY, "right")
    places = {name: [(across.pixel(n), up.pixel(number)) for n, number in found] for name, found in shown.items()}
    for n, (name, points) in enumerate(places.items()):
        broad = _hidden(points, list(places.values())[n + 1 :])
        _curve(sheet, points, COLOURS[n % len(COLOURS)], broad=broad)
        _key(sheet, (across.end + GAP, TOP + 10 + 24 * n), name, COLOURS[n % len(COLOURS)], broad=broad)
    return sheet.pixels()


def _hidden(points: Sequence[Point], later: Sequence[Sequence[Point]]) -> bool:
    """Whether a later curve covers this one. A covered curve is drawn broader, to be visible under the other."""
    return any(
        len(points) == len(other) and all(math.dist(a, b) < 2 for a, b in zip(points, other, strict=True))
        for other in later
    )


def _points(numbers: Sequence[float], scale: Scale) -> list[Point]:
    return [(float(n), number) for n, number in enumerate(numbers) if scale == "linear" or number > 0]


def _axes(shown: Mapping[str, Sequence[Point]], size: tuple[int, int], scale: Scale) -> tuple[Axis, Axis]:
    steps, numbers = zip(*(point for points in shown.values() for point in points), strict=True)
    legend = GAP + 34 + max(text_width(name) for name in shown)
    low, high = (min(numbers) / 1.25, max(numbers) * 1.25) if scale == "log" else (0, max(max(numbers), 1e-9) * 1.05)
    across = Axis(0, max(1, *steps), LEFT, size[0] - legend - 10)
    return across, Axis(low, high, size[1] - BOTTOM, TOP, scale, whole=high > 8)


def _frame(sheet: Sheet, across: Axis, up: Axis) -> None:
    for tick in up.ticks():
        sheet.line([(across.start, up.pixel(tick)), (across.end, up.pixel(tick))], RULE)
        sheet.text((across.start - 8, up.pixel(tick)), f"{tick:g}", 12, GREY, "right")
    for tick in across.ticks():
        sheet.line([(across.pixel(tick), up.start), (across.pixel(tick), up.start + 4)], GREY)
        sheet.text((across.pixel(tick), up.start + 14), f"{tick:g}", 12, GREY, "middle")
    sheet.line([(across.start, up.start), (across.end, up.start)], GREY)


def _curve(sheet: Sheet, points: Sequence[Point], colour: str, *, broad: bool) -> None:
    sheet.line(points, colour, 5 if broad else 1.75)
    for point in points:
        sheet.dot(point, 4.5 if broad else 2.75, colour)


def _key(sheet: Sheet, at: Point, name: str, colour: str, *, broad: bool) -> None:
    x, y = at
    _curve(sheet, [(x, y), (x + 22, y)], colour, broad=broad)
    sheet.text((x + 32, y), name)
