"""Working on a large map tile by tile, with seams that are blended."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from latentloom.nodes.diffusion.seamless import EDGES, Axes


class Tile(NamedTuple):
    """Where a tile begins, and its size. On a map that goes round it may go on at the opposite edge."""

    top: int
    left: int
    height: int
    width: int

    def scaled(self, scale: float) -> "Tile":
        """The tile on a map whose sides are `scale` times as long."""
        return Tile(*(round(side * scale) for side in self))

    def of(self, x: Tensor) -> Tensor:
        """That part of [..., h, w]; a view where the tile lies within the map."""
        rows, columns = (self.top, self.height, x.shape[-2]), (self.left, self.width, x.shape[-1])
        for dim, (start, length, whole) in ((-2, rows), (-1, columns)):
            if start + length <= whole:
                x = x.narrow(dim, start, length)
            else:
                x = x.index_select(dim, _round(start, length, whole, x))
        return x

    def add_to(self, x: Tensor, part: Tensor) -> None:
        """Add something of the tile's size to that part of [..., h, w]."""
        rows = _round(self.top, self.height, x.shape[-2], x)
        columns = _round(self.left, self.width, x.shape[-1], x)
        x[..., rows[:, None], columns] += part


def _round(start: int, length: int, whole: int, like: Tensor) -> Tensor:
    """The places from a start on, at the end going on at 0."""
    return torch.arange(start, start + length, device=like.device) % whole


def tiles(height: int, width: int, tile: int, overlap: int, axes: Axes = EDGES) -> list[Tile]:
    """Tiles of one size that cover a map, row by row; neighbours share at least `overlap` cells.

    Along `axes` the last tile's neighbour is the first.
    """
    high, wide = min(tile, height), min(tile, width)
    return [
        Tile(top, left, high, wide)
        for top in _starts(height, high, min(overlap, high - 1), around=axes.vertical)
        for left in _starts(width, wide, min(overlap, wide - 1), around=axes.horizontal)
    ]


def _starts(length: int, tile: int, overlap: int, *, around: bool) -> list[int]:
    """Evenly spread starts, the first at 0 and the last at the end, or before the first where the map goes round."""
    if tile >= length:
        return [0]
    if around:
        count = -(-length // (tile - overlap))
        return [round(n * length / count) for n in range(count)]
    count = -(-(length - overlap) // (tile - overlap))
    return [round(n * (length - tile) / (count - 1)) for n in range(count)]


def tiled(
    function: Callable[[Tensor, Tile], Tensor],
    x: Tensor,
    tile: int,
    overlap: int,
    scale: float = 1.0,
    axes: Axes = EDGES,
) -> Tensor:
    """function(part of x, where it is) for each tile of x [B, C, h, w], put together: [B, C', h * scale, w * scale].

    Where tiles meet, each counts more the further its own edge is (a pyramid), so that no seam shows. Along `axes` the
    map goes round, and so do the tiles. One tile is the function's own answer, bit for bit.
    """
    places = tiles(*x.shape[2:], tile, overlap, axes)
    if len(places) == 1:
        return function(x, places[0])
    total: Tensor | None = None
    for place in places:
        found = function(place.of(x), place)
        if total is None:
            total = found.new_zeros(*found.shape[:2], *(round(side * scale) for side in x.shape[2:]))
            weight = found.new_zeros(1, 1, *total.shape[2:])
            share = _pyramid(*found.shape[2:], max(1, round(overlap * scale))).to(found)
        place.scaled(scale).add_to(total, found * share)
        place.scaled(scale).add_to(weight, share)
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
