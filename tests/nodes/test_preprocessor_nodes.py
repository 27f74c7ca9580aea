"""Preprocessors, on pictures whose edges are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from latentloom.engine import Image
from latentloom.nodes.preprocessors import blur_image, canny_edges, invert_image, lineart, tile_image


def square(channels: int = 3) -> Image:
    """A white square from 16 to 48 on black, 64 pixels wide."""
    pixels = np.zeros((1, 64, 64, channels), np.float32)
    pixels[:, 16:48, 16:48] = 1
    return Image(pixels)


def test_canny_draws_the_outline_of_a_square_thinly() -> None:
    edges = canny_edges(square()).numpy()[0]
    assert set(np.unique(edges)) == {0.0, 1.0}
    rows, columns = np.nonzero(edges[..., 0])
    ends = (rows.min(), rows.max(), columns.min(), columns.max())
    assert all(abs(found - known) <= 1 for found, known in zip(ends, (16, 47, 16, 47), strict=True))
    assert edges[20:44, 20:44].max() == 0
    assert (edges[24:40, :, 0].sum(axis=1) <= 4).all()  # two edges, at most two pixels each
    assert (edges[24:40, :, 0].sum(axis=1) >= 2).all()


def test_canny_takes_weak_edges_only_beside_strong_ones() -> None:
    pixels = np.zeros((1, 64, 64, 3), np.float32)
    pixels[:, :, 32:] = np.linspace(0.25, 1, 64)[:, None, None]  # an edge that gets stronger downwards
    pixels[:, :, :8] = 0.25  # as weak, and alone
    pixels[:, 40:, :8] = 0.25
    edges = canny_edges(Image(pixels), low=0.1, high=0.3).numpy()[0, :, :, 0]
    assert edges[4, 28:36].any()
    assert not edges[:, :20].any()


def test_a_flat_picture_has_no_edges_and_no_lines() -> None:
    flat = Image(np.full((2, 16, 16, 3), 0.5))
    assert canny_edges(flat).numpy().max() == 0
    assert lineart(flat).numpy().max() < 1e-5


def test_lineart_draws_dark_lines_white() -> None:
    pixels = np.ones((1, 32, 32, 3), np.float32)
    pixels[:, :, 15:17] = 0
    lines = lineart(Image(pixels)).numpy()[0, 16, :, 0]
    assert lines[15:17].min() > 0.9
    assert lines[:10].max() == 0


def test_blur_keeps_the_mean_and_loses_contrast() -> None:
    found = blur_image(square(), sigma=3.0).numpy()
    assert found.mean() == pytest.approx(square().numpy().mean(), abs=1e-3)
    assert 0.4 < found[0, 32, 16, 0] < 0.65
    assert np.array_equal(blur_image(square(), sigma=0.0).numpy(), square().numpy())


def test_tile_keeps_the_size_and_the_large_areas() -> None:
    found = tile_image(square(), factor=8).numpy()
    assert found.shape == (1, 64, 64, 3)
    assert found[0, 32, 32, 0] == pytest.approx(1, abs=1e-5)
    assert len(np.unique(found.round(3))) > 2
    assert tile_image(square(), factor=64).numpy().std() == pytest.approx(0, abs=1e-6)


def test_invert_is_its_own_inverse_and_leaves_transparency() -> None:
    picture = square(4)
    assert np.array_equal(invert_image(invert_image(picture)).numpy(), picture.numpy())
    assert np.array_equal(invert_image(picture).numpy()[..., 3], picture.numpy()[..., 3])
    assert invert_image(picture).numpy()[0, 0, 0, 0] == 1


def test_what_a_transparent_pixel_hides_is_seen_nowhere() -> None:
    pixels = np.zeros((1, 32, 32, 4), np.float32)
    pixels[:, :, :16] = [0, 1, 0, 1]  # opaque green beside hidden red
    pixels[:, :, 16:] = [1, 0, 0, 0]
    white = pixels.copy()
    white[:, :, 16:] = [1, 1, 1, 0]
    for made in (blur_image(Image(pixels), 3.0), tile_image(Image(pixels), 8)):
        assert made.numpy()[..., 0].max() == pytest.approx(0, abs=1e-6)
        assert made.numpy()[..., 1][made.numpy()[..., 3] > 0.01].min() == pytest.approx(1, abs=1e-5)
        assert 0.1 < made.numpy()[0, 16, 15, 3] < 1
    for edges in (canny_edges, lineart):
        assert np.array_equal(edges(Image(pixels)).numpy(), edges(Image(white)).numpy())
        assert edges(Image(pixels)).numpy()[0, 16].max() > 0  # the object's edge is one


@settings(max_examples=30, deadline=None)
@given(alpha=arrays(np.float32, (1, 8, 8, 1), elements=st.floats(0, 1, width=32)), sigma=st.floats(0.3, 4))
def test_blur_is_linear_in_premultiplied_colour(alpha: np.ndarray, sigma: float) -> None:
    from scipy.ndimage import gaussian_filter

    colour = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)
    made = blur_image(Image(np.concatenate([colour, alpha], axis=3)), sigma).numpy()
    expected = gaussian_filter(np.concatenate([colour * alpha, alpha], axis=3), (0, sigma, sigma, 0), mode="nearest")
    assert np.allclose(made[..., 3:], expected[..., 3:].clip(0, 1), atol=1e-5)
    assert np.allclose(made[..., :3] * made[..., 3:], expected[..., :3], atol=1e-5)
