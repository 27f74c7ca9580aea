"""The embedded model as an instrument: what workflows ask for is measured in the pixels that they make."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latentloom.api import Session
from latentloom.engine.document.workflow import Target
from latentloom.engine.events import Event, NodeWarning
from latentloom.engine.settings import load_settings
from latentloom.nodes.diffusion.samplers import SAMPLERS, SCHEDULES
from latentloom.training.detector import Detector, Reading
from latentloom.training.scenes import Scene, Thing, caption

RED_CIRCLE = Scene((Thing("circle", "red", "large"),), "in the center", "white")
PROMPT = caption(RED_CIRCLE)
DETECTOR = Detector()


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    home = tmp_path_factory.mktemp("home")
    with Session(load_settings({"device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(home)})) as made:
        yield made


def picture(session: Session, workflow: str = "txt2img", **inputs: Any) -> np.ndarray:
    return session.run(workflow, **inputs)["image"].numpy()[0]


def read(pixels: np.ndarray) -> Reading:
    return DETECTOR.read(pixels)


def is_red_circle(pixels: np.ndarray) -> bool:
    return DETECTOR.judge(pixels, RED_CIRCLE).right


def save(session: Session, pixels: np.ndarray, path: Path) -> Path:
    Image.fromarray((pixels * 255 + 0.5).astype(np.uint8)).save(path)
    return path


@pytest.mark.parametrize("name", [name for name, _, _ in SAMPLERS])
def test_every_sampler_makes_the_picture_that_was_asked_for(session: Session, name: str) -> None:
    cfg = 1.2 if name.endswith("cfg_pp") else 3.0  # CFG++ counts on a scale of about 1
    inputs = {"prompt": PROMPT, "sampler": name, "seed": 10, "batch": 4, "steps": 20, "cfg": cfg}
    pictures = session.run("txt2img", **inputs)["image"].numpy()
    assert sum(is_red_circle(pixels) for pixels in pictures) >= 3


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_makes_the_picture_that_was_asked_for(session: Session, name: str) -> None:
    # linear_quadratic spends half of its steps on the first 2.5 % of the noise, so it needs more of them
    steps = 60 if name == "linear_quadratic" else 20
    inputs = {"prompt": PROMPT, "schedule": name, "seed": 10, "batch": 4, "steps": steps}
    pictures = session.run("txt2img", **inputs)["image"].numpy()
    assert sum(is_red_circle(pixels) for pixels in pictures) >= 3


def test_a_short_prompt_is_enough(session: Session) -> None:
    pictures = session.run("txt2img", prompt="a red circle", seed=20, batch=4, cfg=5.0)["image"].numpy()
    found = [{(o.colour, o.shape) for o in read(pixels).objects} for pixels in pictures]
    assert sum(objects == {("red", "circle")} for objects in found) >= 3


def test_no_strength_keeps_the_picture_and_full_strength_follows_the_prompt(session: Session, tmp_path: Path) -> None:
    path = save(session, picture(session, prompt=PROMPT, seed=10), tmp_path / "circle.png")
    wanted = "a large blue square in the center on a white background"
    kept = read(picture(session, "img2img", image=path, prompt=wanted, strength=0.0, seed=3))
    made = read(picture(session, "img2img", image=path, prompt=wanted, strength=1.0, seed=3))
    assert [(o.colour, o.shape) for o in kept.objects] == [("red", "circle")]
    assert [(o.colour, o.shape) for o in made.objects] == [("blue", "square")]


def test_little_strength_keeps_what_is_there_whatever_the_prompt(session: Session, tmp_path: Path) -> None:
    path = save(session, picture(session, prompt=PROMPT, seed=10), tmp_path / "circle.png")
    wanted = "a large blue square in the center on a white background"
    made = picture(session, "img2img", image=path, prompt=wanted, strength=0.1, seed=3)
    assert [(o.colour, o.shape) for o in read(made).objects] == [("red", "circle")]


def test_inpainting_changes_only_the_mask(session: Session, tmp_path: Path) -> None:
    two = Scene((Thing("circle", "red", "small"), Thing("square", "blue", "small")), "left of", "white")
    before = picture(session, prompt=caption(two), seed=4)
    path = save(session, before, tmp_path / "two.png")
    mask = np.zeros((128, 128, 3), np.float32)
    mask[:, 64:] = 1
    wanted = caption(Scene((Thing("circle", "red", "small"), Thing("square", "green", "small")), "left of", "white"))
    files = {"image": path, "mask": save(session, mask, tmp_path / "mask.png")}
    after = picture(session, "inpaint", **files, prompt=wanted, seed=4, strength=1.0)
    untouched = picture(session, "inpaint", **files, prompt=wanted, seed=4, strength=0.0)
    found = {o.colour for o in read(after).objects}
    assert "green" in found
    assert "blue" not in found
    # The latent is kept bit for bit (tests/nodes); the decoder's group norms see all of it, so pixels differ a little.
    assert np.abs(after[:, :24] - untouched[:, :24]).mean() < 0.03


def test_a_second_pass_doubles_no_object(session: Session) -> None:
    pixels = picture(session, "hires", seed=10)
    assert pixels.shape == (128, 128, 3)
    assert {(o.colour, o.shape) for o in read(pixels).objects} == {("red", "circle"), ("blue", "square")}


def test_an_upscaled_picture_keeps_its_colours_and_its_things(session: Session, tmp_path: Path) -> None:
    before = picture(session, prompt=PROMPT, seed=10, cfg=5.0)
    Image.fromarray((before * 255).astype(np.uint8)).save(tmp_path / "before.png")
    after = picture(session, "upscale", image=str(tmp_path / "before.png"), prompt=PROMPT, seed=4)
    assert after.shape == (256, 256, 3)
    small = np.asarray(Image.fromarray((after * 255).astype(np.uint8)).resize((128, 128)), np.float32) / 255
    assert np.abs(small - before).mean() < 0.03
    assert is_red_circle(small)


def test_guidance_is_what_makes_the_picture_follow_the_prompt(session: Session) -> None:
    def right(cfg: float) -> int:
        job = {Target("sample", "cfg"): cfg, Target("empty", "batch"): 8, Target("sample", "seed"): 50}
        held = session.run_job(session.prepare("txt2img", {"prompt": PROMPT}, job, ["image"]))
        return sum(is_red_circle(pixels) for pixels in held.outputs["image"].numpy())

    nothing, guided = right(0.0), right(5.0)
    assert nothing <= 2
    assert guided >= 6


def test_the_same_seed_makes_the_same_file_in_another_process_home(session: Session, tmp_path: Path) -> None:
    first = picture(session, prompt=PROMPT, seed=77)
    settings = load_settings({"device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(tmp_path)})
    with Session(settings) as other:
        assert np.array_equal(picture(other, prompt=PROMPT, seed=77), first)


def test_words_that_it_does_not_know_are_named(session: Session) -> None:
    events: list[Any] = []
    session.run("txt2img", prompt="a red cat", steps=1, seed=1, on_event=events.append)
    (warning,) = [event for event in events if event.name == "node_warning"]
    assert (warning.code, warning.node) == ("unknown_words", "positive")
    assert warning.message.startswith("the embedded model does not know 'cat'")


@pytest.mark.parametrize(
    ("width", "height", "denoise", "told"),
    [
        (256, 128, 1.0, None),
        (256, 256, 0.5, None),
        (256, 256, 1.0, "often repeats things"),
        (64, 64, 1.0, "often lacks detail"),
    ],
)
def test_a_size_far_from_what_the_model_knows_is_told(
    session: Session, width: int, height: int, denoise: float, told: str | None
) -> None:
    values = {Target("sample", "denoise"): denoise}
    inputs = {"prompt": PROMPT, "seed": 3, "steps": 1, "width": width, "height": height}
    found = []

    def listen(event: Event) -> None:
        if isinstance(event, NodeWarning):
            found.append((event.code, event.node, event.message))

    session.run_job(session.prepare("txt2img", inputs, values), listen=listen)
    size = f"the model was trained on 128x128 pixels; a picture of {width}x{height}"
    text = f"{size} {told}: start closer to that size, and upscale in a second pass"
    assert found == ([] if told is None else [("unusual_size", "sample", text)])
