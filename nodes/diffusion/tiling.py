"""Working on a large map tile by tile, with seams that are blended."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Tile(NamedTuple):
    """Where a tile begins, and its size."""

    top: int
    left: int
    height: int
    width: int


def tiles(height: int, width: int, tile: int, overlap: int) -> list[Tile]:
    """Tiles of one size that cover a map, row by row; neighbours share at least `overlap` cells."""
    high, wide = min(tile, height), min(tile, width)
    return [
        Tile(top, left, high, wide)
        for top in _starts(height, high, min(overlap, high - 1))
        for left in _starts(width, wide, min(overlap, wide - 1))
    ]


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """Evenly spread starts, the first at 0 and the last at the end."""
    if tile >= length:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [round(n * (length - tile) / (count - 1)) for n in range(count)]


def tiled(function: Callable[[Tensor, Tile], Tensor], x: Tensor, tile: int, overlap: int, scale: float = 1.0) -> Tensor:
    """function(part of x, where it is) for each tile of x [B, C, h, w], put together: [B, C', h * scale, w * scale].

    Where tiles meet, each counts more the further its own edge is (a pyramid), so that no seam shows. One tile is the
    function's own answer, bit for bit.
    """
    places = tiles(*x.shape[2:], tile, overlap)
    if len(places) == 1:
        return function(x, places[0])
    total: Tensor | None = None
    for place in places:
        found = function(x[..., place.top : place.top + place.height, place.left : place.left + place.width], place)
        if total is None:
            total = found.new_zeros(*found.shape[:2], *(round(side * scale) for side in x.shape[2:]))
            weight = found.new_zeros(1, 1, *total.shape[2:])
            share = _pyramid(*found.shape[2:], max(1, round(overlap * scale))).to(found)
        top, left = round(place.top * scale), round(place.left * scale)
        inside = (..., slice(top, top + found.shape[2]), slice(left, left + found.shape[3]))
        total[inside] += found * share
        weight[inside] += share
    assert total is not None
    return total / weight


def _pyramid(height: int, width: int, overlap: int) -> Tensor:
    """1 in the middle, falling to nearly 0 over `overlap` cells at each edge.

    It is a product, so that along the edge of a map, where all tiles fall, they still blend as elsewhere.
    """
    down, across = (_slope(length, overlap) for length in (height, width))
    return down[:, None] * across[None, :]


def _slope(length: int, overlap: int) -> Tensor:
    place = torch.arange(length, dtype=torch.float32)
    edge = torch.minimum(place, length - 1 - place) + 0.5
    return (edge / overlap).clamp(max=1)
