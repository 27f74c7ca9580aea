from itertools import islice

import numpy as np
import pytest

from latentloom.training import scenes
from latentloom.training.scenes import Scene, Thing, Wording, caption, draw_wording, held_out, training_scenes, words

RED = Thing("circle", "red", "large")
BLUE = Thing("square", "blue", "small")
ORANGE = Thing("star", "orange", "small")


@pytest.mark.parametrize(
    ("scene", "wording", "said"),
    [
        (Scene((RED,), "at the top", "white"), Wording(), "a large red circle at the top on a white background"),
        (
            Scene((RED, BLUE), "above", "white"),
            Wording(),
            "a large red circle above a small blue square on a white background",
        ),
        (Scene((RED,), "at the top", "white"), Wording((False, False), False, False), "a red circle"),
        (
            Scene((ORANGE,), "on the left", "gray"),
            Wording((False, False), background=False),
            "an orange star on the left",
        ),
        (
            Scene((RED, BLUE), "above", "gray"),
            Wording(place=False, background=False, article=False),
            "large red circle and small blue square",
        ),
        (
            Scene((RED,), "at the top", "gray"),
            Wording(commas=True),
            "a large red circle, at the top, on a gray background",
        ),
    ],
)
def test_a_caption_says_what_the_wording_asks_for(scene: Scene, wording: Wording, said: str) -> None:
    assert caption(scene, wording) == said


def test_captions_use_only_the_words_of_the_grammar() -> None:
    rng, known = np.random.default_rng(0), set(words())
    for scene in islice(training_scenes(rng), 2000):
        assert set(caption(scene, draw_wording(rng)).replace(",", " ,").split()) <= known


def test_training_never_draws_a_held_out_combination() -> None:
    drawn = list(islice(training_scenes(np.random.default_rng(1)), 5000))
    assert not any(held_out(scene) for scene in drawn)
    assert {len(scene.things) for scene in drawn} == {1, 2}


def test_test_scenes_are_held_out_different_and_the_same_each_time() -> None:
    for count in (1, 2):
        found = scenes.test_scenes(3, count, 100)
        assert all(held_out(scene) and len(scene.things) == count for scene in found)
        assert len(set(found)) == 100
        assert found == scenes.test_scenes(3, count, 100)


def test_both_ways_of_saying_a_picture_are_held_out_together() -> None:
    for scene in scenes.test_scenes(4, 2, 100):
        assert held_out(Scene(scene.things[::-1], scenes.OPPOSITES[scene.place], "black"))


def test_one_combination_in_eight_is_held_out() -> None:
    rng = np.random.default_rng(5)
    share = np.mean([held_out(scenes.draw_scene(rng, 2)) for _ in range(4000)])
    assert 0.10 < share < 0.15
