"""What checkers do with pictures before they are saved."""

from pathlib import Path

import numpy as np
import pytest

from latentloom.api import Session
from latentloom.engine import Context, node
from latentloom.engine.errors import PluginError
from latentloom.engine.files.checks import PictureRefusedError, check
from latentloom.engine.files.pictures import read_making, read_pixels
from latentloom.engine.settings import load_settings
from latentloom.engine.types.registry import Distribution, Registration, Registry

PIXELS = np.random.default_rng(0).random((32, 48, 3), np.float32)


def passes(pixels):
    """Accept."""


def flags_dark(pixels):
    """Flag what is dark."""
    return ("flag", "dark") if pixels.mean() < 0.4 else None


def blurs(pixels):
    """Blur."""
    return "blur", "detail"


def refuses_dark(pixels):
    """Refuse what is dark."""
    return ("refuse", "dark") if pixels.mean() < 0.4 else None


def fails(pixels):
    """Raise."""
    raise ValueError("no model")


def writes(pixels):
    """Change the picture."""
    pixels[:] = 0


def test_what_checkers_say_is_kept_with_their_names():
    found = check(PIXELS * np.float32(0.5), {"a": passes, "b": flags_dark})
    assert found.said == {"a": "passed", "b": "flag: dark"}
    assert np.array_equal(found.pixels, PIXELS * np.float32(0.5))


@pytest.mark.parametrize("channels", [3, 4])
def test_a_blurred_picture_keeps_its_size_and_loses_its_detail(channels):
    pixels = np.concatenate([PIXELS, PIXELS[..., :1]], 2)[..., :channels]
    found = check(pixels, {"a": passes, "b": blurs})
    assert (found.pixels.shape, found.said["b"]) == (pixels.shape, "blur: detail")
    assert found.pixels.std() < pixels.std() / 3


def test_one_refusal_is_enough():
    with pytest.raises(PictureRefusedError) as caught:
        check(PIXELS * np.float32(0.5), {"a": blurs, "b": refuses_dark})
    assert caught.value.problem.message == "the checker 'b' refused a picture: dark"


@pytest.mark.parametrize(
    ("checker", "message"),
    [
        (fails, "the checker 'c' failed"),
        (writes, "the checker 'c' failed"),
        (lambda _: True, "the checker 'c' gave a wrong answer"),
        (lambda _: ("burn", "x"), "the checker 'c' gave a wrong answer"),
        (lambda _: ("flag",), "the checker 'c' gave a wrong answer"),
    ],
)
def test_a_picture_that_cannot_be_checked_is_not_saved(checker, message):
    before = PIXELS.copy()
    with pytest.raises(PluginError) as caught:
        check(PIXELS, {"c": checker})
    assert caught.value.problem.message == message
    assert np.array_equal(before, PIXELS)


@node("Store", category="image", purity="sink")
def store(ctx: Context, levels: list[float]) -> None:
    """Save plain pictures."""
    for item, level in enumerate(levels):
        ctx.save("image", np.full((4, 4, 3), level, np.float32), "plain", item=item)


def registry(*checkers):
    made = Registration(Distribution("toys", "1.0", "toys", "code"))
    made.node(store)
    for checker in checkers:
        made.checker(checker.__name__, checker)
    return Registry([made])


@pytest.fixture
def save(tmp_path):
    def run(*checkers):
        document = {"format": "latentloom/1", "nodes": {"s": {"type": "toys/Store", "inputs": {"levels": [0.8, 0.2]}}}}
        settings = load_settings({"device": "cpu"}, {"LATENTLOOM_HOME": str(tmp_path)})
        with Session(settings, registry(*checkers)) as session:
            outcome = session.run_job(session.prepare(document))
            return outcome, [Path(file) for file in outcome.files]

    return run


def test_the_record_of_a_saved_picture_names_the_checkers(save):
    outcome, files = save(passes, flags_dark)
    said = [read_making(file)[1]["checkers"] for file in files]
    assert outcome.status == "done"
    assert said == [{"passes": "passed", "flags_dark": answer} for answer in ("passed", "flag: dark")]
    assert np.allclose(read_pixels(files[0]).pixels, 0.8)


def test_a_refused_picture_fails_its_node_and_the_one_before_it_stays(save):
    outcome, files = save(refuses_dark)
    assert (outcome.status, len(files)) == ("failed", 1)
    (problem,) = outcome.error.problems
    assert str(problem).startswith("node 's': toys/Store: the checker 'refuses_dark' refused a picture: dark\n")
    assert problem.code == "picture_refused"


def test_without_checkers_the_record_says_nothing_of_them(save):
    _, files = save()
    assert "checkers" not in read_making(files[0])[1]
