"""Outpainting and crop-and-stitch with the embedded model, measured in pixels."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentloom.api import Session
from latentloom.engine.settings import load_settings
from latentloom.training.detector import Detector

DETECTOR = Detector()
STEPS = 14
TWO = "a small red circle left of a small blue square on a white background"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    home = tmp_path_factory.mktemp("home")
    with Session(load_settings({"device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(home)})) as made:
        yield made


def save(pixels: np.ndarray, path: Path) -> Path:
    Image.fromarray((pixels * 255 + 0.5).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def two(session: Session, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of a red circle on the left and a blue square on the right."""
    pixels = session.run("txt2img", prompt=TWO, seed=4, steps=20)["image"].numpy()[0]
    assert {o.colour for o in DETECTOR.read(pixels).objects} == {"red", "blue"}
    return save(pixels, tmp_path_factory.mktemp("pictures") / "two.png")


def test_a_part_is_repainted_and_the_rest_stays_bit_for_bit(session: Session, two: Path, tmp_path: Path) -> None:
    mask = np.zeros((128, 128), np.float32)
    mask[24:104, 66:126] = 1
    files = {"image": two, "mask": save(mask, tmp_path / "mask.png")}
    wanted = "a large green square in the center on a white background"
    found = session.run("inpaint-detail", **files, prompt=wanted, seed=4, steps=STEPS)["image"].numpy()[0]
    before = np.asarray(Image.open(two), np.float32) / 255
    assert np.array_equal(found[mask == 0], before[mask == 0])
    colours = {o.colour for o in DETECTOR.read(found).objects}
    assert "green" in colours
    assert "blue" not in colours


def test_a_picture_goes_on_beyond_its_edge(session: Session, two: Path) -> None:
    found = session.run("outpaint", image=two, prompt=TWO, seed=4, steps=STEPS, feather=8)["image"].numpy()[0]
    before = np.asarray(Image.open(two), np.float32) / 255
    assert found.shape == (128, 192, 3)
    assert np.abs(found[:, :104] - before[:, :104]).mean() < 0.05
    assert abs(np.median(found[:, 140:], (0, 1)) - np.median(before, (0, 1))).max() < 0.1
