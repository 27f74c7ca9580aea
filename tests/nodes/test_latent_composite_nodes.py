"""Latents laid over each other, cut, and resized by a factor."""

import numpy as np
import pytest

from latentloom.engine import Latent, Mask
from latentloom.engine.errors import BadValueError
from latentloom.nodes.latents import latent_upscale
from latentloom.nodes.latents_composite import latent_composite, latent_crop


def latent(value, height=6, width=8, batch=1, mask=None):
    return Latent(np.full((batch, 4, height, width), value, np.float32), mask)


def test_a_latent_lies_over_another_and_what_sticks_out_is_cut_off():
    found = latent_composite(latent(0), latent(1, 4, 4), 48, 16).numpy()[0, 0]
    assert found.sum() == 2 * 4
    assert found[2:6, 6:8].all()
    assert not latent_composite(latent(0), latent(1), 800, 0).numpy().any()


def test_edges_fade_where_they_lie_inside():
    found = latent_composite(latent(0), latent(1, 6, 5), 16, 0, 16).numpy()[0, 0, 3]
    assert found.tolist() == [0, 0, 0.5, 1, 1, 1, 0.5, 0]


def test_a_mask_says_where():
    mask = np.zeros((1, 48, 64), np.float32)
    mask[:, :, :32] = 1
    found = latent_composite(latent(0, batch=2), latent(1), mask=Mask(mask)).numpy()
    assert found.shape[0] == 2
    assert (found[:, :, :, :3] == 1).all()
    assert not found[:, :, :, 5:].any()


def test_latents_that_do_not_go_together_are_told():
    with pytest.raises(BadValueError, match="the batches have different lengths"):
        latent_composite(latent(0, batch=2), latent(1, batch=3))
    with pytest.raises(BadValueError, match="different model families"):
        latent_composite(latent(0), Latent(np.zeros((1, 16, 6, 8), np.float32)))


def test_a_part_is_cut_out_with_its_mask():
    samples = np.arange(4 * 6 * 8, dtype=np.float32).reshape(1, 4, 6, 8)
    mask = np.zeros((1, 48, 64), np.float32)
    mask[:, :16] = 1
    found = latent_crop(Latent(samples, Mask(mask)), 16, 24, 8, 8)
    assert np.array_equal(found.numpy(), samples[:, :, 1:4, 1:3])
    assert found.noise_mask is not None
    assert found.noise_mask.numpy().sum() == 8 * 16
    with pytest.raises(BadValueError, match="outside"):
        latent_crop(latent(0), 64, 64)


@pytest.mark.parametrize(
    ("width", "height", "factor", "size"),
    [(0, 0, 1.5, (9, 12)), (128, 0, 1, (12, 16)), (0, 96, 1, (12, 16)), (64, 64, 1, (8, 8))],
)
def test_a_latent_is_resized_to_a_size_or_by_a_factor(width, height, factor, size):
    assert latent_upscale(latent(0), width, height, "area", factor).shape[2:] == size


def test_a_size_and_a_factor_exclude_each_other():
    with pytest.raises(BadValueError, match=r"cannot be combined \(got 64x0 and factor 2\)"):
        latent_upscale(latent(0), 64, 0, "area", 2)
