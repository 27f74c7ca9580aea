"""The embedded edge ControlNet, which was trained on the embedded model: the picture follows the edges."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentloom.api import Session
from latentloom.engine.settings import load_settings
from latentloom.training.detector import Detector
from latentloom.training.pictures import Painter
from latentloom.training.scenes import Scene, Thing

DETECTOR = Detector()
DRAWN = [
    Scene((Thing("circle", "blue", "large"),), "on the left", "white"),
    Scene((Thing("square", "red", "large"),), "on the right", "black"),
    Scene((Thing("star", "red", "large"),), "at the top", "white"),
    Scene((Thing("cross", "green", "small"),), "at the bottom", "black"),
    Scene((Thing("triangle", "blue", "large"), Thing("square", "red", "small")), "left of", "white"),
    Scene((Thing("circle", "red", "small"), Thing("star", "blue", "large")), "above", "white"),
]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    home = tmp_path_factory.mktemp("home")
    with Session(load_settings({"device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(home)})) as made:
        yield made


def follows(session: Session, scene: Scene, folder: Path, strength: float) -> bool:
    """Whether a picture drawn after a scene's edges shows its shapes, sizes and places, in the colour asked for."""
    path = folder / "drawn.png"
    Image.fromarray(Painter().paint(scene, np.random.default_rng(1))).save(path)
    words = " and ".join(f"a yellow {thing.shape}" for thing in scene.things)
    found = session.run("edges", image=path, prompt=words, strength=strength, seed=3, steps=14)["image"].numpy()[0]
    yellow = Scene(tuple(Thing(thing.shape, "yellow", thing.size) for thing in scene.things), scene.place, "white")
    report = DETECTOR.judge(found, yellow)
    return report.shape and report.colour and report.size and report.place


def test_a_picture_follows_the_edges_and_the_colour_the_words(session: Session, tmp_path: Path) -> None:
    assert sum(follows(session, scene, tmp_path, 1.0) for scene in DRAWN) >= 5
    assert sum(follows(session, scene, tmp_path, 0.0) for scene in DRAWN) <= 1


def test_at_strength_zero_the_edges_change_nothing(session: Session, tmp_path: Path) -> None:
    words, runs = "a small red square on a white background", {"seed": 2, "steps": 6}
    path = tmp_path / "drawn.png"
    Image.fromarray(Painter().paint(DRAWN[0], np.random.default_rng(1))).save(path)
    silent = session.run("edges", image=path, prompt=words, strength=0.0, **runs)["image"].numpy()
    plain = session.run("txt2img", prompt=words, **runs)["image"].numpy()
    followed = session.run("edges", image=path, prompt=words, **runs)["image"].numpy()
    assert np.array_equal(silent, plain)
    assert not np.array_equal(followed, plain)
