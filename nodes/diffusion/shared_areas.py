"""Areas of conditionings before a run: shares of the picture become pixels, and both conditionings share areas.

With a shared area both conditionings get an entry for it, so that guidance compares predictions of the same view.
"""

from dataclasses import replace
from typing import Any

from latentloom.engine.types.values import Cond, Conditioning

_WHEN = ("area", "strength", "start", "end", "times")  # an entry's region, weight and range of steps


def in_pixels(conditioning: Conditioning, width: int, height: int, step: int) -> Conditioning:
    """Return a conditioning whose areas are in pixels, for a picture of width x height with cells of `step` pixels."""
    return Conditioning([_placed(entry, width // step, height // step, step) for entry in conditioning.entries])


def _placed(entry: Cond, wide: int, high: int, step: int) -> Cond:
    """Round shares to whole cells; a side has at least one."""
    area = entry.extra.get("area", {})
    if "share" not in area:
        return entry
    x, y, width, height = area["share"]
    left, top = min(round(x * wide), wide - 1), min(round(y * high), high - 1)
    cells = {"x": left, "y": top, "width": max(1, round(width * wide)), "height": max(1, round(height * high))}
    more = {name: value for name, value in area.items() if name != "share"}
    return replace(entry, extra={**entry.extra, "area": {name: n * step for name, n in cells.items()} | more})


def shared_areas(positive: Conditioning, negative: Conditioning) -> tuple[Conditioning, Conditioning]:
    """Add to each conditioning an entry for every area of the other that has ConditioningArea's `crop_other`."""
    return _with_areas(positive, negative), _with_areas(negative, positive)


def _with_areas(own: Conditioning, other: Conditioning) -> Conditioning:
    found = list(own.entries)
    for entry in other.entries:
        area = entry.extra.get("area", {})
        if area.get("crop_other") and not any(_same(area, one.extra.get("area")) for one in found):
            source = _nearest(area, own)
            found += [] if source is None else [_moved(source, entry)]
    return Conditioning(found)


def _same(a: Any, b: Any) -> bool:
    return b is not None and all(a[side] == b[side] for side in ("x", "y", "width", "height"))


def _nearest(area: Any, own: Conditioning) -> Cond | None:
    """Return the entry with the smallest area that contains this one, else the first without an area."""
    around = [entry for entry in own.entries if "area" in entry.extra and _covers(entry.extra["area"], area)]
    if around:
        return min(around, key=lambda entry: entry.extra["area"]["width"] * entry.extra["area"]["height"])
    return next((entry for entry in own.entries if "area" not in entry.extra), None)


def _covers(outer: Any, inner: Any) -> bool:
    return all(
        outer[start] <= inner[start] and inner[start] + inner[side] <= outer[start] + outer[side]
        for start, side in (("x", "width"), ("y", "height"))
    )


def _moved(source: Cond, entry: Cond) -> Cond:
    """Return the source entry with the area, mask, weight and range of steps of another entry."""
    extra = {name: value for name, value in source.extra.items() if name not in _WHEN}
    extra |= {name: entry.extra[name] for name in _WHEN if name in entry.extra}
    arrays = {name: value for name, value in source.arrays.items() if name != "mask"}
    return replace(
        source, extra=extra, arrays={**arrays, **({"mask": entry.arrays["mask"]} if "mask" in entry.arrays else {})}
    )
