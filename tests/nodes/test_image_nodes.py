"""Pictures scaled, blended and cropped."""

import numpy as np
import pytest
from drawings import edge, flat, noise, put, run_node, workflow
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.engine import Image, Mask
from latentloom.engine.errors import BadValueError, WorkflowError
from latentloom.nodes.drawing.limits import MAX_SIDE
from latentloom.nodes.image import image_blend, image_crop, image_scale
from latentloom.nodes.image_grid import image_grid

METHODS = ["lanczos", "bicubic", "bilinear", "area", "nearest"]


# Scaling


@pytest.mark.parametrize(
    ("inputs", "expected", "got"),
    [
        ({"width": 16384, "fit": "stretch"}, f"at most {MAX_SIDE} pixels a side", "16384x1638400"),
        ({"factor": 64.0}, f"at most {MAX_SIDE} pixels a side", "640x64000"),
        ({"width": 16384, "height": 16384}, "at most 178956970 pixels a picture", "16384x16384"),
        ({"width": 16384, "height": 16384, "fit": "pad"}, "at most 178956970 pixels a picture", "16384x16384"),
    ],
)
def test_a_result_that_is_too_large_is_refused_before_it_is_made(inputs, expected, got):
    with pytest.raises(BadValueError) as caught:
        image_scale(noise(1, 1000, 10), **inputs)
    assert str(caught.value) == f"the result would be too large (expected {expected}, got {got})"


def test_a_batch_that_is_too_large_is_refused_before_it_is_made():
    batch = Image(np.broadcast_to(np.float32(0), (20, 1, 1, 3)))
    with pytest.raises(BadValueError, match=r"at most 1073741824 pixels a batch, got 20 of 10000x10000"):
        image_scale(batch, width=10000, height=10000)


@pytest.mark.parametrize(
    "inputs", [{"width": -1}, {"height": 16385}, {"factor": 0}, {"factor": 65}, {"method": "best"}, {"multiple_of": 0}]
)
def test_a_size_out_of_range_is_a_problem(inputs, plain):
    put(plain, "cat.png")
    nodes = {"load": ("LoadImage", {"image": "cat.png"}), "it": ("ImageScale", {"image": edge("load"), **inputs})}
    (problem,) = plain.validate(workflow(nodes, result=edge("it")))
    assert (problem.node, problem.input) == ("it", *inputs)


def test_a_size_and_a_factor_exclude_each_other():
    with pytest.raises(BadValueError) as caught:
        image_scale(noise(), width=3, factor=2)
    assert str(caught.value) == "a size and a factor cannot be combined (got 3x0 and factor 2)"


@pytest.mark.parametrize(
    ("inputs", "size"),
    [
        ({}, (80, 40)),
        ({"factor": 0.5}, (40, 20)),
        ({"factor": 0.01}, (1, 1)),
        ({"width": 20}, (20, 10)),
        ({"height": 20}, (40, 20)),
        ({"width": 30, "height": 30}, (30, 30)),
        ({"width": 30, "height": 30, "fit": "fit"}, (30, 15)),
        ({"width": 300, "height": 30, "fit": "fit"}, (60, 30)),
        ({"width": 30, "height": 30, "fit": "fill"}, (30, 30)),
        ({"width": 30, "height": 31, "fit": "pad"}, (30, 31)),
        ({"width": 30, "height": 30, "multiple_of": 8}, (32, 32)),
        ({"width": 30, "height": 30, "fit": "fit", "multiple_of": 8}, (32, 16)),
        ({"factor": 0.01, "multiple_of": 8}, (8, 8)),
    ],
)
def test_the_size_follows_from_what_is_given(inputs, size, plain):
    put(plain, "cat.png", noise(1, 40, 80))
    result = run_node(plain, "ImageScale", {"image": edge("load"), **inputs})
    assert (result.shape[2], result.shape[1]) == size


SIDES = st.integers(1, 40)


@settings(max_examples=80, deadline=None)
@given(old=st.tuples(SIDES, SIDES), new=st.tuples(SIDES, SIDES), multiple=st.integers(1, 8), data=st.data())
def test_any_size_can_be_made_of_any_other(old, new, multiple, data):
    fit, method = data.draw(st.sampled_from(["stretch", "fit", "fill", "pad"])), data.draw(st.sampled_from(METHODS))
    image = noise(1, *old, channels=data.draw(st.sampled_from([3, 4])))
    result = image_scale(image, *new, method=method, fit=fit, multiple_of=multiple).image
    box = tuple(max(1, round(side / multiple)) * multiple for side in new)
    assert result.shape[3] == image.shape[3]
    if fit == "fit":
        assert all(
            side <= limit and side % multiple == 0 for side, limit in zip(result.shape[2:0:-1], box, strict=True)
        )
    else:
        assert result.shape[2:0:-1] == box


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(3, 5), (40, 30), (8, 30)])
def test_every_filter_keeps_an_even_colour_and_the_batch(method, size):
    image = Image(np.broadcast_to(np.float32([0.2, 0.4, 0.8, 0.5]), (3, 6, 8, 4)))
    result = image_scale(image, width=size[0], height=size[1], method=method).image
    assert result.shape == (3, size[1], size[0], 4)
    assert np.allclose(result.numpy(), [0.2, 0.4, 0.8, 0.5], atol=1e-6)


@pytest.mark.parametrize("method", ["lanczos", "bicubic"])
def test_a_sharp_filter_stays_in_range(method):
    edges = Image(np.float32(np.indices((8, 8)).sum(0) % 2).repeat(3).reshape(1, 8, 8, 3))
    result = image_scale(edges, factor=3.7, method=method).image.numpy()
    assert (result.min(), result.max()) == (0, 1)


def test_nothing_is_rounded_to_eight_bits():
    image = flat([0.1234567, 0.5, 0.5], 4, 4)
    assert np.allclose(image_scale(image, factor=2, method="area").image.numpy()[..., 0], 0.1234567, atol=1e-7)


def test_area_and_nearest_do_what_their_names_say():
    image = Image(np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1).repeat(3, axis=3) / 16)
    area = image_scale(image, factor=0.5, method="area").image.numpy()[0, ..., 0] * 16
    nearest = image_scale(image, factor=2, method="nearest").image.numpy()[0, ..., 0] * 16
    assert np.allclose(area, [[2.5, 4.5], [10.5, 12.5]])
    assert np.allclose(nearest, np.arange(16).reshape(4, 4).repeat(2, 0).repeat(2, 1))


def test_hidden_colour_does_not_bleed_out_of_transparent_pixels():
    pixels = np.zeros((1, 1, 2, 4), np.float32)
    pixels[0, 0] = [[0, 1, 0, 1], [1, 0, 0, 0]]  # opaque green beside invisible red
    result = image_scale(Image(pixels), width=1, height=1, method="area").image.numpy()[0, 0, 0]
    assert np.allclose(result, [0, 1, 0, 0.5])


def test_fill_keeps_the_middle_and_pad_keeps_everything():
    pixels = np.zeros((1, 2, 6, 3), np.float32)
    pixels[:, :, 2:4] = 1
    filled = image_scale(Image(pixels), width=2, height=2, fit="fill", method="nearest").image.numpy()
    padded = image_scale(Image(np.ones((1, 2, 6, 3), np.float32)), width=6, height=6, fit="pad").image.numpy()
    assert filled.min() == 1
    assert padded[0, :, 0, 0].tolist() == [0, 0, 1, 1, 0, 0]


def test_padding_of_a_picture_with_alpha_is_transparent():
    padded = image_scale(flat([1, 1, 1, 1], 2, 6), width=6, height=6, fit="pad").image.numpy()
    assert padded[0, :, 0, 3].tolist() == [0, 0, 1, 1, 0, 0]


# Blending


def test_pictures_of_different_sizes_are_refused_with_both_sizes():
    with pytest.raises(BadValueError) as caught:
        image_blend(noise(1, 6, 8), noise(1, 7, 8))
    assert caught.value.problem.message == "the pictures have different sizes"
    assert caught.value.problem.got == "8x6 and 8x7"
    assert caught.value.problem.hint == "resize or crop one of them with ImageScale or ImageCrop"


def test_batches_of_different_lengths_are_refused():
    with pytest.raises(BadValueError, match=r"the batches have different lengths \(got 2 and 3\)"):
        image_blend(noise(2), noise(3))


@pytest.mark.parametrize("amount", [-0.1, 1.1, "half"])
def test_an_amount_out_of_range_is_a_problem(amount, plain):
    put(plain, "cat.png")
    with pytest.raises(WorkflowError):
        run_node(plain, "ImageBlend", {"a": edge("load"), "b": edge("load"), "amount": amount})


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("normal", [0.5, 0.25, 1]),
        ("multiply", [0.125, 0.1875, 0.5]),
        ("screen", [0.625, 0.8125, 1]),
        ("overlay", [0.25, 0.625, 1]),
        ("difference", [0.25, 0.5, 0.5]),
    ],
)
def test_each_mode_follows_its_formula(mode, expected):
    a, b = flat([0.25, 0.75, 0.5]), flat([0.5, 0.25, 1])
    assert np.allclose(image_blend(a, b, 1, mode).numpy(), expected)
    assert np.allclose(image_blend(a, b, 0.5, mode).numpy(), (a.numpy() + np.float32(expected)) / 2)
    assert np.array_equal(image_blend(a, b, 0, mode).numpy(), a.numpy())


def test_one_picture_mixes_with_each_of_a_batch():
    one, batch = noise(1, seed=1), noise(3, seed=2)
    expected = (one.numpy() + batch.numpy()) / 2
    for result in (image_blend(one, batch), image_blend(batch, one)):
        assert np.allclose(result.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["normal", "multiply", "screen", "overlay", "difference"])
def test_an_opaque_alpha_changes_no_colour(mode):
    a, b = noise(seed=1), noise(seed=2)
    with_alpha = Image(np.concatenate([a.numpy(), np.ones((1, 6, 8, 1))], axis=3))
    result = image_blend(with_alpha, b, 0.3, mode).numpy()
    assert np.allclose(result[..., :3], image_blend(a, b, 0.3, mode).numpy(), atol=1e-6)
    assert np.allclose(result[..., 3], 1)


@pytest.mark.parametrize("amount", [0.5, 1.0])
def test_nothing_laid_over_a_picture_changes_nothing(amount):
    opaque = flat([0.2, 0.4, 0.6, 1])
    assert np.array_equal(image_blend(opaque, flat([1, 0, 0, 0]), amount).numpy(), opaque.numpy())
    assert np.array_equal(
        image_blend(flat([0.2, 0.4, 0.6]), flat([1, 0, 0, 0]), amount).numpy(), opaque.numpy()[..., :3]
    )


LEVELS = st.floats(0, 1, width=32)
BLENDS = {  # W3C Compositing and Blending Level 1, 10.1: B(cb, cs)
    "normal": lambda cb, cs: cs,
    "multiply": lambda cb, cs: cb * cs,
    "screen": lambda cb, cs: cb + cs - cb * cs,
    "overlay": lambda cb, cs: 2 * cb * cs if cb <= 0.5 else 2 * cb - 1 + cs - (2 * cb - 1) * cs,
    "difference": lambda cb, cs: abs(cb - cs),
}


@pytest.mark.parametrize("mode", BLENDS)
@settings(max_examples=60, deadline=None)
@given(cb=LEVELS, ab=LEVELS, cs=LEVELS, source=LEVELS, amount=LEVELS)
def test_alpha_follows_the_standard_in_every_mode(mode, cb, ab, cs, source, amount):
    alpha_s = source * amount
    cs_mixed = (1 - ab) * cs + ab * BLENDS[mode](cb, cs)  # 10, "mixing"
    alpha = alpha_s + ab * (1 - alpha_s)  # 9.1.4, source-over
    colour = (alpha_s * cs_mixed + ab * cb * (1 - alpha_s)) / alpha if alpha > 1e-3 else None
    found = image_blend(flat([cb] * 3 + [ab], 1, 1), flat([cs] * 3 + [source], 1, 1), amount, mode).numpy()[0, 0, 0]
    assert found[3] == pytest.approx(alpha, abs=1e-5)
    assert colour is None or found[0] == pytest.approx(colour, abs=2e-4)


# A mask that goes along


def thing(height, width, x, y, wide, high):
    """A white rectangle on black, and its mask."""
    pixels = np.zeros((1, height, width, 3), np.float32)
    pixels[:, y : y + high, x : x + wide] = 1
    return Image(pixels), Mask(pixels[..., 0])


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(8, 80), st.integers(8, 80)),
    new=st.tuples(st.integers(4, 80), st.integers(4, 80)),
    fit=st.sampled_from(["stretch", "fit", "fill", "pad"]),
    method=st.sampled_from(["bilinear", "nearest"]),
    box=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_a_mask_follows_its_picture_through_every_fit(size, new, fit, method, box):
    x, y = int(box[0] * (size[1] - 1)), int(box[1] * (size[0] - 1))
    wide, high = 1 + int(box[2] * (size[1] - x - 1)), 1 + int(box[3] * (size[0] - y - 1))
    image, mask = thing(*size, x=x, y=y, wide=wide, high=high)
    pixels, levels = image_scale(image, *new, method=method, fit=fit, mask=mask)
    assert np.array_equal(pixels.numpy()[..., 0], levels.numpy())


@pytest.mark.parametrize("method", METHODS)
def test_a_mask_of_a_scaled_picture_lies_on_what_it_was_for(method):
    image, mask = thing(600, 1000, 250, 200, 100, 100)
    pixels, levels = image_scale(image, 512, 512, method=method, fit="fill", mask=mask)
    here, there = pixels.numpy()[0, ..., 0] > 0.5, levels.numpy()[0] > 0.5
    assert (here & there).sum() / (here | there).sum() > 0.97
    assert levels.numpy()[0, :, 200:].max() == 0  # no ringing


def test_a_mask_of_another_size_is_brought_to_the_pictures_first():
    image, _ = thing(40, 80, 0, 0, 1, 1)
    levels = image_crop(image, 40, 0, 40, 40, mask=Mask(np.float32([[[0, 1]]]))).mask.numpy()
    assert levels.shape == (1, 40, 40)
    assert levels[0, :, 25:].min() == 1


def test_a_mask_is_cropped_with_its_picture():
    image, mask = thing(20, 30, 10, 5, 8, 6)
    pixels, levels = image_crop(image, 9, 4, 12, 10, mask)
    assert np.array_equal(pixels.numpy()[..., 0], levels.numpy())
    assert levels.numpy().sum() == 48
    assert not image_crop(image, 0, 0, 5, 5).mask.numpy().any()


# Cropping


@pytest.mark.parametrize("box", [(0, 0, 9, 6), (0, 0, 8, 7), (8, 0, 1, 1), (0, 6, 1, 1), (5, 5, 4, 1)])
def test_a_rectangle_outside_of_the_picture_is_refused(box):
    x, y, width, height = box
    with pytest.raises(BadValueError) as caught:
        image_crop(noise(1, 6, 8), *box)
    assert str(caught.value) == (
        f"the rectangle lies outside the picture (expected inside 8x6, got {width}x{height} at {x},{y})"
    )


def test_a_rectangle_is_cut_out_of_every_item(plain):
    put(plain, "cat.png", noise(1, 6, 8))
    result = run_node(plain, "ImageCrop", {"image": edge("load"), "x": 2, "y": 1, "width": 6, "height": 5})
    assert np.array_equal(result.numpy(), noise(1, 6, 8).numpy()[:, 1:6, 2:8])
    assert image_crop(noise(3), 0, 0, 8, 6).image.shape == (3, 6, 8, 3)


def test_a_read_only_value_is_never_written_to():
    image = noise(1, 6, 8, 4)
    before = image.numpy().copy()
    image_scale(image, factor=2), image_blend(image, image), image_crop(image, 0, 0, 2, 2), image_grid([image])
    assert np.array_equal(image.numpy(), before)
