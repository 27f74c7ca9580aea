"""Flux.1 Kontext, Fill and Canny: models that see pictures, beside diffusers' pipelines."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    FluxControlPipeline,
    FluxFillPipeline,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
)
from PIL import Image as Picture
from tiny_transformers import flux_names, randomised, write

from latentloom.api import Session
from latentloom.engine.errors import NodeError
from latentloom.nodes.diffusion.noise import first_noise

PROMPT, SEED, STEPS, SIDE = "a red fox, by the lake", 5, 4, 128
CELLS = SIDE // 8
CHANNELS = {"fill": 384, "canny": 128}


@pytest.fixture(scope="module")
def nets(pipe: FluxPipeline, flux_models: Path) -> dict[str, Any]:
    """Transformers of further channels, written beside dev's."""
    made = {}
    for seed, (name, channels) in enumerate(CHANNELS.items()):
        torch.manual_seed(seed)
        config = {**pipe.transformer.config, "in_channels": channels, "out_channels": 64}
        made[name] = randomised(FluxTransformer2DModel.from_config(config))
        write(flux_names(made[name].state_dict()), flux_models / "diffusion_models" / f"{name}.safetensors")
    return made


@pytest.fixture(autouse=True)
def pictures(tmp_path: Path) -> torch.Tensor:
    """A picture [1, 3, H, W] in 0..1, and another one of another size."""
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Picture.fromarray(pixels).save(tmp_path / "picture.png")
    Picture.fromarray(draw.integers(0, 256, (96, 160, 3), np.uint8)).save(tmp_path / "other.png")
    return torch.from_numpy(pixels).float().movedim(-1, 0)[None] / 255


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(unet: str, positive: dict[str, str], picture: str = "picture.png", **more: Any) -> dict[str, Any]:
    clip, vae, plain = wire("clip", "clip"), wire("vae", "vae"), wire("plain", "conditioning")
    texts = {"text_encoder": "t5xxl.safetensors", "second": "clip_l.safetensors", "model": wire("unet", "model")}
    image = wire("picture", "image")
    sampler = {
        "model": wire("unet", "model"),
        "positive": positive,
        "negative": {**positive, "output": "negative"} if positive["output"] == "positive" else plain,
        "latent": wire("empty", "latent"),
        "seed": SEED,
        "steps": STEPS,
        "cfg": 1.0,
        "sampler": "euler",
        "schedule": "simple",
    }
    nodes = {
        "unet": {"type": "LoadUNet", "inputs": {"unet": f"{unet}.safetensors"}},
        "clip": {"type": "LoadCLIP", "inputs": texts},
        "vae": {"type": "LoadVAE", "inputs": {"vae": "ae.safetensors"}},
        "plain": {"type": "CLIPEncode", "inputs": {"clip": clip, "text": PROMPT}},
        "empty": {"type": "EmptyLatent", "inputs": {"width": SIDE, "height": SIDE}},
        "picture": {"type": "LoadImage", "inputs": {"image": picture}},
        "encode": {"type": "VAEEncode", "inputs": {"vae": vae, "image": image}},
        "reference": {
            "type": "ReferenceLatent",
            "inputs": {"conditioning": plain, "latent": wire("encode", "latent")},
        },
        "mask": {
            "type": "MaskRectangle",
            "inputs": {"width": SIDE, "height": SIDE, "box_width": 60, "box_height": SIDE},
        },
        "inpaint": {
            "type": "InpaintConditioning",
            "inputs": {
                "positive": plain,
                "negative": plain,
                "vae": vae,
                "image": image,
                "mask": wire("mask", "mask"),
            },
        },
        "instruct": {
            "type": "InstructConditioning",
            "inputs": {"positive": plain, "negative": plain, "vae": vae, "image": image},
        },
        "sample": {"type": "KSampler", "inputs": {**sampler, **more}},
    }
    outputs = [{"name": "out", "from": wire("sample", "latent")}]
    return {"format": "latentloom/1", "name": "flux", "nodes": nodes, "outputs": outputs}


def certain(vae: Any) -> Any:
    """A VAE whose samples are its means: the pipeline draws one."""
    made = copy.deepcopy(vae)
    with torch.no_grad():
        made.encoder.conv_out.weight[16:] = 0
        made.encoder.conv_out.bias[16:] = -30
    return made


def packed(latent: torch.Tensor) -> torch.Tensor:
    return FluxPipeline._pack_latents(latent, 1, latent.shape[1], *latent.shape[2:])


def encoded(pipe: Any, picture: torch.Tensor) -> torch.Tensor:
    """The scaled latent of a picture in -1..1."""
    with torch.no_grad():
        mean = pipe.vae.encode(picture).latent_dist.mean
    return (mean - pipe.vae.config.shift_factor) * pipe.vae.config.scaling_factor


def made_by(pipe: Any, guidance: float, **call: Any) -> torch.Tensor:
    pipe.set_progress_bar_config(disable=True)
    with torch.no_grad():
        found = pipe(
            prompt=PROMPT,
            guidance_scale=guidance,
            num_inference_steps=STEPS,
            height=SIDE,
            width=SIDE,
            latents=packed(first_noise((1, 16, CELLS, CELLS), SEED)),
            output_type="latent",
            **call,
        ).images
    return FluxPipeline._unpack_latents(found, SIDE, SIDE, 8) / 0.3611 + 0.1159


def distance(session: Session, nodes: dict[str, Any], expected: torch.Tensor) -> float:
    found = torch.tensor(session.run(nodes)["out"].numpy())
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("picture", ["picture.png", "other.png"])
def test_kontext_sees_a_picture_of_any_size(session: Session, pipe: Any, tmp_path: Path, picture: str) -> None:
    pixels = torch.from_numpy(np.array(Picture.open(tmp_path / picture))).float().movedim(-1, 0)[None] / 127.5 - 1
    kontext = FluxKontextPipeline(**pipe.components)
    expected = made_by(kontext, 3.5, image=encoded(pipe, pixels), max_area=SIDE * SIDE, _auto_resize=False)
    nodes = document("dev", wire("reference", "conditioning"), picture)
    assert distance(session, nodes, expected) < 1e-5
    assert distance(session, document("dev", wire("plain", "conditioning")), expected) > 1e-3


def test_fill_sees_the_picture_without_the_masked_part_and_each_pixel_of_the_mask(
    session: Session, pipe: Any, nets: dict[str, Any], pictures: torch.Tensor
) -> None:
    parts = {name: part for name, part in pipe.components.items() if name not in ("image_encoder", "feature_extractor")}
    fill = FluxFillPipeline(**{**parts, "transformer": nets["fill"], "vae": certain(pipe.vae)})
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[..., :60] = 1
    expected = made_by(fill, 30.0, image=pictures, mask_image=mask)
    assert distance(session, document("fill", wire("inpaint", "positive")), expected) < 1e-5


def test_canny_sees_a_picture_beside_the_noise(
    session: Session, pipe: Any, nets: dict[str, Any], pictures: torch.Tensor
) -> None:
    parts = {name: part for name, part in pipe.components.items() if name not in ("image_encoder", "feature_extractor")}
    control = FluxControlPipeline(**{**parts, "transformer": nets["canny"]})
    expected = made_by(control, 10.0, control_image=packed(encoded(pipe, pictures * 2 - 1)))
    assert distance(session, document("canny", wire("instruct", "positive")), expected) < 1e-5


def test_sides_that_are_no_multiple_of_a_token_keep_their_size(session: Session, nets: dict[str, Any]) -> None:
    assert nets
    nodes = document("canny", wire("instruct", "positive"), "odd.png", latent=wire("instruct", "latent"))
    Picture.new("RGB", (136, 120), "red").save(Path(session.engine.settings.input) / "odd.png")
    assert session.run(nodes)["out"].shape == (1, 16, 15, 17)


@pytest.mark.parametrize(
    ("unet", "positive", "expected", "got"),
    [
        ("fill", wire("plain", "conditioning"), "96 channels", "16"),
        ("canny", wire("plain", "conditioning"), "32 channels", "16"),
        ("fill", wire("instruct", "positive"), "96 channels", "32"),
        ("canny", wire("reference", "conditioning"), "32 channels", "16"),
    ],
)
def test_a_conditioning_without_what_the_model_sees_is_refused(
    session: Session, nets: dict[str, Any], unet: str, positive: dict[str, str], expected: str, got: str
) -> None:
    assert nets
    with pytest.raises(NodeError) as caught:
        session.run(document(unet, positive))
    assert "needs input channels in addition to the noise" in caught.value.problem.message
    assert (caught.value.problem.expected, caught.value.problem.got) == (expected, got)
