"""Tiles cover a map, and blending puts together what was taken apart."""

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.nodes.diffusion.noise import first_noise
from latentloom.nodes.diffusion.tiling import tiled, tiles

sizes = st.integers(1, 40)


@settings(deadline=None)
@given(height=sizes, width=sizes, tile=st.integers(2, 24), share=st.floats(0, 0.5))
def test_tiles_cover_the_map_and_overlap_at_least_as_asked(height: int, width: int, tile: int, share: float) -> None:
    overlap = int(tile * share)
    found = tiles(height, width, tile, overlap)
    count = torch.zeros(height, width)
    for place in found:
        assert place[2:] == (min(tile, height), min(tile, width))
        count[place.top : place.top + place.height, place.left : place.left + place.width] += 1
    assert (count >= 1).all()
    rows = sorted({place.top for place in found})
    assert all(a + min(tile, height) - b >= min(overlap, height - 1) for a, b in pairwise(rows))


@settings(deadline=None)
@given(height=sizes, width=sizes, tile=st.integers(2, 24), share=st.floats(0, 0.5))
def test_what_is_cut_into_tiles_comes_back(height: int, width: int, tile: int, share: float) -> None:
    x = first_noise((2, 3, height, width), 1)
    found = tiled(lambda part, place: part, x, tile, int(tile * share))
    torch.testing.assert_close(found, x)


def test_one_tile_is_the_answer_itself() -> None:
    x = first_noise((1, 3, 8, 8), 1)
    answer = x * 1.1
    assert tiled(lambda part, place: answer, x, 8, 4) is answer


def test_tiles_may_come_back_larger() -> None:
    x = first_noise((1, 3, 12, 20), 1)
    found = tiled(lambda part, place: part.repeat_interleave(8, 2).repeat_interleave(8, 3), x, 8, 2, 8)
    torch.testing.assert_close(found, x.repeat_interleave(8, 2).repeat_interleave(8, 3))


def test_where_tiles_disagree_the_seam_is_a_ramp() -> None:
    x = torch.zeros(1, 1, 8, 12)
    found = tiled(lambda part, place: part + place.left, x, 8, 4)[0, 0, 0]
    assert found[0] == 0
    assert found[-1] == 4
    assert (found.diff() >= 0).all()
    assert found.diff().max() <= 1.5
