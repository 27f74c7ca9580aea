"""Masks as pictures and pictures as masks; masks scaled, cut, made hard and shown."""

import numpy as np
import pytest
from drawings import edge, flat, noise, put, workflow
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from latentloom.engine import Image, Mask
from latentloom.engine.errors import BadValueError
from latentloom.engine.events import NodePreview
from latentloom.nodes.image import image_scale
from latentloom.nodes.mask_image import image_to_mask, mask_crop, mask_scale, mask_threshold, mask_to_image

LEVELS = arrays(np.float32, (2, 3, 4), elements=st.floats(0, 1, width=32))


@settings(deadline=None)
@given(LEVELS)
def test_a_mask_comes_back_from_its_picture(levels):
    back = image_to_mask(mask_to_image(Mask(levels))).numpy()
    assert np.allclose(back, levels, atol=2e-7)
    for channel in ("red", "green", "blue"):
        assert np.array_equal(image_to_mask(mask_to_image(Mask(levels)), channel).numpy(), levels)


def test_a_colour_and_the_brightness_are_read():
    image = flat([1, 0.5, 0.25])
    assert [float(image_to_mask(image, c).numpy()[0, 0, 0]) for c in ("red", "green", "blue")] == [1, 0.5, 0.25]
    assert np.allclose(image_to_mask(image).numpy(), 0.2126 + 0.5 * 0.7152 + 0.25 * 0.0722)  # BT.709


def test_hidden_colour_is_no_mask():
    assert image_to_mask(flat([1, 1, 1, 0.25])).numpy() == pytest.approx(0.25)


def test_a_threshold_makes_edges_hard():
    levels = Mask(np.float32([[[0, 0.25, 0.5, 0.75, 1]]]))
    assert mask_threshold(levels).numpy().tolist() == [[[0, 0, 0, 1, 1]]]
    assert mask_threshold(levels, 0).numpy().tolist() == [[[0, 1, 1, 1, 1]]]
    assert not mask_threshold(levels, 1).numpy().any()


@pytest.mark.parametrize("fit", ["stretch", "fit", "fill", "pad"])
@pytest.mark.parametrize("method", ["lanczos", "area", "nearest"])
def test_a_mask_alone_is_scaled_as_one_that_goes_with_its_picture(fit, method):
    mask = Mask(noise(2, 30, 50, 3).numpy()[..., 0])
    along = image_scale(noise(2, 30, 50), 20, 28, 1, method, fit, 4, mask).mask
    assert np.array_equal(mask_scale(mask, 20, 28, 1, method, fit, 4).numpy(), along.numpy())


def test_a_rectangle_of_a_mask_must_lie_inside():
    mask = Mask(noise(2, 6, 8, 3).numpy()[..., 0])
    assert np.array_equal(mask_crop(mask, 2, 1, 6, 5).numpy(), mask.numpy()[:, 1:6, 2:8])
    with pytest.raises(BadValueError, match=r"outside the picture \(expected inside 8x6, got 8x6 at 1,0\)"):
        mask_crop(mask, 1, 0, 8, 6)


@pytest.mark.parametrize("over_a_picture", [False, True])
def test_a_mask_is_shown_and_nothing_is_written(over_a_picture, plain):
    put(plain, "cat.png", Image(np.full((1, 6, 8, 3), 0.5, np.float32)))
    picture = {"image": edge("load")} if over_a_picture else {}
    nodes = {
        "load": ("LoadImage", {"image": "cat.png"}),
        "mask": ("MaskRectangle", {"width": 8, "height": 6, "box_width": 4, "box_height": 6}),
        "look": ("PreviewMask", {"mask": edge("mask", "mask"), **picture}),
    }
    (shown,) = [event.image.numpy() for event in plain.stream(workflow(nodes)) if isinstance(event, NodePreview)]
    assert shown.shape == (1, 6, 8, 3)
    if over_a_picture:
        assert np.allclose(shown[0, :, 4:], 0.5, atol=0.01)
        assert (shown[0, :, :4, 0] > shown[0, :, :4, 1] + 0.3).all()
    else:
        assert np.array_equal(shown[0, 0, :, 0], [1, 1, 1, 1, 0, 0, 0, 0])
    assert not plain.settings.output.exists() or not list(plain.settings.output.iterdir())
