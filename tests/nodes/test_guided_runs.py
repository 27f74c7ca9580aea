"""Whole runs on random checkpoints of each family: what the sampler tells the network, and when."""

from typing import Any

import numpy as np
import pytest
import torch

from latentloom.api import Session
from latentloom.engine.errors import NodeError
from latentloom.engine.events import NodeWarning
from latentloom.nodes.families.stable_diffusion.single_file import SingleFile

FOX, SEA = "a red fox in a wood", "a blue sea"


def edge(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(
    checkpoint: str, nodes: dict[str, Any] | None = None, type: str = "KSampler", **more: Any
) -> dict[str, Any]:
    clip = edge("load", "clip")
    sampler = {
        "model": edge("load", "model"),
        **{name: edge(name, "conditioning") for name in ("positive", "negative")},
        "latent": edge("empty", "latent"),
        "seed": 11,
        "steps": 6,
        "cfg": 5.0,
        "sampler": "euler",
        "schedule": "normal",
    }
    made: dict[str, tuple[str, dict[str, Any]]] = {
        "load": ("LoadCheckpoint", {"checkpoint": f"{checkpoint}.safetensors"}),
        "positive": ("CLIPEncode", {"clip": clip, "text": FOX}),
        "negative": ("CLIPEncode", {"clip": clip, "text": "blurry"}),
        "empty": ("EmptyLatent", {"width": 64, "height": 64}),
        "sample": (type, {**sampler, **more}),
        **(nodes or {}),
    }
    return {
        "format": "latentloom/1",
        "nodes": {id: {"type": type, "inputs": inputs} for id, (type, inputs) in made.items()},
        "outputs": [{"name": "out", "from": edge("sample", "latent")}],
    }


def run(session: Session, *arguments: Any, **more: Any) -> np.ndarray:
    found: np.ndarray = session.run(document(*arguments, **more))["out"].numpy()
    return found


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


# The refiner


def test_the_refiner_is_told_a_score_of_6_and_for_the_negative_of_2_5(families: Session) -> None:
    def scored(positive: float, negative: float) -> np.ndarray:
        nodes = {
            f"{name}_size": ("ConditioningSize", {"conditioning": edge(name, "conditioning"), "aesthetic": score})
            for name, score in (("positive", positive), ("negative", negative))
        }
        ends = {name: edge(f"{name}_size", "conditioning") for name in ("positive", "negative")}
        return run(families, "refiner_tiny", nodes, **ends)

    plain = run(families, "refiner_tiny")
    assert np.array_equal(plain, scored(6.0, 2.5))
    assert np.array_equal(plain, scored(0.0, 0.0))
    assert distance(plain, scored(6.0, 6.0)) > 0.01


# Prompts


def encoded(session: Session, checkpoint: str, type: str = "CLIPEncode", **inputs: Any) -> Any:
    nodes = {
        "load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": f"{checkpoint}.safetensors"}},
        "it": {"type": type, "inputs": {"clip": edge("load", "clip"), **inputs}},
    }
    outputs = [{"name": "out", "from": edge("it", "conditioning")}]
    return session.run({"format": "latentloom/1", "nodes": nodes, "outputs": outputs})["out"]


@torch.no_grad()
@pytest.mark.parametrize(("checkpoint", "layers"), [("sd1_tiny", (-1, -2, -3)), ("sdxl_tiny", (-2, -2, -3))])
def test_clip_skip_counts_layers_from_the_last(
    families: Session, checkpoint: str, layers: Any, random_models: Any
) -> None:
    """As AUTOMATIC1111, Forge and ComfyUI count them: "clip skip 2" of an SDXL model is the layer of its training."""
    file = random_models / "checkpoints" / f"{checkpoint}.safetensors"
    encoder = SingleFile().load([file], {"component": "clip"}).encoders[0]
    ids = encoder.tokenizer(FOX, padding="max_length", max_length=77, return_tensors="pt").input_ids
    states = encoder.model(ids, output_hidden_states=True).hidden_states
    for skip, layer in enumerate(layers, start=1):
        (found,) = encoded(families, checkpoint, text=FOX, clip_skip=skip).entries
        known = encoder.model.final_layer_norm(states[layer]) if encoder.final_norm else states[layer]
        width = known.shape[2]
        assert distance(found.embedding.numpy()[..., :width], known.numpy()) < 1e-5


def test_each_encoder_of_sdxl_reads_its_own_prompt(families: Session) -> None:
    """As diffusers' `prompt` and `prompt_2`: vectors side by side, the pooled output that of the second."""
    (pair,) = encoded(families, "sdxl_tiny", "CLIPEncodeSDXL", text_l=FOX, text_g=SEA).entries
    (fox,), (sea,) = (encoded(families, "sdxl_tiny", text=text).entries for text in (FOX, SEA))
    vectors = [one.embedding.numpy() for one in (pair, fox, sea)]
    assert np.array_equal(vectors[0][..., :64], vectors[1][..., :64])
    assert np.array_equal(vectors[0][..., 64:], vectors[2][..., 64:])
    assert np.array_equal(pair.arrays["pooled"].numpy(), sea.arrays["pooled"].numpy())


def test_the_shorter_of_two_prompts_goes_on_with_empty_parts(families: Session) -> None:
    (pair,) = encoded(families, "sdxl_tiny", "CLIPEncodeSDXL", text_l=FOX, text_g=f"{SEA} BREAK {FOX}").entries
    (empty,) = encoded(families, "sdxl_tiny", text="").entries
    assert pair.embedding.shape[1] == 154
    assert np.allclose(pair.embedding.numpy()[:, 77:, :64], empty.embedding.numpy()[..., :64], atol=1e-5)


def test_two_prompts_are_for_two_encoders(families: Session) -> None:
    with pytest.raises(NodeError, match=r"'sd1_tiny\.safetensors' does not have the two text encoders of SDXL"):
        encoded(families, "sd1_tiny", "CLIPEncodeSDXL")


@pytest.mark.parametrize("steps", [6, 12])
def test_a_prompt_changes_with_the_steps_of_the_sampler(families: Session, steps: int) -> None:
    """[fox:sea:2] reads fox up to and including step 2, counted from 0, whatever the steps."""

    def ruled(start: float, end: float, text: str) -> dict[str, Any]:
        return {
            f"read {text}": ("CLIPEncode", {"clip": edge("load", "clip"), "text": text}),
            text: (
                "ConditioningTimes",
                {"conditioning": edge(f"read {text}", "conditioning"), "start": start, "end": end},
            ),
        }

    found = run(
        families,
        "sd1_tiny",
        {"positive": ("CLIPEncode", {"clip": edge("load", "clip"), "text": f"[{FOX}:{SEA}:2]"})},
        steps=steps,
    )
    parts = {**ruled(0, 3 / steps, FOX), **ruled(3 / steps, 1, SEA)}
    both = {"both": ("ConditioningCombine", {"conditionings": [edge(FOX, "conditioning"), edge(SEA, "conditioning")]})}
    known = run(
        families, "sd1_tiny", {**_named(parts), **_named(both)}, steps=steps, positive=edge("both", "conditioning")
    )
    assert np.array_equal(found, known)


def _named(nodes: dict[str, Any]) -> dict[str, Any]:
    """Node ids without spaces, in edges too."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {**value, "node": value["node"].replace(" ", "_")}
        return [bare(item) for item in value] if isinstance(value, list) else value

    return {
        id.replace(" ", "_"): (type, {name: bare(value) for name, value in inputs.items()})
        for id, (type, inputs) in nodes.items()
    }


# Runs in parts


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_sde", "lcm"])
@pytest.mark.parametrize("masked", [False, True])
def test_two_advanced_samplers_see_the_noise_of_one(families: Session, sampler: str, masked: bool) -> None:
    more: dict[str, Any] = {"sampler": sampler, "schedule": "karras"}
    nodes: dict[str, Any] = {}
    if masked:
        nodes["start"] = ("Noise", {"latent": edge("empty", "latent"), "seed": 3})
        nodes["mask"] = ("MaskRectangle", {"width": 64, "height": 64, "box_width": 32, "box_height": 64})
        nodes["source"] = ("SetLatentMask", {"latent": edge("start", "latent"), "mask": edge("mask", "mask")})
        more["latent"] = edge("source", "latent")
    whole = run(families, "sd1_tiny", nodes, "KSamplerAdvanced", **more)
    made = document("sd1_tiny", nodes, "KSamplerAdvanced", **more)
    inputs = made["nodes"]["sample"]["inputs"]
    made["nodes"]["first"] = {"type": "KSamplerAdvanced", "inputs": {**inputs, "end_step": 3, "leftover_noise": True}}
    second = {**inputs, "latent": edge("first", "latent"), "start_step": 3, "add_noise": False}
    made["nodes"]["sample"]["inputs"] = second
    assert distance(families.run(made)["out"].numpy(), whole) < 1e-5


def test_split_sigmas_see_the_noise_of_the_whole_list(families: Session) -> None:
    levels = {"levels": ("Sigmas", {"model": edge("load", "model"), "steps": 6})}
    custom = {"sampler": "euler_ancestral", "sigmas": edge("levels", "values")}
    whole = document("sd1_tiny", levels, "SampleCustom", **custom)
    for name in ("steps", "schedule"):
        del whole["nodes"]["sample"]["inputs"][name]
    inputs = whole["nodes"]["sample"]["inputs"]
    known = families.run(whole)["out"].numpy()
    split = {"type": "SplitSigmas", "inputs": {"sigmas": edge("levels", "values"), "step": 2}}
    first = {"type": "SampleCustom", "inputs": {**inputs, "sigmas": edge("split", "high")}}
    second = {**inputs, "sigmas": edge("split", "low"), "latent": edge("first", "latent"), "add_noise": False}
    whole["nodes"] |= {"split": split, "first": first, "sample": {"type": "SampleCustom", "inputs": second}}
    assert distance(families.run(whole)["out"].numpy(), known) < 1e-5


# Options, and what a model was made for


def test_an_option_that_a_sampler_does_not_take_is_refused(families: Session) -> None:
    with pytest.raises(NodeError) as caught:
        run(families, "sd1_tiny", None, "KSamplerAdvanced", sampler="dpmpp_2m", eta=0.5)
    assert "the sampler 'dpmpp_2m' has no option eta (expected 1, or a sampler that has it" in str(caught.value)


def test_eta_0_makes_an_ancestral_sampler_euler_and_churn_changes_euler(families: Session) -> None:
    def sampled(**more: Any) -> np.ndarray:
        return run(families, "sd1_tiny", None, "KSamplerAdvanced", **more)

    plain = sampled()
    assert distance(sampled(sampler="euler_ancestral", eta=0.0), plain) < 1e-5
    assert distance(sampled(churn=4.0), plain) > 0.01
    assert np.isfinite(sampled(churn=100.0)).all()


@pytest.mark.parametrize(
    ("sampler", "plain"), [("euler_cfg_pp", "euler"), ("euler_ancestral_cfg_pp", "euler_ancestral")]
)
def test_cfg_pp_adds_the_noise_of_the_negative_alone(families: Session, sampler: str, plain: str) -> None:
    def sampled(name: str, cfg: float) -> np.ndarray:
        return run(families, "sd1_tiny", sampler=name, cfg=cfg)

    assert distance(sampled(sampler, 0.0), sampled(plain, 0.0)) < 1e-5  # the negative is all there is
    assert distance(sampled(sampler, 1.0), sampled(plain, 1.0)) > 0.01  # no negative is needed but for its noise
    assert distance(sampled(sampler, 1.5), sampled(plain, 1.5)) > 0.01


def warnings(session: Session, made: dict[str, Any]) -> list[str]:
    running = session.stream(made)
    found = [event.code for event in running if isinstance(event, NodeWarning)]
    running.result()
    return found


@pytest.mark.parametrize(("schedule", "told"), [("karras", True), ("kl_optimal", True), ("simple", False)])
def test_a_model_of_pure_noise_says_which_schedules_suit_it(families: Session, schedule: str, told: bool) -> None:
    made = document("sd1_tiny", steps=2, schedule=schedule)
    made["nodes"]["load"]["inputs"] |= {"prediction": "v", "zero_snr": "yes"}
    assert ("schedule_for_zero_snr" in warnings(families, made)) == told
    made["nodes"]["load"]["inputs"]["zero_snr"] = "no"
    assert "schedule_for_zero_snr" not in warnings(families, made)


def test_a_model_for_few_steps_says_what_it_was_made_for(families: Session, random_models: Any) -> None:
    folder = random_models / "checkpoints"
    (folder / "tiny_lightning_4step.safetensors").hardlink_to(folder / "sd1_tiny.safetensors")
    assert "few_step_model" in warnings(families, document("tiny_lightning_4step", steps=13))
    assert "few_step_model" in warnings(families, document("tiny_lightning_4step", steps=4, cfg=5.0))
    assert "few_step_model" not in warnings(families, document("tiny_lightning_4step", steps=4, cfg=1.0))
    assert "few_step_model" not in warnings(families, document("sd1_tiny", steps=13))
