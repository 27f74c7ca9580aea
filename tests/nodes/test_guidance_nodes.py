"""Guidance, noise and custom sampling nodes on a random UNet."""

from typing import Any

import numpy as np
import pytest

from latentloom.api import Session
from latentloom.engine.errors import NodeError

CLIP = {"node": "load", "output": "clip"}
NODES: dict[str, tuple[str, dict[str, Any]]] = {
    "load": ("LoadCheckpoint", {"checkpoint": "tiny"}),
    "positive": ("CLIPEncode", {"clip": CLIP, "text": "a red circle"}),
    "negative": ("CLIPEncode", {"clip": CLIP, "text": "a blue square"}),
    "blank": ("CLIPEncode", {"clip": CLIP, "text": ""}),
    "empty": ("EmptyLatent", {"width": 64, "height": 64, "batch": 2}),
}
STEPS = 4


def edge(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def run(session: Session, nodes: dict[str, tuple[str, dict[str, Any]]], node: str, output: str = "latent") -> Any:
    every = {id: {"type": type, "inputs": inputs} for id, (type, inputs) in {**NODES, **nodes}.items()}
    outputs = [{"name": "out", "from": edge(node, output)}]
    return session.run({"format": "latentloom/1", "nodes": every, "outputs": outputs})["out"]


def inputs(model: str = "load", latent: str = "empty", **more: Any) -> dict[str, Any]:
    return {
        "model": edge(model, "model"),
        "positive": edge("positive", "conditioning"),
        "negative": edge("negative", "conditioning"),
        "latent": edge(latent, "latent"),
        "seed": 5,
        "cfg": 3.0,
        "sampler": "euler",
        **more,
    }


def sample(session: Session, *patches: tuple[str, dict[str, Any]], **more: Any) -> np.ndarray:
    """A latent sampled with a chain of guidance nodes."""
    nodes: dict[str, tuple[str, dict[str, Any]]] = {}
    last = "load"
    for n, (type, values) in enumerate(patches):
        nodes[f"patch{n}"] = (type, {"model": edge(last, "model"), **values})
        last = f"patch{n}"
    nodes["sample"] = ("KSampler", inputs(last, **{"steps": STEPS, **more}))
    found: np.ndarray = run(session, nodes, "sample").numpy()
    return found


@pytest.mark.parametrize("by", ["steps", "time"])
def test_deep_shrink_acts_in_its_share_of_the_run(session: Session, by: str) -> None:
    def shrunk(start: float, end: float) -> np.ndarray:
        return sample(session, ("DeepShrink", {"depth": 1, "start": start, "end": end, "by": by}))

    plain, first, last = sample(session), shrunk(0, 0.5), shrunk(0.5, 1)
    assert np.array_equal(shrunk(0.0, 0.0), plain)
    assert np.array_equal(sample(session, ("DeepShrink", {"depth": 1, "factor": 1.0, "end": 1.0, "by": by})), plain)
    found = [plain, first, last, shrunk(0, 1)]
    assert all(np.abs(a - b).max() > 1e-4 for n, a in enumerate(found) for b in found[:n])


def test_deep_shrink_names_the_blocks_that_a_unet_has(session: Session) -> None:
    deep = ("DeepShrink", {"model": edge("load", "model"), "depth": 64})
    nodes = {"shrink": deep, "sample": ("KSampler", inputs("shrink"))}
    assert message(session, nodes, "sample") == (
        "node 'sample': KSampler: the UNet does not have that many blocks (expected a depth of 1 to 3, got 64)"
    )


def message(session: Session, nodes: dict[str, tuple[str, dict[str, Any]]], node: str, output: str = "latent") -> str:
    with pytest.raises(NodeError) as caught:
        run(session, nodes, node, output)
    return str(caught.value)


EMPTY = {"empty": edge("blank", "conditioning")}
CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("CFGRescale", {"amount": 0.7}),
    ("PerpendicularNegative", EMPTY),
    ("GuidanceInterval", {"start": 0.3, "end": 0.8}),
    ("FreeU", {}),
    ("PerturbedAttention", {}),
    ("PerturbedAttention", {"layers": "all"}),
    ("SelfAttentionGuidance", {}),
]
NEUTRAL: list[tuple[str, dict[str, Any]]] = [
    ("CFGRescale", {"amount": 0.0}),
    ("GuidanceInterval", {"start": 0.0, "end": 1.0}),
    ("FreeU", {"b1": 1.0, "b2": 1.0, "s1": 1.0, "s2": 1.0}),
    ("PerturbedAttention", {"scale": 0.0}),
    ("SelfAttentionGuidance", {"scale": 0.0}),
    ("DifferentialDiffusion", {}),
]


@pytest.mark.parametrize("patch", CHANGES, ids=lambda patch: patch[0])
def test_a_guidance_changes_the_picture_and_leaves_nothing_behind(session: Session, patch: Any) -> None:
    before = sample(session)
    changed = sample(session, patch)
    assert np.isfinite(changed).all()
    assert np.abs(changed - before).max() > 1e-3
    nodes = {"again": ("KSamplerAdvanced", inputs(steps=STEPS, end_step=100))}
    assert np.array_equal(run(session, nodes, "again").numpy(), before)


@pytest.mark.parametrize("patch", NEUTRAL, ids=lambda patch: patch[0])
def test_a_guidance_of_no_strength_changes_nothing(session: Session, patch: Any) -> None:
    assert np.allclose(sample(session, patch), sample(session), atol=1e-3)


def test_guidances_add_up_in_their_order(session: Session) -> None:
    rescale, pag = ("CFGRescale", {"amount": 1.0}), ("PerturbedAttention", {"layers": "all", "scale": 5.0})
    assert not np.allclose(sample(session, rescale, pag), sample(session, pag, rescale), atol=1e-4)


def test_guided_models_share_one_copy_of_the_weights(session: Session) -> None:
    nodes = {
        "rescaled": ("CFGRescale", {"model": edge("load", "model")}),
        "freeu": ("FreeU", {"model": edge("rescaled", "model")}),
    }
    plain, guided = (run(session, nodes, node, "model") for node in ("load", "freeu"))
    store = session.engine.models
    with store.load([plain]) as (one,), store.load([guided]) as (other,):
        assert one is other
    assert store.plan([guided]) == store.plan([plain])


def test_an_empty_interval_is_refused(session: Session) -> None:
    nodes = {"it": ("GuidanceInterval", {"model": edge("load", "model"), "start": 0.5, "end": 0.5})}
    assert message(session, nodes, "it", "model") == (
        "node 'it': GuidanceInterval: the interval is empty (expected start before end, got 0.5 to 0.5)"
    )


def test_a_soft_mask_says_when_repainting_begins(session: Session) -> None:
    """Where the mask is 0.5 the first half of the steps puts the latent back, as with a mask of 0."""
    mask = {
        "box": ("MaskRectangle", {"width": 64, "height": 64, "box_width": 32, "box_height": 64}),
        "soft": ("MaskFeather", {"mask": edge("box", "mask"), "pixels": 64}),
        "start": ("KSampler", inputs(steps=2, seed=9)),
        "masked": ("SetLatentMask", {"latent": edge("start", "latent"), "mask": edge("soft", "mask")}),
        "model": ("DifferentialDiffusion", {"model": edge("load", "model")}),
        "sample": ("KSampler", inputs("model", "masked", steps=20)),
    }
    found, start = (run(session, mask, node).numpy() for node in ("sample", "start"))
    change = np.abs(found - start).mean((0, 1, 2))
    assert change[0] > 1.5 * change[-1] > 0


# Noise


def test_the_noise_of_a_seed_is_what_the_sampler_draws(session: Session) -> None:
    nodes = {
        "noise": ("Noise", {"latent": edge("empty", "latent"), "seed": 5}),
        "sample": ("KSampler", inputs(steps=STEPS, noise=edge("noise", "latent"))),
    }
    assert np.array_equal(run(session, nodes, "sample").numpy(), sample(session))


def test_blended_noise_keeps_its_variance_and_ends_in_its_parts(session: Session) -> None:
    def blend(amount: float) -> np.ndarray:
        nodes: dict[str, Any] = {
            name: ("Noise", {"latent": edge("empty", "latent"), "seed": seed}) for name, seed in (("a", 5), ("b", 50))
        }
        nodes["mix"] = ("NoiseBlend", {"a": edge("a", "latent"), "b": edge("b", "latent"), "amount": amount})
        found: np.ndarray = run(session, nodes, "mix").numpy()
        return found

    a, middle, b = blend(0.0), blend(0.5), blend(1.0)
    assert abs(middle.std() / a.std() - 1) < 0.05
    assert np.allclose(np.abs(middle - a).sum(), np.abs(middle - b).sum(), rtol=0.1)
    assert not np.allclose(a, b, atol=0.1)


def test_noise_of_another_size_is_refused(session: Session) -> None:
    nodes = {
        "small": ("EmptyLatent", {"width": 64, "height": 32, "batch": 2}),
        "noise": ("Noise", {"latent": edge("small", "latent")}),
        "sample": ("KSampler", inputs(steps=STEPS, noise=edge("noise", "latent"))),
    }
    assert message(session, nodes, "sample") == (
        "node 'sample': KSampler: the noise has a different size than the latent "
        "(expected [2, 4, 8, 8], got [2, 4, 4, 8])"
    )


# Custom sampling


def custom(session: Session, sigmas: Any, **more: Any) -> np.ndarray:
    found: np.ndarray = run(session, {"it": ("SampleCustom", inputs(sigmas=sigmas, **more))}, "it").numpy()
    return found


def test_sigmas_of_a_schedule_sample_as_ksampler_does(session: Session) -> None:
    nodes = {"levels": ("Sigmas", {"model": edge("load", "model"), "steps": STEPS})}
    nodes["it"] = ("SampleCustom", inputs(sigmas=edge("levels", "values")))
    assert np.array_equal(run(session, nodes, "it").numpy(), sample(session))


def test_two_halves_of_split_sigmas_make_one_run(session: Session) -> None:
    nodes: dict[str, Any] = {
        "levels": ("Sigmas", {"model": edge("load", "model"), "steps": 6}),
        "split": ("SplitSigmas", {"sigmas": edge("levels", "values"), "step": 2}),
        "high": ("SampleCustom", inputs(sigmas=edge("split", "high"))),
        "low": ("SampleCustom", inputs(latent="high", sigmas=edge("split", "low"), add_noise=False)),
    }
    assert np.allclose(run(session, nodes, "low").numpy(), sample(session, steps=6), atol=1e-4)


def test_added_noise_lets_a_run_begin_in_the_middle(session: Session) -> None:
    nodes: dict[str, Any] = {
        "start": ("KSampler", inputs(steps=2, seed=9)),
        "noise": ("Noise", {"latent": edge("empty", "latent"), "seed": 5}),
        "noisy": (
            "AddNoise",
            {
                "model": edge("load", "model"),
                "latent": edge("start", "latent"),
                "noise": edge("noise", "latent"),
                "sigma": 2.0,
            },
        ),
        "by_hand": ("SampleCustom", inputs(latent="noisy", sigmas=[2.0, 1.0, 0.0], add_noise=False)),
        "whole": ("SampleCustom", inputs(latent="start", sigmas=[2.0, 1.0, 0.0])),
    }
    assert np.allclose(run(session, nodes, "by_hand").numpy(), run(session, nodes, "whole").numpy(), atol=1e-4)


@pytest.mark.parametrize("sigmas", [[], [3.0]])
def test_no_step_returns_the_latent(session: Session, sigmas: list[float]) -> None:
    assert not custom(session, sigmas).any()


def test_sigmas_that_do_not_fall_are_refused(session: Session) -> None:
    nodes = {"it": ("SampleCustom", inputs(sigmas=[3.0, 3.0, 0.0]))}
    assert message(session, nodes, "it") == (
        "node 'it': SampleCustom: the sigmas are not in falling order "
        "(expected each lower than the one before, got 3, 3, 0)"
    )
    nodes = {"it": ("SplitSigmas", {"sigmas": [2.0, 0.0], "step": 2})}
    assert message(session, nodes, "it", "high") == (
        "node 'it': SplitSigmas: the list of sigmas is shorter (expected 0..1, got 2)"
    )
