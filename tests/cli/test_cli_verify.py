import json

import pytest
from PIL import Image as Pil
from PIL.PngImagePlugin import PngImageFile, PngInfo

from latentloom.cli.verify import differing
from latentloom.engine.files.pictures import RECORD_CHUNK, WORKFLOW_CHUNK


@pytest.fixture
def made(loom, workflow, tmp_path):
    """A function that runs a workflow of one drawing node and gives the path of its picture."""

    def make(type="toy/Paint", **inputs):
        edge = {"node": "draw", "output": "image"}
        path = workflow({"draw": (type, inputs), "save": ("toy/Save", {"image": edge})}, name="drawn")
        assert loom("run", path, "--out", tmp_path / "out")[0] == 0
        return tmp_path / "out" / "drawn-00001.png"

    return make


def altered(path, change=lambda picture: None, record=None):
    """Save the picture again with other pixels or another record."""
    with PngImageFile(path) as picture:
        texts = dict(picture.text)
        copy = picture.convert("RGB")
    copy = change(copy) or copy
    info = PngInfo()
    info.add_itxt(WORKFLOW_CHUNK, texts[WORKFLOW_CHUNK])
    info.add_itxt(RECORD_CHUNK, json.dumps({**json.loads(texts[RECORD_CHUNK]), **(record or {})}))
    copy.save(path, pnginfo=info)


def test_a_picture_that_is_not_there(loom, tmp_path):
    assert loom("verify", tmp_path / "x.png")[0] == 2


def test_a_picture_without_a_workflow(loom, tmp_path):
    Pil.new("RGB", (2, 2)).save(tmp_path / "x.png")
    code, _, err = loom("verify", tmp_path / "x.png")
    assert (code, err.splitlines()[0]) == (2, "bad_file: 'x.png' contains no workflow")


def test_a_picture_without_a_usable_record(loom, made):
    path = made()
    altered(path, record={"node": None})
    assert loom("verify", path)[2] == "bad_file: 'drawn-00001.png' contains no record of how it was made\n"


def test_a_record_of_a_node_that_saves_nothing(loom, made):
    path = made()
    altered(path, record={"node": "other"})
    code, _, err = loom("verify", path)
    assert (code, err) == (3, "failed: the run saved no picture 0 of the node 'other' (got 1 files)\n")


def test_the_same_pixels(loom, made, tmp_path):
    path = made(seed=3)
    assert loom("verify", path) == (0, "identical\n", "")
    assert [item.name for item in (tmp_path / "out").iterdir()] == ["drawn-00001.png"]


def test_one_pixel(loom, made):
    path = made(seed=3)

    def change(picture):
        red, green, blue = picture.getpixel((1, 1))
        picture.putpixel((1, 1), (red, green, (blue + 128) % 256))

    altered(path, change)
    code, out, _ = loom("verify", path)
    assert (code, out) == (1, "different: 1 of 32 pixels differ, largest difference 128/255, mean 1.333/255\n")


def test_another_size(loom, made):
    path = made(seed=3)
    altered(path, lambda picture: picture.resize((4, 4)))
    code, out, _ = loom("verify", path)
    assert (code, out) == (1, "different size: recorded 4x4 with 3 channels, now 8x4 with 3 channels\n")


def test_the_cache_is_not_asked(loom, made):
    code, out, _ = loom("verify", made("toy/Drift", width=64))
    assert (code, out.startswith("different: ")) == (1, True)


def test_other_versions_and_models_are_listed(loom, made):
    path = made(seed=3)
    altered(path, record={"torch": "1.0", "models": {"m": "00"}})
    code, out, _ = loom("verify", path)
    lines = out.splitlines()
    assert (code, lines[0], lines[2]) == (0, "identical", "model 'm': recorded sha256 00, now None")
    assert lines[1].startswith("torch: recorded 1.0, now ")


def test_the_recorded_dtype_is_used(loom, made, monkeypatch):
    monkeypatch.setenv("LATENTLOOM_DTYPE", "fp16")
    path = made(seed=3)
    monkeypatch.setenv("LATENTLOOM_DTYPE", "fp32")
    assert loom("verify", path) == (0, "identical\n", "")


def test_a_like_record_has_no_differences():
    record = {"torch": "2", "dtype": "fp32", "models": {"a": "1"}}
    assert differing(record, dict(record)) == []
