"""ControlNets of Qwen-Image beside diffusers' pipelines, on the same weights, noise and sigmas."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    QwenImageControlNetInpaintPipeline,
    QwenImageControlNetModel,
    QwenImageControlNetPipeline,
    QwenImagePipeline,
)
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution as Posterior
from PIL import Image as Picture
from tiny_transformers import randomised, write

from latentloom.api import Session
from latentloom.nodes.diffusion.noise import first_noise
from latentloom.nodes.families.controlnet.qwen_image import QwenImageControl

PROMPT, SEED, STEPS, SIDE = "a red fox", 5, 4, 64


def net(width: int, **more: int) -> Any:
    torch.manual_seed(4)
    told = {"num_layers": 1, "attention_head_dim": 32, "num_attention_heads": 2, "axes_dims_rope": (4, 14, 14)}
    return randomised(QwenImageControlNetModel(joint_attention_dim=width, **told, **more), 0.1)


@pytest.fixture(scope="module")
def nets(pipe: QwenImagePipeline, qwen_models: Path) -> dict[str, Any]:
    width = pipe.transformer.config.joint_attention_dim
    found = {"union": net(width), "repaint": net(width, extra_condition_channels=4)}
    for name, made in found.items():
        write(made.state_dict(), qwen_models / "controlnet" / f"{name}.safetensors")
    found["union"].save_pretrained(qwen_models / "controlnet" / "folder")
    return found


@pytest.fixture(autouse=True)
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """A picture and a mask. The pipelines sample the VAE's posterior, the product takes its mean."""
    monkeypatch.setattr(Posterior, "sample", lambda self, generator=None: self.mean)
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Picture.fromarray(pixels).save(tmp_path / "picture.png")
    half = np.zeros((SIDE, SIDE), np.uint8)
    half[:, :32] = 255
    Picture.fromarray(half).save(tmp_path / "half.png")
    return torch.tensor(pixels).movedim(-1, 0)[None].float() / 255 * 2 - 1


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(file: str, apply: str = "ApplyControlNet", **more: Any) -> dict[str, Any]:
    ends = {"positive": wire("prompt", "conditioning"), "negative": wire("prompt", "conditioning")}
    inputs = {"controlnet": wire("net", "controlnet"), "image": wire("image", "image"), "vae": wire("load", "vae")}
    nodes = {
        "load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "folder"}},
        "prompt": {"type": "CLIPEncode", "inputs": {"clip": wire("load", "clip"), "text": PROMPT}},
        "empty": {"type": "EmptyLatent", "inputs": {"width": SIDE, "height": SIDE}},
        "net": {"type": "LoadControlNet", "inputs": {"controlnet": file}},
        "image": {"type": "LoadImage", "inputs": {"image": "picture.png"}},
        "mask": {"type": "LoadMask", "inputs": {"image": "half.png", "channel": "luminance"}},
        "apply": {"type": apply, "inputs": {**ends, **inputs, "strength": 0.7, **more}},
        "sample": {
            "type": "KSampler",
            "inputs": {
                "model": wire("load", "model"),
                **{name: wire("apply", name) for name in ends},
                "latent": wire("empty", "latent"),
                "seed": SEED,
                "steps": STEPS,
                "cfg": 1.0,
                "sampler": "euler",
                "schedule": "simple",
            },
        },
    }
    return {"format": "latentloom/1", "nodes": nodes, "outputs": [{"name": "out", "from": wire("sample", "latent")}]}


def expected(cls: Any, pipe: Any, net: Any, **call: Any) -> torch.Tensor:
    made = cls(**pipe.components, controlnet=net)
    made.set_progress_bar_config(disable=True)
    cells = SIDE // 8
    noise = first_noise((1, 16, cells, cells), SEED)
    with torch.no_grad():
        found = made(
            PROMPT,
            true_cfg_scale=1.0,
            controlnet_conditioning_scale=0.7,
            latents=QwenImagePipeline._pack_latents(noise, 1, 16, cells, cells),
            **{"num_inference_steps": STEPS, "output_type": "latent", "height": SIDE, "width": SIDE, **call},
        ).images
    latent = QwenImagePipeline._unpack_latents(found, SIDE, SIDE, 8)[:, :, 0]
    mean, std = (torch.tensor(pipe.vae.config[name]).view(1, 16, 1, 1) for name in ("latents_mean", "latents_std"))
    return latent * std + mean


def distance(found: Any, expected: torch.Tensor) -> float:
    return float((torch.tensor(found.numpy()) - expected).norm() / expected.norm())


@pytest.mark.parametrize("file", ["union.safetensors", "folder"])
def test_the_workflow_is_the_pipeline(
    session: Session, pipe: Any, nets: dict[str, Any], picture: torch.Tensor, file: str
) -> None:
    latent = expected(QwenImageControlNetPipeline, pipe, nets["union"], control_image=picture)
    assert distance(session.run(document(file))["out"], latent) < 1e-5
    assert distance(session.run(document(file, strength=0.0))["out"], latent) > 1e-3


def test_repainting_is_the_inpaint_pipeline_s(
    session: Session, pipe: Any, nets: dict[str, Any], picture: torch.Tensor
) -> None:
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[..., :32] = 1
    call = {"control_image": picture, "control_mask": mask}
    latent = expected(QwenImageControlNetInpaintPipeline, pipe, nets["repaint"], **call)
    found = session.run(document("repaint.safetensors", "ApplyInpaintControlNet", mask=wire("mask", "mask")))["out"]
    assert distance(found, latent) < 1e-5


def test_files_are_told_from_the_model_itself(qwen_models: Path, nets: dict[str, Any]) -> None:
    assert nets
    kind, folder = QwenImageControl(), qwen_models / "controlnet"
    assert kind.recognise(qwen_models / "diffusion_models" / "qwen_image.safetensors") is None
    found = [kind.recognise(folder / f"{name}.safetensors") for name in ("union", "repaint")]
    assert [one and one["about"] for one in found] == ["Qwen-Image ControlNet", "Qwen-Image inpaint ControlNet"]
    assert found[1] is not None
    facts = {"family": "qwen_image", "context": 256, "inner": 64, "latents": True, "masked": True}
    assert found[1]["controlnet"] == facts
