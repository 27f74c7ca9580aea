"""The embedded flow-matching model as an instrument: right captions by sampler and schedule."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latentloom.api import Session
from latentloom.engine.settings import load_settings
from latentloom.nodes.diffusion.advice import FOR_WIDE_SIGMAS
from latentloom.nodes.diffusion.samplers import SAMPLERS, SCHEDULES
from latentloom.training.detector import Detector
from latentloom.training.scenes import Scene, Thing, caption
from latentloom.training.scenes import test_scenes as held_out_scenes

TWO = Scene((Thing("circle", "red", "large"), Thing("square", "blue", "small")), "above", "white")
ONE = Scene((Thing("star", "yellow", "large"),), "in the center", "black")
DETECTOR = Detector()


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    home = tmp_path_factory.mktemp("home")
    with Session(load_settings({"device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(home)})) as made:
        yield made


def suiting(sampler: str) -> dict[str, Any]:
    """Return what a sampler needs. CFG++ counts on a scale of about 1."""
    return {"sampler": sampler, "cfg": 1.0 if sampler.endswith("cfg_pp") else 2.0}


def right(session: Session, scene: Scene, **inputs: Any) -> int:
    """How many of four pictures are what the caption says."""
    given = {"prompt": caption(scene), "seed": 10, "batch": 4, "steps": 12, **inputs}
    pictures = session.run("flow", **given)["image"].numpy()
    return sum(DETECTOR.judge(pixels, scene).right for pixels in pictures)


@pytest.mark.parametrize("name", [name for name, _, _ in SAMPLERS])
def test_every_sampler_makes_the_picture_that_was_asked_for(session: Session, name: str) -> None:
    assert right(session, ONE, **suiting(name)) >= 3


@pytest.mark.parametrize(
    "name", [name for name in SCHEDULES if name not in FOR_WIDE_SIGMAS and not name.startswith("ays_")]
)
def test_every_schedule_for_flows_makes_the_picture_that_was_asked_for(session: Session, name: str) -> None:
    assert right(session, TWO, schedule=name) >= 3


@pytest.mark.full
@pytest.mark.parametrize("sampler", [name for name, _, _ in SAMPLERS])
@pytest.mark.parametrize("schedule", ["simple", "beta", "normal", "sgm_uniform"])
def test_held_out_captions_are_right(session: Session, sampler: str, schedule: str) -> None:
    scenes = held_out_scenes(1000, 1, 10) + held_out_scenes(1000, 2, 10)
    given = {"steps": 20, **suiting(sampler), "schedule": schedule, "batch": 1}
    found = [right(session, scene, **given) for scene in scenes]
    assert sum(found) >= 15


def test_a_picture_is_changed_and_kept_by_strength(session: Session, tmp_path: Path) -> None:
    pixels = session.run("flow", prompt=caption(ONE), seed=10)["image"].numpy()[0]
    Image.fromarray((pixels * 255 + 0.5).astype(np.uint8)).save(tmp_path / "star.png")
    other = Scene((Thing("square", "blue", "large"),), "in the center", "white")
    given = {
        "image": tmp_path / "star.png",
        "prompt": caption(other),
        "checkpoint": "shapes-flow",
        "cfg": 2.0,
        "seed": 3,
    }
    for strength, scene in ((0.0, ONE), (1.0, other)):
        made = session.run("img2img", **given, sampler="euler", schedule="simple", strength=strength)["image"].numpy()[
            0
        ]
        assert DETECTOR.judge(made, scene).right
