"""Prompts with weights, times and regions, measured in the pixels that the embedded model makes."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from latentloom.api import Session
from latentloom.engine.document.workflow import Target
from latentloom.engine.settings import load_settings
from latentloom.training.detector import Detector

DETECTOR = Detector()
BATCH, STEPS = 6, 14


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    home = tmp_path_factory.mktemp("home")
    with Session(load_settings({"device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(home)})) as made:
        yield made


def pictures(session: Session, workflow: str = "txt2img", grammar: str = "a1111", **inputs: Any) -> np.ndarray:
    values = {"cfg": 3.0, "seed": 10, "steps": STEPS, **inputs}
    settings = {Target("empty", "batch"): BATCH}
    if workflow == "txt2img":
        settings |= {Target("positive", "grammar"): grammar}
    held = session.run_job(session.prepare(workflow, values, settings, ["image"]))
    return held.outputs["image"].numpy()


def found(pixels: np.ndarray) -> Counter[tuple[str, str]]:
    """How many pictures show an object of that colour and shape."""
    return Counter(thing for one in pixels for thing in {(o.colour, o.shape) for o in DETECTOR.read(one).objects})


def redness(pixels: np.ndarray) -> float:
    """How much redder than blue the middle is."""
    middle = pixels[:, 40:88, 40:88]
    return float((middle[..., 0] - middle[..., 2]).mean())


@pytest.mark.parametrize("grammar", ["a1111", "comfyui"])
def test_a_weight_moves_the_colour(session: Session, grammar: str) -> None:
    prompt = "a large blue (red:{}) circle in the center on a white background"
    scores = [redness(pictures(session, prompt=prompt.format(weight), grammar=grammar)) for weight in (0.5, 1, 1.5, 2)]
    assert scores == sorted(scores)
    assert scores[2] > scores[1] + 0.005
    assert scores[3] > scores[0] + 0.05


def test_a_prompt_that_changes_early_gives_the_second_thing_and_late_the_first(session: Session) -> None:
    prompt = "a large [red circle:blue square:{}] in the center on a white background"
    early, late = (found(pictures(session, prompt=prompt.format(when))) for when in (1, STEPS - 1))
    assert early[("blue", "square")] >= BATCH - 2
    assert late[("red", "circle")] >= BATCH - 2


def test_turns_mix_two_things(session: Session) -> None:
    one, other, turns = (
        pictures(session, prompt=f"a large {what} in the center on a white background")
        for what in ("red circle", "blue circle", "[red|blue] circle")
    )
    assert redness(other) + 0.1 < redness(turns) < redness(one) - 0.1


def test_each_half_follows_the_prompt_that_rules_it(session: Session) -> None:
    seen = found(pictures(session, "regions"))
    assert seen[("red", "circle")] >= BATCH - 2
    assert seen[("green", "square")] >= BATCH - 2
    assert seen[("blue", "square")] + seen[("yellow", "circle")] <= 1


def edited(session: Session, source: str, edit: str, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of a prompt, and what an edited one makes of them."""
    values = {"source": source, "edited": edit, "cfg": 2.0, "seed": 10, "steps": 12}
    settings = {
        Target("empty", "batch"): BATCH,
        Target("pair", "cross"): share,
        Target("pair", "self_attention"): share / 2,
    }
    held = session.run_job(session.prepare("prompt-to-prompt", values, settings, ["source", "edited"]))
    return held.outputs["source"].numpy(), held.outputs["edited"].numpy()


def in_place(sources: np.ndarray, edits: np.ndarray) -> list[Any]:
    """The object of each edit that stands where the only object of its source stands, on the same background."""
    kept = []
    for before, after in zip(map(DETECTOR.read, sources), map(DETECTOR.read, edits), strict=True):
        if before.background == after.background and len(before.objects) == len(after.objects) == 1:
            (old,), (new,) = before.objects, after.objects
            if abs(old.x - new.x) < 8 and abs(old.y - new.y) < 8:
                kept.append(new)
    return kept


@pytest.mark.parametrize(
    ("source", "edit"),
    [("a blue circle", "a purple circle"), ("a red circle", "a red square")],
    ids=["colour", "shape"],
)
def test_prompt_to_prompt_changes_the_word_and_keeps_the_layout(session: Session, source: str, edit: str) -> None:
    _, colour, shape = edit.split()
    held, free = (in_place(*edited(session, source, edit, share)) for share in (0.8, 0.0))
    assert sum((o.colour, o.shape) == (colour, shape) for o in held) >= BATCH - 2
    assert len(held) >= len(free)
