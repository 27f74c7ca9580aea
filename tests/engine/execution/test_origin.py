"""Which pictures of a run are labelled as generated, which as composites, and which not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latentloom.api import Session
from latentloom.engine.files.labels import COMPOSITE, GENERATED, label_of
from latentloom.engine.files.pictures import read_making
from latentloom.engine.settings import load_settings

SETTINGS = {"device": "cpu", "dtype": "fp32"}


@pytest.fixture
def session(tmp_path: Path) -> Any:
    with Session(load_settings(SETTINGS, {"LATENTLOOM_HOME": str(tmp_path)})) as made:
        made.settings.input.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), "red").save(made.settings.input / "photo.png")
        yield made


def resized(name: str) -> dict[str, Any]:
    return {
        "format": "latentloom/1",
        "nodes": {
            "load": {"type": "LoadImage", "inputs": {"image": name}},
            "small": {"type": "ImageScale", "inputs": {"image": {"node": "load", "output": "image"}, "factor": 0.5}},
            "save": {"type": "SaveImage", "inputs": {"images": {"node": "small", "output": "image"}}},
        },
    }


def origin(result: Any) -> Any:
    """The label of the one saved picture, which is also in its record."""
    (path,) = result.files
    found = label_of(path).origin
    assert read_making(path)[1]["label"] == found
    return found


def test_a_picture_from_words_is_generated_and_stays_so_when_it_is_used_again(session: Session) -> None:
    made = session.run("txt2img", steps=1)
    assert origin(made) == GENERATED
    (session.settings.input / "made.png").write_bytes(Path(made.files[0]).read_bytes())
    assert origin(session.run(resized("made.png"))) == GENERATED
    assert origin(session.run("img2img", image="made.png", steps=1)) == GENERATED


def test_a_picture_of_the_user_makes_a_composite(session: Session) -> None:
    assert origin(session.run("img2img", image="photo.png", steps=1)) == COMPOSITE


def test_a_picture_that_no_model_touched_has_no_label(session: Session) -> None:
    assert origin(session.run(resized("photo.png"))) is None


def test_a_node_that_runs_for_each_item_labels_its_pictures(session: Session) -> None:
    document = json.loads(Path("workflows/txt2img.json").read_text(encoding="utf-8"))
    document["inputs"] = []
    document["nodes"]["positive"]["inputs"]["text"] = "a circle"
    document["nodes"]["sample"]["inputs"] |= {"steps": 1, "seed": [1, 2]}
    for name, listed in {"sample": "seed", "decode": "latent", "save": "images"}.items():
        document["nodes"][name]["each"] = [listed]
    assert {label_of(Path(file)).origin for file in session.run(document).files} == {GENERATED}


def test_without_labels_the_record_says_so_and_the_pixels_are_the_same(session: Session, tmp_path: Path) -> None:
    (labelled,) = session.run("txt2img", steps=1, seed=1).files
    with Session(load_settings(SETTINGS, {"LATENTLOOM_HOME": str(tmp_path)}), label=False) as plain:
        (bare,) = plain.run("txt2img", steps=1, seed=1).files
    assert label_of(bare).origin is None
    assert read_making(bare)[1]["label"] == "left out"
    assert np.array_equal(Image.open(bare), Image.open(labelled))
