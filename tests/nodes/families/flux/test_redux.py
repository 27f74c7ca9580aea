"""Flux.1 Redux beside diffusers' pipeline on the same weights, and pieces that do not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline, FluxPriorReduxPipeline
from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
from PIL import Image as Picture
from safetensors.torch import load_file, save_file
from tiny_transformers import prefixed, randomised, write
from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel

from latentloom.api import Session
from latentloom.engine.errors import NodeError
from latentloom.nodes.families.clip_vision.siglip import SiglipVisionKind
from latentloom.nodes.families.redux import ReduxKind
from latentloom.training.random_checkpoint import write_clip_vision

PROMPT, SIDE, WIDTH = "a red fox", 28, 48


def siglip(width: int = 64) -> SiglipVisionModel:
    config = SiglipVisionConfig(
        hidden_size=width,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=width // 64,
        image_size=SIDE,
        patch_size=14,
    )
    return randomised(SiglipVisionModel(config), 0.1)


@pytest.fixture(scope="module")
def redux(flux_models: Path) -> tuple[Any, Any]:
    torch.manual_seed(0)
    vision, style = siglip(), randomised(ReduxImageEncoder(64, WIDTH), 0.1)
    write(prefixed("vision_model.", vision.state_dict()), flux_models / "clip_vision" / "sigclip.safetensors")
    write(prefixed("vision_model.", siglip(128).state_dict()), flux_models / "clip_vision" / "wide.safetensors")
    write_clip_vision(flux_models / "clip_vision" / "clip.safetensors")
    write(style.state_dict(), flux_models / "style_models" / "redux.safetensors")
    write(ReduxImageEncoder(64, 32).state_dict(), flux_models / "style_models" / "other.safetensors")
    style.save_pretrained(flux_models / "style_models" / "folder")
    return vision, style


@pytest.fixture(autouse=True)
def picture(tmp_path: Path) -> Any:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Picture.fromarray(pixels).save(tmp_path / "picture.png")
    return Picture.fromarray(pixels)


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(style: str = "redux.safetensors", vision: str = "sigclip.safetensors", **more: Any) -> dict[str, Any]:
    inputs = {"conditioning": wire("prompt", "conditioning"), "clip_vision": wire("eyes", "clip_vision")}
    inputs |= {"image": wire("image", "image"), "style_model": style, **more}
    nodes = {
        "load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "folder"}},
        "prompt": {"type": "CLIPEncode", "inputs": {"clip": wire("load", "clip"), "text": PROMPT}},
        "eyes": {"type": "LoadCLIPVision", "inputs": {"clip_vision": vision}},
        "image": {"type": "LoadImage", "inputs": {"image": "picture.png"}},
        "style": {"type": "ApplyStyleModel", "inputs": inputs},
    }
    outputs = [{"name": "out", "from": wire("style", "conditioning")}]
    return {"format": "latentloom/1", "nodes": nodes, "outputs": outputs}


@pytest.mark.parametrize("style", ["redux.safetensors", "folder"])
def test_the_prompt_is_the_pipeline_s(
    session: Session, pipe: FluxPipeline, redux: tuple[Any, Any], picture: Any, style: str
) -> None:
    prior = FluxPriorReduxPipeline(
        image_encoder=redux[0],
        feature_extractor=SiglipImageProcessor(size={"height": SIDE, "width": SIDE}),
        image_embedder=redux[1],
        text_encoder=pipe.text_encoder,
        tokenizer=pipe.tokenizer,
        text_encoder_2=pipe.text_encoder_2,
        tokenizer_2=pipe.tokenizer_2,
    )
    with torch.no_grad():
        expected = prior(picture, prompt=PROMPT)
    (entry,) = session.run(document(style))["out"].entries
    found = entry.embedding.tensor()
    assert found.shape == (1, 512 + 4, WIDTH)
    assert float((found - expected.prompt_embeds).norm() / expected.prompt_embeds.norm()) < 1e-5
    assert torch.allclose(entry.arrays["pooled"].tensor(), expected.pooled_prompt_embeds, atol=1e-5)


def test_strength_scales_the_tokens_of_the_picture_alone(session: Session, redux: Any) -> None:
    whole, half = (session.run(document(strength=s))["out"].entries[0].embedding.numpy() for s in (1.0, 0.5))
    assert np.array_equal(half[:, :512], whole[:, :512])
    assert np.allclose(half[:, 512:], whole[:, 512:] / 2)


def test_flux_samples_with_the_longer_prompt(session: Session, redux: Any) -> None:
    nodes = document()
    sampler = {"model": wire("load", "model"), "positive": wire("style", "conditioning"), "steps": 2, "cfg": 1.0}
    nodes["nodes"] |= {
        "empty": {"type": "EmptyLatent", "inputs": {"width": 64, "height": 64}},
        "sample": {
            "type": "KSampler",
            "inputs": {**sampler, "negative": wire("prompt", "conditioning"), "latent": wire("empty", "latent")},
        },
    }
    nodes["outputs"] = [{"name": "out", "from": wire("sample", "latent")}]
    found = session.run(nodes)["out"].numpy()
    nodes["nodes"]["sample"]["inputs"]["positive"] = wire("prompt", "conditioning")
    plain = session.run(nodes)["out"].numpy()
    assert np.isfinite(found).all()
    assert np.abs(found - plain).max() > 1e-4


@pytest.mark.parametrize(
    ("files", "message", "expected", "got"),
    [
        (
            {"vision": "clip.safetensors"},
            "the image encoder 'clip.safetensors' does not fit the style model 'redux.safetensors'",
            "a SigLIP 64 wide (sigclip_vision_patch14_384.safetensors)",
            "a CLIP 64 wide",
        ),
        (
            {"vision": "wide.safetensors"},
            "the image encoder 'wide.safetensors' does not fit the style model 'redux.safetensors'",
            "a SigLIP 64 wide (sigclip_vision_patch14_384.safetensors)",
            "a SigLIP 128 wide",
        ),
        (
            {"style": "other.safetensors"},
            "the style model 'other.safetensors' does not fit the prompt",
            "a prompt 32 wide, of Flux.1",
            "one 48 wide",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    session: Session, redux: Any, files: dict[str, str], message: str, expected: str, got: str
) -> None:
    found = problem(session, document(**files))
    assert (found.message, found.expected, found.got) == (f"ApplyStyleModel: {message}", expected, got)


def problem(session: Session, nodes: dict[str, Any]) -> Any:
    with pytest.raises(NodeError) as caught:
        session.run(nodes)
    return caught.value.problem


def test_a_file_of_another_kind_is_no_style_model(session: Session, redux: Any, flux_models: Path) -> None:
    save_file(load_file(flux_models / "vae" / "ae.safetensors"), flux_models / "style_models" / "ae.safetensors")
    found = problem(session, document("ae.safetensors"))
    assert found.message == "ApplyStyleModel: 'ae.safetensors' is no style model that Latentloom knows"
    place = flux_models / "style_models" / "half.safetensors"
    save_file({"redux_up.weight": torch.zeros(144, 64), "redux_down.weight": torch.zeros(48, 144)}, place)
    assert "lacks weights" in problem(session, document("half.safetensors")).message


def test_what_the_files_are(redux: Any, flux_models: Path) -> None:
    vision = SiglipVisionKind().recognise(flux_models / "clip_vision" / "sigclip.safetensors")
    assert vision and vision["clip_vision"] == {"width": 64, "projection": 0, "side": SIDE, "siglip": True}
    assert vision["about"] == "SigLIP vision (64 wide)"
    assert SiglipVisionKind().recognise(flux_models / "clip_vision" / "clip.safetensors") is None
    style = ReduxKind().recognise(flux_models / "style_models" / "redux.safetensors")
    assert style == {"style_model": {"image": 64, "context": 48}, "about": "Flux.1 Redux", "weights": "fp32"}
