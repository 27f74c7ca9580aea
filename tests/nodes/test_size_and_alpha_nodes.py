"""Sizes of pictures, transparency taken out and put in, details made stronger, and plain pictures and masks."""

import numpy as np
import pytest
from drawings import noise

from latentloom.engine import Image, Mask
from latentloom.engine.errors import BadValueError
from latentloom.nodes.image_alpha import join_alpha, split_alpha
from latentloom.nodes.image_size import (
    PictureSize,
    colour_image,
    image_scale_to_megapixels,
    image_scale_to_side,
    image_size,
    mask_size,
)
from latentloom.nodes.mask import mask_fade_borders, mask_grow
from latentloom.nodes.mask_draw import solid_mask
from latentloom.nodes.mask_image import mask_from_colour
from latentloom.nodes.preprocessors import blur_image, sharpen_image
from latentloom.nodes.primitives import replace_text


def blank(width, height):
    return Image(np.zeros((1, height, width, 3), np.float32))


def test_a_size_is_told():
    assert image_size(Image(np.zeros((3, 4, 6, 3), np.float32))) == PictureSize(6, 4, 3)
    assert mask_size(Mask(np.zeros((2, 4, 6), np.float32))) == PictureSize(6, 4, 2)


@pytest.mark.parametrize(
    ("old", "megapixels", "multiple", "new"),
    [((200, 100), 0.02, 1, (205, 102)), ((200, 100), 0.02, 8, (208, 104)), ((16, 16), 0.01, 1, (102, 102))],
)
def test_a_number_of_pixels_keeps_the_shape(old, megapixels, multiple, new):
    found = image_scale_to_megapixels(blank(*old), megapixels, "area", multiple)
    assert found.image.shape[2:0:-1] == new
    assert found.mask.shape[2:0:-1] == new


@pytest.mark.parametrize(("which", "new"), [("longer", (40, 20)), ("shorter", (80, 40))])
def test_a_side_is_brought_to_a_length(which, new):
    assert image_scale_to_side(blank(200, 100), 40, which, "area").image.shape[2:0:-1] == new


def test_what_is_split_can_be_joined_again():
    picture = noise(channels=4)
    parts = split_alpha(picture)
    assert np.array_equal(parts.image.numpy(), picture.numpy()[..., :3])
    np.testing.assert_allclose(join_alpha(*parts).numpy(), picture.numpy(), atol=1e-6)
    assert not split_alpha(noise()).mask.numpy().any()


def test_a_mask_makes_each_picture_of_a_batch_transparent():
    found = join_alpha(noise(2), Mask(np.full((1, 2, 2), 0.25, np.float32)))
    assert (found.numpy()[..., 3] == 0.75).all()
    with pytest.raises(BadValueError, match="different batch size"):
        join_alpha(noise(2), Mask(np.zeros((3, 2, 2), np.float32)))


def test_pictures_and_masks_of_one_value():
    found = colour_image(3, 2, "#ff8000", 2).numpy()
    assert found.shape == (2, 2, 3, 3)
    assert np.array_equal(found[1, 1, 2], np.float32([1, 128 / 255, 0]))
    assert (solid_mask(3, 2, 0.5).numpy() == np.full((1, 2, 3), 0.5)).all()
    with pytest.raises(BadValueError, match=r"this is not a colour \(expected #rrggbb, got reddish\)"):
        colour_image(3, 2, "reddish")


def test_a_colour_becomes_a_mask():
    picture = Image(np.float32([[[1, 0, 0], [1, 2 / 255, 0], [0, 0, 1]]])[None])
    assert mask_from_colour(picture, "#ff0000").numpy().tolist() == [[[1, 0, 0]]]
    assert mask_from_colour(picture, "#ff0000", 2).numpy().tolist() == [[[1, 1, 0]]]


def point(size=7):
    mask = np.zeros((1, size, size), np.float32)
    mask[0, size // 2, size // 2] = 1
    return Mask(mask)


@pytest.mark.parametrize(("shape", "count"), [("disc", 13), ("square", 25), ("diamond", 13)])
def test_a_mask_grows_in_a_shape(shape, count):
    found = mask_grow(point(), 2, shape)
    assert found.numpy().sum() == count
    assert mask_grow(found, -2, shape).numpy().sum() == 1


def test_a_mask_fades_towards_the_borders():
    found = mask_fade_borders(Mask(np.ones((1, 3, 4), np.float32)), left=2, right=4, bottom=2).numpy()
    assert found[0, 0].tolist() == [0.5, 0.75, 0.5, 0.25]
    assert found[0, :, 1].tolist() == [0.75, 0.75, 0.375]


def test_details_become_stronger_and_transparency_stays():
    picture = np.full((1, 9, 9, 4), 0.5, np.float32)
    picture[0, 4, 4, :3] = 0.6
    found = sharpen_image(Image(picture), 1.0, 0.5).numpy()
    assert found[0, 4, 4, 0] > 0.64
    assert found[0, 4, 5, 0] < 0.5
    assert (found[..., 3] == 0.5).all()
    assert np.array_equal(sharpen_image(Image(picture), 1.0, 0.0).numpy(), picture)


def test_a_blur_is_cut_off_at_its_radius():
    picture = np.zeros((1, 9, 9, 3), np.float32)
    picture[0, 4, 4] = 1
    found = blur_image(Image(picture), 3.0, 2).numpy()[0, :, :, 0]
    assert (found > 0).sum() == 25
    assert found.sum() == pytest.approx(1, abs=1e-5)


def test_a_part_of_a_text_is_replaced():
    assert replace_text("a cat, a cat", "cat", "dog") == "a dog, a dog"
    assert replace_text("a cat", " cat") == "a"
    with pytest.raises(BadValueError, match="the text is too long"):
        replace_text("a" * 1000, "a", "b" * 1000 + "c")
