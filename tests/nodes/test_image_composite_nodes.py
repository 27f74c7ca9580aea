"""One picture over another, and the colours of one as those of another."""

import numpy as np
import pytest
from drawings import flat, noise
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.engine import Image, Mask
from latentloom.engine.errors import BadValueError
from latentloom.nodes.image_composite import image_composite, match_colours
from latentloom.nodes.mask_draw import mask_rectangle

SIDES = st.integers(1, 24)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(SIDES, SIDES),
    other=st.tuples(SIDES, SIDES),
    at=st.tuples(st.integers(-30, 30), st.integers(-30, 30)),
    channels=st.tuples(st.sampled_from([3, 4]), st.sampled_from([3, 4])),
    feather=st.integers(0, 6),
    seed=st.integers(0, 99),
)
def test_the_picture_outside_of_the_mask_is_untouched(size, other, at, channels, feather, seed):
    image = noise(1, *size, channels=channels[0], seed=seed)
    over = noise(1, *other, channels=channels[1], seed=seed + 1)
    mask = np.random.default_rng(seed).integers(0, 3, (1, *other)).astype(np.float32) / 2
    made = image_composite(image, over, Mask(mask), *at, feather=feather).numpy()
    reached = np.zeros(size, bool)
    for y, x in np.argwhere(mask[0] > 0):
        if 0 <= y + at[1] < size[0] and 0 <= x + at[0] < size[1]:
            reached[y + at[1], x + at[0]] = True
    assert made.shape == image.shape
    assert np.array_equal(made[0][~reached], image.numpy()[0][~reached])


def test_without_a_mask_the_second_picture_lies_at_its_place():
    image, over = flat([0, 0, 0], 6, 8), noise(1, 3, 4)
    made = image_composite(image, over, None, 2, 1).numpy()
    assert np.array_equal(made[:, 1:4, 2:6], over.numpy())
    assert made.sum() == pytest.approx(over.numpy().sum())
    assert np.array_equal(image_composite(image, over, None, -2, -1).numpy()[:, :2, :2], over.numpy()[:, 1:, 2:])


def test_a_soft_mask_and_the_opacity_count_once():
    black, white, half = flat([0, 0, 0]), flat([1, 1, 1]), Mask(np.full((1, 4, 4), 0.5, np.float32))
    assert image_composite(black, white, half).numpy() == pytest.approx(0.5)
    assert image_composite(black, white, half, opacity=0.5).numpy() == pytest.approx(0.25)


def test_paint_over_a_transparent_hole_is_seen():
    hole, paint = flat([0.2, 0.2, 0.2, 0]), flat([0.9, 0.1, 0.4])
    assert np.allclose(image_composite(hole, paint).numpy(), [0.9, 0.1, 0.4, 1])


def test_an_edge_fades_inwards_but_not_at_the_pictures_own_edge():
    black, white = flat([0, 0, 0], 32, 32), flat([1, 1, 1], 32, 32)
    row = image_composite(black, white, mask_rectangle(32, 32, 0, 0, 16, 32), feather=8).numpy()[0, 16, :, 0]
    assert row[:8].min() == 1
    assert (np.diff(row[7:17]) < 0).all()
    assert row[16:].max() == 0


def test_batches_go_with_single_items_only():
    assert len(image_composite(noise(3), noise(1), None)) == 3
    assert len(image_composite(noise(1), noise(3), None)) == 3
    with pytest.raises(BadValueError, match=r"different lengths \(got pictures 2 and 3, masks 1\)"):
        image_composite(noise(2), noise(3))


def moments(pixels):
    colours = pixels.reshape(-1, 3).astype(np.float64)
    return colours.mean(0), np.cov(colours, rowvar=False, ddof=0)


@pytest.mark.parametrize("likeness", ["mean", "spread", "covariance"])
def test_colours_get_the_moments_that_were_asked_for(likeness):
    draw = np.random.default_rng(0)
    ours = (0.4 + 0.05 * draw.standard_normal((1, 64, 64, 3)) @ draw.random((3, 3))).clip(0, 1).astype(np.float32)
    theirs = (0.6 + 0.04 * draw.standard_normal((1, 50, 40, 3)) @ draw.random((3, 3))).clip(0, 1).astype(np.float32)
    mean, covariance = moments(match_colours(Image(ours), Image(theirs), likeness=likeness).numpy())
    wanted, spread = moments(theirs)
    assert np.allclose(mean, wanted, atol=1e-4)
    if likeness != "mean":
        assert np.allclose(np.diag(covariance), np.diag(spread), rtol=0.01)
    if likeness == "covariance":
        assert np.allclose(covariance, spread, rtol=0.02, atol=2e-5)


@pytest.mark.parametrize("likeness", ["mean", "spread", "covariance"])
def test_a_shift_is_undone_by_what_was_not_repainted(likeness):
    picture = noise(1, 16, 16).numpy() * np.float32(0.5)
    shifted = picture * np.float32(0.9) + np.float32(0.05)
    shifted[:, :, 8:] = 1  # repainted
    mask = mask_rectangle(16, 16, 8, 0, 8, 16)
    made = match_colours(Image(shifted), Image(picture), mask, likeness).numpy()
    assert np.abs(made - picture)[:, :, :8].max() < (0.03 if likeness == "mean" else 1e-3)
    assert np.array_equal(match_colours(Image(shifted), Image(picture), mask, likeness, 0).numpy(), shifted)


def test_an_even_picture_is_moved_and_not_stretched_and_alpha_stays():
    made = match_colours(flat([0.2, 0.2, 0.2, 0.5]), noise(1, 30, 30)).numpy()
    assert np.allclose(made[..., :3], noise(1, 30, 30).numpy().mean((0, 1, 2)), atol=1e-4)
    assert np.allclose(made[..., 3], 0.5)
    with pytest.raises(BadValueError, match="there are no pixels to compare"):
        match_colours(flat([1, 1, 1]), flat([0, 0, 0]), Mask(np.ones((1, 2, 2))))
