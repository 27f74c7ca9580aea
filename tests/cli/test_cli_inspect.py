"""`loom inspect`: what a picture file says, and whether it is as it was saved."""

import json

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo


@pytest.fixture
def saved(loom, tmp_path):
    def run(*flags):
        loom("run", "txt2img", "--steps", "1", "--seed", "7", "--out", tmp_path / "out", "--device", "cpu", *flags)
        return max((tmp_path / "out").iterdir())

    return run


def rows(text):
    return dict(line.split("  ", 1) for line in (row.replace("\t", " ") for row in text.splitlines()[1:]))


def test_a_generated_picture_tells_what_made_it(loom, saved):
    code, out, _ = loom("inspect", saved())
    found = {name: text.strip() for name, text in rows(out).items()}
    assert code == 0
    assert found["origin"] == "made by a generative model"
    assert found["digital source type"] == "trainedAlgorithmicMedia"
    assert found["GB 45438"] == "generated, by Latentloom"
    assert found["intact"] == "yes: the file is as it was saved"
    assert found["workflow"] == "'Text to image', 7 nodes"
    assert (found["seed"], found["models"][:8]) == ("7", "shapes (")


def test_a_changed_picture_is_told(loom, saved):
    path = saved()
    path.write_bytes(path.read_bytes() + b"more")
    _, out, _ = loom("inspect", path, "--json")
    assert (json.loads(out)["origin"], json.loads(out)["intact"]) == ("trainedAlgorithmicMedia", False)


def test_a_label_that_was_left_out_is_told_by_the_record(loom, saved):
    _, out, _ = loom("inspect", saved("--no-label"))
    assert "unknown: the file does not say" in out
    assert "left out with --no-label" in out
    assert "GB 45438" not in out


def test_the_label_stays_when_workflow_and_record_are_left_out(loom, saved):
    _, out, _ = loom("inspect", saved("--no-metadata"), "--json")
    found = json.loads(out)
    assert (found["origin"], found["workflow"], found["intact"]) == ("trainedAlgorithmicMedia", None, True)


def test_a_picture_of_another_program_tells_its_texts(loom, tmp_path):
    info = PngInfo()
    info.add_text("parameters", "a cat")
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    _, out, _ = loom("inspect", tmp_path / "a.png")
    assert "unknown: the file contains no checksum" in out
    assert "parameters (5 characters)" in out


def test_what_is_no_picture_is_an_error(loom, tmp_path):
    (tmp_path / "a.png").write_bytes(b"nothing")
    assert loom("inspect", tmp_path / "a.png")[0] == 2
    assert loom("inspect", tmp_path / "none.png")[2].startswith("missing_file: there is no picture ")
