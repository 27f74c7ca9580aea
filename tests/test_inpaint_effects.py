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


@pytest.mark.parametrize("soft", [False, True])
def test_the_picture_around_the_mask_stays_bit_for_bit(session: Session, two: Path, tmp_path: Path, soft: bool) -> None:
    mask = np.zeros((128, 128), np.float32)
    mask[27:101, 69:123] = 1  # across the latent's cells
    if soft:
        mask[:, :96] = mask[:, :96] * np.linspace(0, 1, 96)
    files = {"image": two, "mask": save(mask, tmp_path / "mask.png")}
    wanted = "a small red circle left of a large green square on a white background"
    found = session.run("inpaint", **files, prompt=wanted, seed=4, steps=STEPS)["image"].numpy()[0]
    before = np.asarray(Image.open(two), np.float32) / 255
    kept = np.asarray(Image.open(files["mask"])) == 0
    assert np.array_equal(found[kept], before[kept])
    assert np.abs(found - before)[mask == 1].max() > 0.2
    assert "green" in {o.colour for o in DETECTOR.read(found).objects}


def test_paint_in_a_transparent_hole_is_seen(session: Session, two: Path, tmp_path: Path) -> None:
    mask = np.zeros((128, 128), np.float32)
    mask[24:104, 66:126] = 1
    pixels = np.asarray(Image.open(two).convert("RGB"))
    hole = tmp_path / "hole.png"
    Image.fromarray(np.dstack([pixels, np.where(mask > 0, 0, 255).astype(np.uint8)])).save(hole)
    files = {"image": hole, "mask": save(mask, tmp_path / "mask.png")}
    for name in ("inpaint", "inpaint-detail"):
        (path,) = session.run(name, **files, prompt=TWO, seed=4, steps=3).files
        saved = Image.open(path)
        assert saved.mode == "RGBA"
        assert np.asarray(saved)[..., 3].min() == 255


def test_a_picture_goes_on_beyond_its_edge(session: Session, two: Path) -> None:
    found = session.run("outpaint", image=two, prompt=TWO, seed=4, steps=STEPS, feather=8)["image"].numpy()[0]
    before = np.asarray(Image.open(two), np.float32) / 255
    assert found.shape == (128, 192, 3)
    assert np.array_equal(found[:, : 128 - 8], before[:, : 128 - 8])
    assert np.abs(found[:, :104] - before[:, :104]).mean() < 0.05
    assert abs(np.median(found[:, 140:], (0, 1)) - np.median(before, (0, 1))).max() < 0.1
