"""Processes a large map tile by tile and blends the seams."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from latentloom.nodes.diffusion.seamless import EDGES, Axes


class Tile(NamedTuple):
    """The start and the size of a tile. On a map that wraps around, it may continue at the opposite edge."""

    top: int
    left: int
    height: int
    width: int

    def scaled(self, scale: float) -> "Tile":
        """Return the tile on a map whose sides are `scale` times as long."""
        return Tile(*(round(side * scale) for side in self))

    def of(self, x: Tensor) -> Tensor:
        """Return this part of [..., h, w]; a view if the tile does not wrap around."""
        rows, columns = (self.top, self.height, x.shape[-2]), (self.left, self.width, x.shape[-1])
        for dim, (start, length, whole) in ((-2, rows), (-1, columns)):
            if start + length <= whole:
                x = x.narrow(dim, start, length)
            else:
                x = x.index_select(dim, _round(start, length, whole, x))
        return x

    def add_to(self, x: Tensor, part: Tensor) -> None:
        """Add a tensor of the tile's size to this part of [..., h, w], in place."""
        rows = _round(self.top, self.height, x.shape[-2], x)
        columns = _round(self.left, self.width, x.shape[-1], x)
        x[..., rows[:, None], columns] += part


def _round(start: int, length: int, whole: int, like: Tensor) -> Tensor:
    """The indices from `start`; they continue at 0 after the end."""
    return torch.arange(start, start + length, device=like.device) % whole


def tiles(height: int, width: int, tile: int, overlap: int, axes: Axes = EDGES) -> list[Tile]:
    """Return tiles of one size that cover a map, row by row; neighbours share at least `overlap` cells.

    Along `axes` the last tile's neighbour is the first.
    """
    high, wide = min(tile, height), min(tile, width)
    return [
        Tile(top, left, high, wide)
        for top in _starts(height, high, min(overlap, high - 1), around=axes.vertical)
        for left in _starts(width, wide, min(overlap, wide - 1), around=axes.horizontal)
    ]


def _starts(length: int, tile: int, overlap: int, *, around: bool) -> list[int]:
    """Evenly spaced starts from 0. The last tile ends at the end of the map; with `around` it overlaps the first."""
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
    """Apply function(part, tile) to each tile of x [B, C, h, w] and blend the results: [B, C', h * scale, w * scale].

    In an overlap the weight of a tile grows with the distance from its edge (a pyramid), so that no seam is visible.
    Along `axes` the map and the tiles wrap around. A single tile's result is returned unchanged, bit for bit.
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
    """Weights of 1 in the middle that fall to nearly 0 over `overlap` cells at each edge.

    They are a product of both directions, so tiles blend at the edge of a map, where all weights fall, as elsewhere.
    """
    down, across = (_slope(length, overlap) for length in (height, width))
    return down[:, None] * across[None, :]


def _slope(length: int, overlap: int) -> Tensor:
    place = torch.arange(length, dtype=torch.float32)
    edge = torch.minimum(place, length - 1 - place) + 0.5
    return (edge / overlap).clamp(max=1)
