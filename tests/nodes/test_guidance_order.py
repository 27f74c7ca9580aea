"""Guidance nodes in any order: each keeps what the others hung on the model, or the run is refused in words."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latentloom.api import Session
from latentloom.engine.errors import NodeError

CLIP = {"node": "load", "output": "clip"}
STEPS = 4


def edge(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


SEEN = {"clip_vision": edge("vision", "clip_vision"), "image": edge("picture", "image"), "adapter": "tiny.safetensors"}
GUIDES: dict[str, tuple[str, dict[str, Any]]] = {
    "rescale": ("CFGRescale", {"amount": 1.0}),
    "perpendicular": ("PerpendicularNegative", {"empty": edge("blank", "conditioning")}),
    "interval": ("GuidanceInterval", {"start": 0.0, "end": 0.5}),
    "freeu": ("FreeU", {}),
    "perturbed": ("PerturbedAttention", {"layers": "all"}),
    "attention": ("SelfAttentionGuidance", {"scale": 2.0}),
    "picture until the middle": ("IPAdapter", {**SEEN, "weight": 2.0, "end": 0.5}),
    "shrink": ("DeepShrink", {"depth": 2, "end": 1.0}),
    "seamless": ("Seamless", {"vae": edge("load", "vae")}),
    "tiled": ("TiledDiffusion", {"tile": 64, "overlap": 16}),
}
WHOLE = ("IPAdapter", {**SEEN, "weight": 2.0})


def document(chain: list[tuple[str, dict[str, Any]]], side: int = 64, **more: Any) -> dict[str, Any]:
    """A latent sampled behind a chain of guidance nodes."""
    nodes: dict[str, tuple[str, dict[str, Any]]] = {
        "load": ("LoadCheckpoint", {"checkpoint": "sd1_tiny.safetensors"}),
        "positive": ("CLIPEncode", {"clip": CLIP, "text": "a red circle"}),
        "negative": ("CLIPEncode", {"clip": CLIP, "text": "a blue square"}),
        "blank": ("CLIPEncode", {"clip": CLIP, "text": ""}),
        "latent": ("EmptyLatent", {"width": side, "height": side}),
        "vision": ("LoadCLIPVision", {"clip_vision": "tiny.safetensors"}),
        "grain": ("Noise", {"latent": edge("latent", "latent"), "seed": 3}),
        "picture": ("VAEDecode", {"vae": edge("load", "vae"), "latent": edge("grain", "latent")}),
        "half": ("MaskRectangle", {"width": side, "height": side, "box_width": side // 2, "box_height": side}),
    }
    models = ["load", *(f"guide{n}" for n in range(len(chain)))]
    for before, name, (type, inputs) in zip(models, models[1:], chain, strict=False):
        nodes[name] = (type, {"model": edge(before, "model"), **inputs})
    ends = {name: edge(name, "conditioning") for name in ("positive", "negative")}
    sampler = {"steps": STEPS, "cfg": 5.0, "sampler": "euler", "seed": 5, **more}
    wires = {"model": edge(models[-1], "model"), **ends, "latent": edge("latent", "latent")}
    nodes["sample"] = ("KSampler", {**wires, **sampler})
    every = {id: {"type": type, "inputs": inputs} for id, (type, inputs) in nodes.items()}
    return {"format": "latentloom/1", "nodes": every, "outputs": [{"name": "out", "from": edge("sample", "latent")}]}


def sampled(families: Session, chain: list[tuple[str, dict[str, Any]]], **more: Any) -> np.ndarray:
    found: np.ndarray = families.run(document(chain, **more))["out"].numpy()
    return found


names = st.lists(st.sampled_from(sorted(set(GUIDES) - {"tiled"})), min_size=2, max_size=4, unique=True)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=names, without=st.integers(0, 3))
def test_no_node_throws_away_what_another_did(families: Session, names: list[str], without: int) -> None:
    chain = [GUIDES[name] for name in names]
    found = sampled(families, chain)
    left = chain[: without % len(chain)] + chain[without % len(chain) + 1 :]
    assert np.isfinite(found).all()
    assert np.abs(found - sampled(families, left)).max() > 1e-4


@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=names.filter(lambda names: "picture until the middle" in names))
def test_the_share_of_steps_reaches_an_adapter_in_any_chain(families: Session, names: list[str]) -> None:
    part, whole = (
        sampled(families, [shared if GUIDES[name][0] == "IPAdapter" else GUIDES[name] for name in names])
        for shared in (GUIDES["picture until the middle"], WHOLE)
    )
    assert np.abs(part - whole).max() > 1e-4


MASKED = ("IPAdapter", {**SEEN, "weight": 2.0, "mask": edge("half", "mask")})


def test_a_masked_picture_and_tiles_go_together_in_either_order(families: Session) -> None:
    chain = [MASKED, GUIDES["tiled"]]
    found = sampled(families, chain, side=128)
    assert np.array_equal(found, sampled(families, chain[::-1], side=128))
    assert np.abs(found - sampled(families, [GUIDES["tiled"]], side=128)).max() > 1e-3


def test_prompt_to_prompt_keeps_the_picture_of_an_adapter(families: Session) -> None:
    def edited(chain: list[tuple[str, dict[str, Any]]]) -> np.ndarray:
        made = document(chain)
        told = made["nodes"].pop("sample")["inputs"]
        shared = {name: told[name] for name in ("model", "negative", "latent", "steps", "cfg", "sampler", "seed")}
        prompts = {"clip": CLIP, "source": "a red circle", "edited": "a blue circle", "cross": 1.0}
        made["nodes"]["sample"] = {"type": "PromptToPrompt", "inputs": {**shared, **prompts}}
        made["outputs"] = [{"name": "out", "from": edge("sample", "edited")}]
        found: np.ndarray = families.run(made)["out"].numpy()
        return found

    assert np.abs(edited([WHOLE]) - edited([])).max() > 1e-3


def message(families: Session, chain: list[tuple[str, dict[str, Any]]]) -> str:
    with pytest.raises(NodeError) as caught:
        sampled(families, chain)
    return str(caught.value)


def test_two_rules_are_refused_in_words(families: Session) -> None:
    assert message(families, [GUIDES["perpendicular"], GUIDES["rescale"], GUIDES["perpendicular"]]) == (
        "node 'sample': KSampler: two nodes set the guidance rule (expected one of them, "
        "got PerpendicularNegative and PerpendicularNegative)\n  hint: remove one of them from the chain of the model"
    )


def test_guidance_by_a_picture_is_refused_for_a_model_that_takes_none(families: Session) -> None:
    assert message(families, [("InstructGuidance", {})]) == (
        "node 'sample': KSampler: InstructGuidance needs a model with an image input (expected an "
        "InstructPix2Pix model, of 8 channels, got a model whose only input is noise)\n  "
        "hint: remove InstructGuidance from the chain of the model"
    )


def test_a_second_prompt_sees_the_picture_of_an_adapter_in_either_order(families: Session) -> None:
    two = ("TwoPromptGuidance", {"second": edge("blank", "conditioning"), "cfg": 5.0})
    assert np.array_equal(sampled(families, [two, WHOLE]), sampled(families, [WHOLE, two]))


@pytest.mark.parametrize(("type", "name"), [("TwoPromptGuidance", "second"), ("PerpendicularNegative", "empty")])
def test_a_further_prompt_may_have_an_area_in_shares_or_pixels(families: Session, type: str, name: str) -> None:
    def found(area: str, **sides: Any) -> np.ndarray:
        made = document([(type, {name: edge("area", "conditioning")})])
        inputs = {"conditioning": edge("blank", "conditioning"), **sides}
        made["nodes"]["area"] = {"type": area, "inputs": inputs}
        sampled: np.ndarray = families.run(made)["out"].numpy()
        return sampled

    shares = found("ConditioningAreaShare", x=0.5, width=0.5)
    assert np.array_equal(shares, found("ConditioningArea", x=32, width=32, height=64))


def test_a_second_prompt_that_is_the_positive_guides_as_the_positive_does(families: Session) -> None:
    two = ("TwoPromptGuidance", {"second": edge("positive", "conditioning"), "cfg": 5.0})
    assert sampled(families, [two], cfg=9.0) == pytest.approx(sampled(families, []), rel=1e-4, abs=1e-3)
    assert "TwoPromptGuidance" in message(families, [two, GUIDES["perpendicular"]])
