from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from scipy import ndimage

from latentloom.training.detector import Detector, Floats
from latentloom.training.pictures import Painter
from latentloom.training.scenes import Scene, Thing, training_scenes

SCENE = Scene((Thing("circle", "red", "large"), Thing("square", "blue", "small")), "above", "white")


def paint(scene: Scene, seed: int = 0) -> Floats:
    return Painter().paint(scene, np.random.default_rng(seed)) / 255


def test_it_reads_drawn_pictures() -> None:
    rng, painter, detector = np.random.default_rng(8), Painter(), Detector()
    drawn = islice(training_scenes(rng), 1000)
    right = [detector.judge(painter.paint(scene, rng) / 255, scene).right for scene in drawn]
    assert np.mean(right) >= 0.995


def test_it_reads_blurred_pictures_with_specks() -> None:
    rng, painter, detector = np.random.default_rng(9), Painter(), Detector()
    right = []
    for scene in islice(training_scenes(rng), 200):
        picture = ndimage.gaussian_filter(painter.paint(scene, rng) / 255, (1, 1, 0))
        picture[2:7, 2:7] = 0.5
        right.append(detector.judge(np.clip(picture + rng.normal(0, 0.02, picture.shape), 0, 1), scene).right)
    assert np.mean(right) >= 0.98


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        (replace(SCENE, background="gray"), {"background"}),
        (replace(SCENE, place="below"), {"place"}),
        (replace(SCENE, place="left of"), {"place"}),
        (replace(SCENE, things=(replace(SCENE.things[0], size="small"), SCENE.things[1])), {"size"}),
        (replace(SCENE, things=(replace(SCENE.things[0], colour="pink"), SCENE.things[1])), {"colour"}),
        (replace(SCENE, things=(replace(SCENE.things[0], shape="star"), SCENE.things[1])), {"shape"}),
        (
            Scene(SCENE.things[:1], "in the center", "white"),
            {"count", "shape", "colour", "size", "place"},
        ),
    ],
)
def test_it_names_what_is_wrong(asked: Scene, wrong: set[str]) -> None:
    report = Detector().judge(paint(SCENE), asked)
    assert {name for name in report.__slots__ if not getattr(report, name)} == wrong
    assert not report.right


def test_two_touching_objects_of_different_colours_are_two() -> None:
    picture = np.ones((128, 128, 3))
    picture[40:88, 20:64] = (0.86, 0.12, 0.12)
    picture[40:88, 64:108] = (0.12, 0.24, 0.86)
    found = Detector().read(picture).objects
    assert sorted((one.colour, one.shape) for one in found) == [("blue", "square"), ("red", "square")]


def test_a_shapeless_blob_has_no_shape() -> None:
    picture = np.ones((128, 128, 3))
    picture[20:108, 60:70] = (0.86, 0.12, 0.12)
    assert [one.shape for one in Detector().read(picture).objects] == [""]


def test_a_bare_background_holds_nothing() -> None:
    reading = Detector().read(np.full((128, 128, 3), 0.5))
    assert (reading.background, reading.objects) == ("gray", ())
