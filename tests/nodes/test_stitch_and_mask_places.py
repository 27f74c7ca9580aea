"""Pictures edge to edge, masks at a place in another mask, and the soft edge of outpainting by its formula."""

import numpy as np
import pytest

from latentloom.engine import Image, Mask
from latentloom.engine.errors import BadValueError
from latentloom.nodes.image_grid import image_stitch
from latentloom.nodes.inpaint import outpaint_pad
from latentloom.nodes.mask import mask_combine


def picture(height, width, level, count=1, channels=3):
    return Image(np.full((count, height, width, channels), level, np.float32))


@pytest.mark.parametrize(
    ("side", "shape", "first", "last"),
    [
        ("right", (1, 4, 11, 3), 0.25, 0.5),
        ("left", (1, 4, 11, 3), 0.5, 0.25),
        ("below", (1, 11, 4, 3), 0.25, 0.5),
        ("above", (1, 11, 4, 3), 0.5, 0.25),
    ],
)
def test_a_picture_is_resized_to_the_common_edge(side, shape, first, last):
    made = image_stitch(picture(4, 4, 0.25), picture(8, 8, 0.5), side, gap=3, colour="#ff0000").numpy()
    assert made.shape == shape
    assert made[0, 0, 0, 1] == pytest.approx(first, abs=0.01)
    assert made[0, -1, -1, 1] == pytest.approx(last, abs=0.01)
    middle = made[0, 5, 0] if side in ("below", "above") else made[0, 0, 5]
    assert middle.tolist() == [1, 0, 0]


def test_without_resizing_a_border_fills_the_edge_up_and_batches_are_repeated():
    made = image_stitch(picture(4, 2, 0.25, 3), picture(2, 2, 0.5, 1, 4), match_size=False, colour="#000000").numpy()
    assert made.shape == (3, 4, 4, 4)
    assert made[:, :, 3, 0].tolist() == [[0, 0.5, 0.5, 0]] * 3
    assert made[2, 0, 0, 3] == 1


def test_a_picture_beyond_the_limit_is_refused():
    with pytest.raises(BadValueError, match="16384"):
        image_stitch(picture(8, 16384, 0), picture(8, 16384, 0))


@pytest.mark.parametrize(
    ("how", "levels"),
    [("product", [0.25, 0.25]), ("sum", [1, 0.75]), ("rest", [0, 0.25]), ("union", [0.5, 0.5]),
     ("exclusive", [0, 0.25])],
)  # fmt: skip
def test_soft_masks_are_calculated_with(how, levels):
    a, b = Mask(np.float32([[[0.5, 0.5]]])), Mask(np.float32([[[0.5, 0.25]]]))
    expected = [0.25, 0.125] if how == "product" else levels
    assert mask_combine(a, b, how).numpy()[0, 0].tolist() == expected


def test_a_mask_lies_at_a_place_and_is_cut_off():
    a, b = Mask(np.zeros((1, 3, 4), np.float32)), Mask(np.ones((2, 2, 2), np.float32))
    with pytest.raises(BadValueError, match="the masks have different sizes"):
        mask_combine(a, b)
    made = mask_combine(a, b, x=3, y=-1).numpy()
    assert made.shape == (2, 3, 4)
    assert made[1].tolist() == [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert not mask_combine(a, b, x=9).numpy().any()
    assert not mask_combine(a, b, y=-9).numpy().any()


def squared(height, width, left, top, right, bottom, feather):
    """ComfyUI's rule for the old part of the picture, place by place."""
    made = np.zeros((height, width))
    if feather <= 0 or 2 * feather >= height or 2 * feather >= width:
        return made
    for y in range(height):
        for x in range(width):
            near = min(
                y if top else height,
                height - y if bottom else height,
                x if left else width,
                width - x if right else width,
            )
            made[y, x] = max(0, (feather - near) / feather) ** 2
    return made


@pytest.mark.parametrize("borders", [(8, 0, 0, 0), (8, 16, 0, 0), (0, 0, 8, 8), (8, 8, 8, 8), (0, 0, 0, 0)])
@pytest.mark.parametrize("feather", [0, 5, 9, 40])
def test_the_edge_of_outpainting_falls_off_by_the_square(borders, feather):
    left, top, right, bottom = borders
    made = outpaint_pad(picture(20, 24, 0.5), *borders, feather=feather, curve="square").mask.numpy()[0]
    assert made.shape == (20 + top + bottom, 24 + left + right)
    inside = made[top : top + 20, left : left + 24]
    assert inside == pytest.approx(squared(20, 24, *borders, feather=feather), abs=1e-6)
    assert made.sum() - inside.sum() == pytest.approx(made.size - inside.size)
