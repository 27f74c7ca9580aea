from itertools import islice

import numpy as np

from latentloom.training.pictures import SIDE, Painter, places
from latentloom.training.scenes import BACKGROUNDS, COLOURS, SIZES, Scene, Thing, training_scenes

SCENE = Scene((Thing("circle", "red", "large"), Thing("cross", "cyan", "small")), "left of", "brown")


def test_a_picture_depends_on_the_seed_alone() -> None:
    first, again = (Painter().paint(SCENE, np.random.default_rng(3)) for _ in range(2))
    other = Painter().paint(SCENE, np.random.default_rng(4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_picture_has_the_colours_of_its_scene() -> None:
    picture = Painter().paint(SCENE, np.random.default_rng(0))
    (x0, y0), (x1, y1) = places(SCENE, np.random.default_rng(0))
    assert picture.shape == (SIDE, SIDE, 3)
    assert picture.dtype == np.uint8
    assert tuple(picture[y0, x0]) == COLOURS["red"]
    assert tuple(picture[y1, x1]) == COLOURS["cyan"]
    assert tuple(picture[0, 0]) == BACKGROUNDS["brown"]


def test_two_objects_never_touch_and_stay_inside() -> None:
    rng = np.random.default_rng(6)
    for scene in islice(training_scenes(rng, two=1.0), 500):
        centres = places(scene, rng)
        reach = [1.05 * SIZES[thing.size] for thing in scene.things]
        gaps = [abs(a - b) - sum(reach) for a, b in zip(*centres, strict=True)]
        assert max(gaps) >= 3
        assert all(r <= value <= SIDE - r for centre, r in zip(centres, reach, strict=True) for value in centre)
