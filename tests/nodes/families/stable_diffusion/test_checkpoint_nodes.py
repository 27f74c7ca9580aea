"""Checkpoints through the loader nodes: from a file to a latent, and pieces that do not belong together."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from safetensors.torch import load_file, save_file

from latentloom.api import Session
from latentloom.engine import Array, Cond, Conditioning, FileIdentity, Latent
from latentloom.engine.errors import BadValueError, NodeError
from latentloom.engine.settings import load_settings
from latentloom.engine.types.values import Model
from latentloom.nodes.diffusion.conditions import check_conditioning
from latentloom.nodes.diffusion.variance_exploding import table_of


@pytest.fixture
def models(tmp_path: Path, checkpoint: Callable[[str], Path]) -> Path:
    """A model folder with ComfyUI's names: whole checkpoints and the parts of them."""
    root = tmp_path / "models"
    for folder in ("checkpoints", "unet", "clip", "vae"):
        (root / folder).mkdir(parents=True)
    for recipe in ("sd1_tiny", "sd2_tiny", "sdxl_tiny"):
        os.link(checkpoint(recipe), root / "checkpoints" / f"{recipe}.safetensors")
    return root


@pytest.fixture
def session(tmp_path: Path, models: Path) -> Iterator[Session]:
    settings = {"models": [models], "device": "cpu", "dtype": "fp32"}
    with Session(load_settings(settings, {"LATENTLOOM_HOME": str(tmp_path)})) as made:
        yield made


LATENT = Latent(np.zeros((1, 4, 8, 8), np.float32))
LOADERS: dict[str, Any] = {
    "load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "sd1_tiny.safetensors"}},
    "less": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "less.safetensors"}},
    "sd2": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "sd2_tiny.safetensors"}},
    "unet": {"type": "LoadUNet", "inputs": {"unet": "u.safetensors"}},
    "clip": {"type": "LoadCLIP", "inputs": {"text_encoder": "l.safetensors"}},
    "vae": {"type": "LoadVAE", "inputs": {"vae": "v.safetensors"}},
}


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(model: str = "load", clip: str = "load", vae: str = "load", **sampler: Any) -> dict[str, Any]:
    """Text to image with a model, a clip and a vae, each from a loader."""
    texts = {
        name: {"type": "CLIPEncode", "inputs": {"clip": wire(clip, "clip"), "text": text}}
        for name, text in (("positive", sampler.pop("text", "a red fox")), ("negative", ""))
    }
    wires = {"model": wire(model, "model"), "latent": wire("empty", "latent")}
    conditions = {name: wire(name, "conditioning") for name in texts}
    nodes = {
        **{id: LOADERS[id] for id in {model, clip, vae}},
        **texts,
        "empty": {"type": "EmptyLatent", "inputs": {"width": 64, "height": 64}},
        "sample": {"type": "KSampler", "inputs": {**wires, **conditions, "steps": 3, **sampler}},
        "decode": {
            "type": "VAEDecode",
            "inputs": {"vae": wire(vae, "vae"), "latent": wire("sample", "latent")},
        },
    }
    outputs = [{"name": "latent", "from": wire("sample", "latent")}, {"name": "image", "from": wire("decode", "image")}]
    return {"format": "latentloom/1", "nodes": nodes, "outputs": outputs}


def latent(session: Session, **changes: Any) -> np.ndarray:
    return session.run(document(**changes))["latent"].numpy()


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def test_a_single_file_samples_and_the_picture_depends_on_prompt_and_seed(session: Session) -> None:
    first = latent(session)
    assert np.isfinite(first).all()
    assert distance(latent(session, text="a blue house"), first) > 0.01
    assert distance(latent(session, seed=1), first) > 0.1


def parts(models: Path, recipe: str) -> None:
    """Write the parts of a checkpoint as files of their own, without the checkpoint's prefixes."""
    weights = load_file(models / "checkpoints" / f"{recipe}.safetensors")
    places = {
        "unet/u": "model.diffusion_model.",
        "clip/l": "cond_stage_model.transformer.",
        "clip/g": "conditioner.embedders.1.model.",
        "vae/v": "first_stage_model.",
    }
    for place, prefix in places.items():
        found = {name.removeprefix(prefix): weights[name] for name in weights if name.startswith(prefix)}
        if found:
            save_file(found, models / f"{place}.safetensors")


def test_parts_from_files_of_their_own_sample_as_the_checkpoint_does(session: Session, models: Path) -> None:
    parts(models, "sd1_tiny")
    found = session.run(document("unet", "clip", "vae"))
    whole = session.run(document())
    assert np.array_equal(found["latent"].numpy(), whole["latent"].numpy())
    assert np.array_equal(found["image"].numpy(), whole["image"].numpy())


def test_what_the_person_says_of_the_prediction_stands_over_what_is_usual(session: Session) -> None:
    usual = latent(session)
    assert np.array_equal(latent(session, model="load"), usual)
    changed = document()
    changed["nodes"]["load"] = {**LOADERS["load"], "inputs": {**LOADERS["load"]["inputs"], "prediction": "v"}}
    assert distance(session.run(changed)["latent"].numpy(), usual) > 0.1


def fault(session: Session, nodes: dict[str, Any]) -> Any:
    with pytest.raises(NodeError) as caught:
        session.run(nodes)
    return caught.value.problem


def test_a_text_encoder_of_another_family_is_refused_before_sampling_with_both_names(session: Session) -> None:
    nodes = document(clip="sd2")
    problem = fault(session, nodes)
    assert (problem.node, problem.message) == (
        "sample",
        "KSampler: the conditioning does not fit 'sd1_tiny.safetensors'",
    )
    assert (problem.expected, problem.got) == ("a text encoder 64 wide", "one 128 wide")


@pytest.mark.parametrize(
    ("width", "context", "expected", "got"),
    [
        (2048, 768, "a text encoder of SD 1.x (768 wide)", "one of SDXL (2048 wide)"),
        (1024, 2048, "a text encoder of SDXL (2048 wide)", "one of SD 2.x (1024 wide)"),
    ],
)
def test_the_families_of_pieces_that_do_not_fit_are_named(width: int, context: int, expected: str, got: str) -> None:
    model = Model("single_file", [FileIdentity("m.safetensors", "0" * 64)], {"context": context})
    with pytest.raises(BadValueError) as caught:
        check_conditioning(model, LATENT, Conditioning([Cond(Array(np.zeros((1, 77, width))))]))
    assert (caught.value.problem.expected, caught.value.problem.got) == (expected, got)


def test_a_guessed_prediction_is_a_warning_that_names_the_way_out(session: Session) -> None:
    def warnings(**inputs: str) -> list[Any]:
        events: list[Any] = []
        nodes = document(model="sd2", clip="sd2", vae="sd2", steps=1)
        nodes["nodes"]["sd2"] = {"type": "LoadCheckpoint", "inputs": {"checkpoint": "sd2_tiny.safetensors", **inputs}}
        session.run(nodes, on_event=events.append)
        found = [event for event in events if event.name == "node_warning" and event.code != "unusual_size"]
        return [(event.node, event.code, event.message) for event in found]

    assert warnings() == [
        (
            "sd2",
            "prediction_guessed",
            "'sd2_tiny.safetensors' does not state what it predicts; 'epsilon' is assumed. "
            "If the results are noisy or flat, set the loader's `prediction` to 'v'",
        )
    ]
    assert warnings(prediction="v") == []


def without(models: Path, prefix: str) -> None:
    """Write a checkpoint that lacks the tensors below a prefix."""
    weights = load_file(models / "checkpoints" / "sd1_tiny.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith(prefix)}
    save_file(kept, models / "checkpoints" / "less.safetensors")


def test_the_parts_that_a_checkpoint_has_work_with_others_in_place_of_what_it_lacks(
    session: Session, models: Path
) -> None:
    without(models, "first_stage_model.")
    nodes = document("less", "less", "vae")
    nodes["nodes"]["vae"] = {"type": "LoadVAE", "inputs": {"vae": "sd1_tiny.safetensors"}}
    found, whole = session.run(nodes), session.run(document())
    assert np.array_equal(found["image"].numpy(), whole["image"].numpy())


@pytest.mark.parametrize(
    ("prefix", "node", "input", "message", "hint"),
    [
        (
            "first_stage_model.",
            "decode",
            "vae",
            "'less.safetensors' has no VAE",
            "LoadVAE loads one from a file in models/vae",
        ),
        (
            "cond_stage_model.",
            "positive",
            "clip",
            "'less.safetensors' has no text encoder",
            "LoadCLIP loads one from a file in models/clip (ComfyUI: text_encoders)",
        ),
        (
            "model.diffusion_model.",
            "sample",
            "model",
            "'less.safetensors' has no UNet",
            "LoadUNet loads one from a file in models/unet (ComfyUI: diffusion_models)",
        ),
    ],
    ids=["vae", "clip", "unet"],
)
def test_a_part_that_a_checkpoint_lacks_is_missed_before_anything_else_runs(
    session: Session, models: Path, prefix: str, node: str, input: str, message: str, hint: str
) -> None:
    without(models, prefix)
    nodes = document("less", "less", "less")
    started: list[str] = []
    with pytest.raises(NodeError) as caught:
        session.run(nodes, on_event=lambda event: started.append(event.node) if event.name == "node_started" else None)
    problem = caught.value.problem
    assert (problem.message, problem.node, problem.input, problem.hint) == (message, node, input, hint)
    assert set(started) <= {"less", "empty"}


def test_a_part_of_another_kind_is_refused(session: Session, models: Path) -> None:
    parts(models, "sd1_tiny")
    (models / "vae" / "v.safetensors").rename(models / "unet" / "u.safetensors")
    problem = fault(session, document(model="unet"))
    assert (problem.message, problem.expected, problem.got) == (
        "LoadUNet: 'u.safetensors' has no UNet",
        "UNet",
        "VAE",
    )


def test_two_text_encoders_that_are_no_pair_are_refused(session: Session, models: Path) -> None:
    parts(models, "sd1_tiny")
    os.link(models / "clip" / "l.safetensors", models / "clip" / "m.safetensors")
    nodes = document(clip="clip")
    nodes["nodes"]["clip"] = {
        "type": "LoadCLIP",
        "inputs": {"text_encoder": "l.safetensors", "second": "m.safetensors"},
    }
    problem = fault(session, nodes)
    assert problem.message == "LoadCLIP: 'l.safetensors' and 'm.safetensors' are not a pair of text encoders"
    assert (problem.expected, problem.got) == ("'l' and 'g', as SDXL has them", "'l' and 'l'")


def test_zero_terminal_snr_gives_the_sigmas_of_diffusers() -> None:
    facts = {"prediction": "v", "betas": [0.00085, 0.012, 1000], "zero_snr": True}
    known = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", rescale_betas_zero_snr=True
    ).alphas_cumprod
    assert torch.allclose(table_of(facts).float(), ((1 - known) / known).sqrt(), rtol=1e-4)
