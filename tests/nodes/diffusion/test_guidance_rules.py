"""Guidance rules, each against its formula, on predictions that are given."""

import pytest
import torch

from latentloom.nodes.diffusion.entries import Entry
from latentloom.nodes.diffusion.evaluation import Branch
from latentloom.nodes.diffusion.guidance import classifier_free, steered
from latentloom.nodes.diffusion.noise import first_noise
from latentloom.nodes.diffusion.rules import instructed, perpendicular, perturbed, rescaled, two_prompts, within
from latentloom.nodes.diffusion.schedules import scaled_linear_table
from latentloom.nodes.diffusion.timeline import Timeline
from latentloom.nodes.diffusion.variance_exploding import VarianceExploding

SPACE = VarianceExploding(scaled_linear_table(), "epsilon")
X = first_noise((2, 4, 8, 8), 1) * 2
NAMES = ("positive", "negative", "empty", "perturbed", "pictureless", "second")
ANSWERS = {name: first_noise(X.shape, 10 + n) for n, name in enumerate(NAMES)}
SIGMA = 2.0
DIMS = (1, 2, 3)


def follow(rule, sigma=SIGMA, timeline=None):
    """What a rule makes of the answers, and which it asked for."""
    asked = []

    def branch(name):
        def predict(x, sigma, condition):
            asked.append(name)
            return ANSWERS[name]

        return Branch((Entry({"context": torch.zeros(1, 1, 1)}),), predict)

    found = steered({name: branch(name) for name in NAMES}, rule, timeline or Timeline([]))(X, torch.tensor(sigma))
    return found, asked


def plain(cfg):
    return torch.lerp(ANSWERS["negative"], ANSWERS["positive"], cfg)


def test_full_rescale_gives_v_the_deviation_of_the_positive():
    found, asked = follow(rescaled(classifier_free(7.0), 1.0, SPACE))
    v, wanted, old = ((X / 5 - x0) for x0 in (found, ANSWERS["positive"], plain(7.0)))
    torch.testing.assert_close(v.std(DIMS), wanted.std(DIMS))
    torch.testing.assert_close(v / v.std(DIMS, keepdim=True), old / old.std(DIMS, keepdim=True))
    assert asked == ["positive", "negative"]


def test_no_rescale_changes_nothing_and_half_lies_between():
    none, half, full = (follow(rescaled(classifier_free(7.0), amount, SPACE))[0] for amount in (0.0, 0.5, 1.0))
    torch.testing.assert_close(none, plain(7.0))
    torch.testing.assert_close(half, (none + full) / 2)


def test_a_negative_steers_only_across_the_positive():
    found, asked = follow(perpendicular(4.0, 1.5))
    moved = found / 4 - ANSWERS["empty"] / 4 - (ANSWERS["positive"] - ANSWERS["empty"])
    along = (moved * (ANSWERS["positive"] - ANSWERS["empty"])).sum(DIMS)
    torch.testing.assert_close(along, torch.zeros(2), atol=1e-3, rtol=0)
    assert ((moved * (ANSWERS["negative"] - ANSWERS["empty"])).sum(DIMS) < 0).all()
    assert asked == ["positive", "negative", "empty"]


def test_a_negative_that_equals_the_positive_takes_nothing_off(monkeypatch):
    monkeypatch.setitem(ANSWERS, "negative", ANSWERS["positive"])
    found, _ = follow(perpendicular(4.0, 1.5))
    torch.testing.assert_close(found, ANSWERS["empty"] + 4 * (ANSWERS["positive"] - ANSWERS["empty"]))


@pytest.mark.parametrize(("sigma", "guided"), [(8.0, False), (4.0, True), (2.0, True), (1.0, False)])
def test_outside_of_the_interval_the_positive_stands_alone(sigma, guided):
    found, asked = follow(within(classifier_free(7.0), 0.25, 0.75), sigma, Timeline([8.0, 4.0, 2.0, 1.0, 0.0]))
    torch.testing.assert_close(found, plain(7.0) if guided else ANSWERS["positive"])
    assert asked == (["positive", "negative"] if guided else ["positive"])


def test_perturbed_attention_leads_away_from_the_worse_prediction():
    found, asked = follow(perturbed(classifier_free(1.0), 3.0))
    torch.testing.assert_close(found, ANSWERS["positive"] + 3 * (ANSWERS["positive"] - ANSWERS["perturbed"]))
    assert asked == ["positive", "perturbed"]


def test_text_and_picture_have_a_scale_each():
    positive, negative, neither = (ANSWERS[name] for name in ("positive", "negative", "pictureless"))
    found, _ = follow(instructed(7.0, 1.5))
    torch.testing.assert_close(found, neither + 1.5 * (negative - neither) + 7 * (positive - negative))
    torch.testing.assert_close(follow(instructed(1.0, 1.0))[0], positive)


def test_two_prompts_have_a_scale_each():
    found, asked = follow(two_prompts(3.0, 1.5))
    positive, second, negative = (ANSWERS[name] for name in ("positive", "second", "negative"))
    torch.testing.assert_close(found, negative + 1.5 * (second - negative) + 3.0 * (positive - second))
    assert sorted(asked) == ["negative", "positive", "second"]
