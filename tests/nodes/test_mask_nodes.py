"""Masks out of pictures: 1 is repainted, 0 is kept."""

import numpy as np
import pytest

from latentloom.engine import Image, Mask
from latentloom.engine.errors import BadValueError, NodeError
from latentloom.engine.files.pictures import encode_png
from latentloom.nodes.mask import invert_mask, mask_from_alpha

PIXELS = np.float32([[[1, 0, 0, 1], [0, 1, 0, 0.2]], [[0, 0, 1, 0.6], [1, 1, 1, 0]]])


def put(session, pixels=PIXELS, name="mask.png"):
    session.settings.input.mkdir(exist_ok=True)
    (session.settings.input / name).write_bytes(encode_png(pixels))


def document(**inputs):
    return {
        "format": "latentloom/1",
        "nodes": {"load": {"type": "LoadMask", "inputs": {"image": "mask.png", **inputs}}},
        "outputs": [{"name": "mask", "from": {"node": "load", "output": "mask"}}],
    }


def test_an_alpha_channel_that_is_not_there_is_told(plain):
    put(plain, PIXELS[..., :3])
    with pytest.raises(NodeError) as caught:
        plain.run(document(channel="alpha"))
    assert str(caught.value) == (
        "node 'load': LoadMask: 'mask.png' has no alpha channel\n"
        "  hint: choose the channel luminance for a black and white mask"
    )


def test_a_file_that_is_no_picture_is_told(plain):
    put(plain)
    (plain.settings.input / "mask.png").write_bytes(b"nothing")
    with pytest.raises(NodeError, match=r"LoadMask: 'mask\.png' is not a picture that can be read"):
        plain.run(document())


@pytest.mark.parametrize(("name", "value"), [("channel", "yellow"), ("invert", "yes"), ("image", "../mask.png")])
def test_a_value_that_is_not_offered_is_a_problem(name, value, plain):
    put(plain)
    assert [(p.node, p.input) for p in plain.validate(document(**{name: value}))] == [("load", name)]


def test_a_missing_mask_is_a_problem_with_the_nearest_name(plain):
    put(plain)
    (problem,) = plain.validate(document(image="masks.png"))
    assert (problem.code, problem.nearest) == ("missing_file", "mask.png")


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        ("alpha", [[0, 0.8], [0.4, 1]]),
        ("red", [[1, 0], [0, 1]]),
        ("green", [[0, 1], [0, 1]]),
        ("blue", [[0, 0], [1, 1]]),
        ("luminance", [[0.2126, 0.7152], [0.0722, 1]]),
    ],
)
@pytest.mark.parametrize("invert", [False, True])
def test_each_channel_becomes_a_mask(channel, expected, invert, plain):
    put(plain)
    mask = plain.run(document(channel=channel, invert=invert))["mask"]
    assert mask.shape == (1, 2, 2)
    assert np.allclose(mask.numpy()[0], 1 - np.float32(expected) if invert else expected, atol=1e-6)


def test_brightness_is_read_when_nothing_is_said(plain):
    put(plain)
    assert np.array_equal(
        plain.run(document())["mask"].numpy(), plain.run(document(channel="luminance"))["mask"].numpy()
    )


def test_white_stays_within_the_range_of_a_mask(plain):
    put(plain, np.ones((50, 50, 3), np.float32))
    assert plain.run(document())["mask"].numpy().min() > 0.99999


def test_transparency_of_every_item_becomes_a_mask():
    batch = Image(np.stack([PIXELS, 1 - PIXELS]))
    assert np.allclose(mask_from_alpha(batch).numpy(), [[[0, 0.8], [0.4, 1]], [[1, 0.2], [0.6, 0]]])


def test_a_picture_without_alpha_has_no_mask():
    with pytest.raises(BadValueError) as caught:
        mask_from_alpha(Image(PIXELS[None, ..., :3]))
    assert str(caught.value) == "the picture has no alpha channel (expected 4 channels (RGBA), got 3 (RGB))"


def test_the_mask_of_a_loaded_picture_is_that_of_its_alpha(plain):
    put(plain)
    nodes = {
        "load": {"type": "LoadImage", "inputs": {"image": "mask.png"}},
        "alpha": {"type": "MaskFromAlpha", "inputs": {"image": {"node": "load", "output": "image"}}},
    }
    outputs = [{"name": id, "from": {"node": id, "output": "mask"}} for id in nodes]
    run = plain.run({"format": "latentloom/1", "nodes": nodes, "outputs": outputs})
    assert np.array_equal(run["load"].numpy(), run["alpha"].numpy())


def test_a_mask_inverted_twice_is_itself():
    mask = Mask(np.float32([[[0, 1], [0.25, 0.5]]]))
    assert invert_mask(mask).numpy().tolist() == [[[1, 0], [0.75, 0.5]]]
    assert np.array_equal(invert_mask(invert_mask(mask)).numpy(), mask.numpy())
