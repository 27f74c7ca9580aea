"""ControlNets of Z-Image beside diffusers' pipeline, on the same weights, noise and sigmas."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ZImageControlNetModel, ZImageControlNetPipeline
from PIL import Image as Picture
from tiny_transformers import randomised, write

from latentloom.api import Session
from latentloom.engine.errors import NodeError
from latentloom.engine.models.load_warnings import gathered_warnings
from latentloom.nodes.diffusion.noise import first_noise
from latentloom.nodes.families.controlnet.z_image import ZImageControl

PROMPT, SEED, STEPS, SIDE = "a red fox", 5, 2, 64
VERSIONS: dict[str, dict[str, Any]] = {
    "1": {"control_layers_places": [0], "control_in_dim": 16},
    "2.0": {
        "control_layers_places": [0, 1],
        "control_refiner_layers_places": [0],
        "control_in_dim": 33,
        "add_control_noise_refiner": "control_layers",
    },
    "2.1": {
        "control_layers_places": [0, 1],
        "control_refiner_layers_places": [0],
        "control_in_dim": 33,
        "add_control_noise_refiner": "control_noise_refiner",
    },
}


def net(**more: Any) -> Any:
    torch.manual_seed(4)
    return randomised(ZImageControlNetModel(dim=64, n_refiner_layers=1, n_heads=4, n_kv_heads=4, **more), 0.1)


@pytest.fixture(scope="module")
def nets(z_models: Path) -> dict[str, Any]:
    found = {name: net(**told) for name, told in VERSIONS.items()}
    for name, made in found.items():
        state = made.state_dict()
        if name == "2.0":  # the published file has the layers of 2.1, which it does not use, with zeros
            unused = {key: torch.zeros_like(value) for key, value in net(**VERSIONS["2.1"]).state_dict().items()}
            state = {key: value for key, value in unused.items() if key.startswith("control_noise")} | state
        write(state, z_models / "controlnet" / f"{name}.safetensors")
        made.save_pretrained(z_models / "controlnet" / f"folder-{name}")
    return found


@pytest.fixture(autouse=True)
def picture(tmp_path: Path) -> torch.Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Picture.fromarray(pixels).save(tmp_path / "picture.png")
    return torch.tensor(pixels).movedim(-1, 0)[None].float() / 255


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(file: str, cfg: float = 1.0, **more: Any) -> dict[str, Any]:
    ends = {"positive": wire("prompt", "conditioning"), "negative": wire("other", "conditioning")}
    inputs = {"controlnet": wire("net", "controlnet"), "image": wire("image", "image"), "vae": wire("load", "vae")}
    clip = wire("load", "clip")
    nodes = {
        "load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "z"}},
        "prompt": {"type": "CLIPEncode", "inputs": {"clip": clip, "text": PROMPT}},
        "other": {"type": "CLIPEncode", "inputs": {"clip": clip, "text": "blurry and grey in a wood"}},
        "empty": {"type": "EmptyLatent", "inputs": {"width": SIDE, "height": SIDE}},
        "net": {"type": "LoadControlNet", "inputs": {"controlnet": file}},
        "image": {"type": "LoadImage", "inputs": {"image": "picture.png"}},
        "mask": {"type": "MaskRectangle", "inputs": {"width": SIDE, "height": SIDE, "box_width": 32, "box_height": 64}},
        "apply": {"type": "ApplyControlNet", "inputs": {**ends, **inputs, "strength": 0.7, **more}},
        "sample": {
            "type": "KSampler",
            "inputs": {
                "model": wire("load", "model"),
                **{name: wire("apply", name) for name in ends},
                "latent": wire("empty", "latent"),
                "seed": SEED,
                "steps": STEPS,
                "cfg": cfg,
                "sampler": "euler",
                "schedule": "simple",
            },
        },
    }
    return {"format": "latentloom/1", "nodes": nodes, "outputs": [{"name": "out", "from": wire("sample", "latent")}]}


def latent(session: Session, file: str, **more: Any) -> torch.Tensor:
    return torch.tensor(session.run(document(file, **more))["out"].numpy())


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize(
    ("file", "cfg"),
    [("1.safetensors", 1.0), ("2.0.safetensors", 1.0), ("2.1.safetensors", 3.0), ("folder-2.0", 1.0)],
)
def test_the_workflow_is_the_pipeline(
    session: Session, pipe: Any, nets: dict[str, Any], picture: torch.Tensor, file: str, cfg: float
) -> None:
    version = file.removesuffix(".safetensors").removeprefix("folder-")
    made = ZImageControlNetPipeline(**pipe.components, controlnet=nets[version])
    made.set_progress_bar_config(disable=True)
    with torch.no_grad():
        expected = made(
            PROMPT,
            negative_prompt="blurry and grey in a wood",
            guidance_scale=cfg - 1,
            control_image=picture * 2 - 1,
            controlnet_conditioning_scale=0.7,
            latents=first_noise((1, 16, SIDE // 8, SIDE // 8), SEED),
            num_inference_steps=STEPS,
            output_type="latent",
            height=SIDE,
            width=SIDE,
        ).images
    expected = expected / 0.3611 + 0.1159
    assert distance(latent(session, file, cfg=cfg), expected) < 1e-5
    assert distance(latent(session, file, cfg=cfg, strength=0.0), expected) > 1e-3


def test_a_mask_limits_it_to_a_part_of_the_picture(session: Session, nets: dict[str, Any]) -> None:
    assert nets
    whole, none = latent(session, "1.safetensors"), latent(session, "1.safetensors", strength=0.0)
    part = latent(session, "1.safetensors", mask=wire("mask", "mask"))
    assert 1e-3 < distance(part, none) < distance(whole, none)


def test_files_are_told_and_nothing_of_them_is_left_over(z_models: Path, nets: dict[str, Any]) -> None:
    kind, folder = ZImageControl(), z_models / "controlnet"
    assert kind.recognise(z_models / "diffusion_models" / "z.safetensors") is None
    found = kind.recognise(folder / "2.0.safetensors")
    assert found is not None
    assert found["about"] == "Z-Image ControlNet"
    assert found["controlnet"] == {"family": "z_image", "inner": 64, "latents": True}
    for name in nets:
        with gathered_warnings() as told:
            kind.load([folder / f"{name}.safetensors"], {})
        assert [warning.code for warning in told] == []


def test_one_of_another_size_is_refused(session: Session, z_models: Path, nets: dict[str, Any]) -> None:
    assert nets
    other = ZImageControlNetModel(dim=32, n_refiner_layers=1, n_heads=2, n_kv_heads=2, **VERSIONS["1"])
    write(other.state_dict(), z_models / "controlnet" / "small.safetensors")
    with pytest.raises(NodeError) as caught:
        session.run(document("small.safetensors"))
    assert caught.value.problem.message == "KSampler: the ControlNet 'small.safetensors' does not fit 'z'"
    assert (caught.value.problem.expected, caught.value.problem.got) == (
        "one that is 64 wide inside",
        "one that is 32 wide",
    )
