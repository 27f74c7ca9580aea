"""Saved pictures in every form: what they hold, and what they carry."""

import io
import json

import numpy as np
import pytest
from PIL import Image as Pil

from latentloom.engine.errors import BadValueError
from latentloom.engine.files.colour_profiles import srgb_profile
from latentloom.engine.files.encoding import SUFFIXES, PictureToSave, encode
from latentloom.engine.files.pictures import (
    RECORD_CHUNK,
    WORKFLOW_CHUNK,
    picture_size,
    picture_suffix,
    read_making,
    read_pixels,
)

FORMS = list(SUFFIXES)
TEXTS = {WORKFLOW_CHUNK: '{"name": "Grüße 円"}', RECORD_CHUNK: json.dumps({"seed": 7})}


def smooth(channels=3):
    """A picture that lossy files hold well."""
    y, x = np.mgrid[0:1:40j, 0:1:60j].astype(np.float32)
    return np.stack([x, y, (x + y) / 2, 1 - y / 2][:channels], axis=-1)


@pytest.fixture
def saved(tmp_path):
    def write(pixels, form="png", quality=90, texts=TEXTS):
        path = tmp_path / f"picture{SUFFIXES[form]}"
        path.write_bytes(encode(PictureToSave(pixels, form, quality), texts))
        return path

    return write


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("channels", [3, 4])
def test_every_form_reads_as_it_was_written(form, channels, saved):
    pixels = smooth(channels)
    found = read_pixels(saved(pixels, form)).pixels
    if form == "jpeg" and channels == 4:
        pixels = 1 + (pixels[..., :3] - 1) * pixels[..., 3:]  # on white
    steps = {"png 16 bits": 65535, "png": 255, "webp lossless": 255}.get(form)
    assert np.abs(found - pixels).max() < (0.51 / steps if steps else 0.08)
    assert found.shape == pixels.shape


@pytest.mark.parametrize("form", FORMS)
def test_every_form_carries_its_making_and_its_profile(form, saved):
    path = saved(smooth(), form)
    assert read_making(path) == ('{"name": "Grüße 円"}', {"seed": 7})
    assert Pil.open(path).info["icc_profile"] == srgb_profile()
    assert picture_suffix(path.read_bytes()) == path.suffix
    assert picture_size(path.read_bytes()) == (60, 40)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("length", [59_000, 3_000_000])
def test_a_large_workflow_finds_room_in_every_form(form, length, saved):
    words = [f"n{number:x}" for number in range(length // 8)]
    text = json.dumps({"name": " ".join(words)[: length if form != "jpeg" else min(length, 120_000)]})
    path = saved(smooth(), form, texts={WORKFLOW_CHUNK: text})
    assert read_making(path) == (text, {})


@pytest.mark.parametrize("form", FORMS)
def test_a_picture_without_texts_carries_none(form, saved):
    path = saved(smooth(), form, texts={})
    assert WORKFLOW_CHUNK not in path.read_bytes().decode("latin-1")
    assert b"Latentloom" not in path.read_bytes()


@pytest.mark.parametrize("form", ["jpeg", "webp", "avif"])
def test_quality_has_its_price(form):
    noise = np.random.default_rng(0).random((64, 64, 3), np.float32)
    sizes = [len(encode(PictureToSave(noise, form, quality), {})) for quality in (10, 50, 95)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2] / 2


@pytest.mark.parametrize("form", FORMS)
def test_the_same_picture_has_the_same_bytes(form):
    picture = PictureToSave(smooth(), form)
    assert encode(picture, TEXTS) == encode(picture, TEXTS)


def test_sixteen_bits_hold_what_eight_do_not(saved):
    pixels = np.linspace(0.5, 0.51, 60, dtype=np.float32)[None, :, None].repeat(3, -1)
    assert len(np.unique(read_pixels(saved(pixels, "png 16 bits")).pixels)) == 60
    assert len(np.unique(read_pixels(saved(pixels, "png")).pixels)) < 5
    assert Pil.open(io.BytesIO(encode(PictureToSave(pixels, "png 16 bits"), {}))).size == (60, 1)


def test_a_workflow_that_no_jpeg_has_room_for_is_refused_in_words():
    text = np.random.default_rng(0).bytes(90_000).hex()
    with pytest.raises(BadValueError) as caught:
        encode(PictureToSave(smooth(), "jpeg"), {WORKFLOW_CHUNK: text})
    assert caught.value.problem.message == "the workflow is too large for a JPEG"
    assert caught.value.problem.hint == "choose another format, or --no-metadata"
