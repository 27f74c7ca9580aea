"""Qwen-Image, end to end, beside diffusers' pipelines on the same weights, noise and sigmas."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import QwenImageImg2ImgPipeline, QwenImagePipeline
from PIL import Image as Picture
from safetensors.torch import load_file, save_file
from tiny_transformers import autoencoder, original_vae, write

from latentloom.api import Session
from latentloom.engine.errors import NodeError
from latentloom.engine.events import NodeWarning
from latentloom.nodes.diffusion.noise import first_noise

PROMPT, NEGATIVE, SEED, STEPS, SIDE = "a red fox", "blurry and grey in a wood", 5, 4, 128


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(*, folder: bool = False, output: str = "sample", port: str = "latent", **sampler: Any) -> dict[str, Any]:
    """A workflow as a person makes it: split files or a folder, prompts, KSampler, decoded."""
    if folder:
        nodes = {"load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "folder"}}}
        model, clip, vae = (wire("load", part) for part in ("model", "clip", "vae"))
    else:
        model, clip, vae = wire("unet", "model"), wire("clip", "clip"), wire("vae", "vae")
        nodes = {
            "unet": {"type": "LoadUNet", "inputs": {"unet": "qwen_image.safetensors"}},
            "clip": {"type": "LoadCLIP", "inputs": {"text_encoder": "qwen_2.5_vl_7b.safetensors", "model": model}},
            "vae": {"type": "LoadVAE", "inputs": {"vae": "qwen_image_vae.safetensors", "model": model}},
        }
    inputs = {
        "model": model,
        "positive": wire("positive", "conditioning"),
        "negative": wire("negative", "conditioning"),
        "latent": wire("empty", "latent"),
        "seed": SEED,
        "steps": STEPS,
        "cfg": 1.0,
        "sampler": "euler",
        "schedule": "simple",
    }
    nodes |= {
        "positive": {"type": "CLIPEncode", "inputs": {"clip": clip, "text": PROMPT}},
        "negative": {"type": "CLIPEncode", "inputs": {"clip": clip, "text": NEGATIVE}},
        "empty": {"type": "EmptyLatent", "inputs": {"width": SIDE, "height": SIDE}},
        "picture": {"type": "LoadImage", "inputs": {"image": "picture.png"}},
        "encode": {"type": "VAEEncode", "inputs": {"vae": vae, "image": wire("picture", "image")}},
        "mask": {
            "type": "MaskRectangle",
            "inputs": {"width": SIDE, "height": SIDE, "box_width": 64, "box_height": SIDE},
        },
        "masked": {
            "type": "SetLatentMask",
            "inputs": {"latent": wire("encode", "latent"), "mask": wire("mask", "mask")},
        },
        "sample": {"type": "KSampler", "inputs": {**inputs, **sampler}},
        "decode": {"type": "VAEDecode", "inputs": {"vae": vae, "latent": wire("sample", "latent")}},
    }
    outputs = [{"name": "out", "from": wire(output, port)}]
    return {"format": "latentloom/1", "name": "qwen", "nodes": nodes, "outputs": outputs}


@pytest.fixture(autouse=True)
def picture(tmp_path: Path) -> torch.Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Picture.fromarray(pixels).save(tmp_path / "picture.png")
    return torch.from_numpy(pixels).float() / 255


def distance(found: Any, expected: torch.Tensor) -> float:
    found = torch.tensor(found.numpy())
    return float((found - expected).norm() / expected.norm())


def noise() -> torch.Tensor:
    return first_noise((1, 16, SIDE // 8, SIDE // 8), SEED)


def packed(latent: torch.Tensor) -> torch.Tensor:
    return QwenImagePipeline._pack_latents(latent, 1, 16, SIDE // 8, SIDE // 8)


def unscaled(pipe: Any, tokens: torch.Tensor) -> torch.Tensor:
    """The latent of a pipeline's tokens, as the VAE gives it."""
    latent = QwenImagePipeline._unpack_latents(tokens, SIDE, SIDE, 8)[:, :, 0]
    mean, std = (torch.tensor(pipe.vae.config[name]).view(1, 16, 1, 1) for name in ("latents_mean", "latents_std"))
    return latent * std + mean


def expected(pipe: Any, cfg: float, **call: Any) -> torch.Tensor:
    with torch.no_grad():
        found = pipe(
            PROMPT,
            negative_prompt=NEGATIVE,
            true_cfg_scale=cfg,
            height=SIDE,
            width=SIDE,
            **{"latents": packed(noise()), "num_inference_steps": STEPS, "output_type": "latent", **call},
        ).images
    return unscaled(pipe, found)


@pytest.mark.parametrize("folder", [False, True], ids=["split files", "folder"])
@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_the_whole_workflow_is_the_pipeline(session: Session, pipe: Any, folder: bool, cfg: float) -> None:
    latent = expected(pipe, cfg)
    assert distance(session.run(document(folder=folder, cfg=cfg))["out"], latent) < 1e-5
    with torch.no_grad():
        pixels = (pipe.vae.decode(latent[:, :, None]).sample[:, :, 0] / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    decoded = session.run(document(folder=folder, cfg=cfg, output="decode", port="image"))
    assert distance(decoded["out"], pixels) < 1e-5


def test_image_to_image_is_the_pipelines(session: Session, pipe: Any, picture: torch.Tensor) -> None:
    """The pipeline draws the noise itself, so it is given the latent that its schedule starts with."""
    made = QwenImageImg2ImgPipeline(**pipe.components)
    made.set_progress_bar_config(disable=True)
    with torch.no_grad():
        mean = pipe.vae.encode(picture.movedim(-1, 0)[None, :, None] * 2 - 1).latent_dist.mean[:, :, 0]
    assert distance(session.run(document(output="encode"))["out"], mean) < 1e-5
    middle, std = (torch.tensor(pipe.vae.config[name]).view(1, 16, 1, 1) for name in ("latents_mean", "latents_std"))
    scaled = (mean - middle) / std
    made.scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 8, 8), mu=0.5 + (64 - 256) * 0.4 / (8192 - 256))
    start = made.scheduler.sigmas[4]
    with torch.no_grad():
        found = made(
            PROMPT,
            negative_prompt=NEGATIVE,
            true_cfg_scale=2.0,
            image=picture.movedim(-1, 0)[None],
            strength=0.5,
            num_inference_steps=8,
            height=SIDE,
            width=SIDE,
            latents=packed(noise() * start + scaled * (1 - start)),
            output_type="latent",
        ).images
    latent = session.run(document(latent=wire("encode", "latent"), denoise=0.5, cfg=2.0))["out"]
    assert distance(latent, unscaled(pipe, found)) < 1e-5


def test_inpainting_keeps_what_is_not_masked_and_paints_the_rest(session: Session) -> None:
    before = session.run(document(output="encode"))["out"].numpy()
    found = session.run(document(latent=wire("masked", "latent"), denoise=0.8, cfg=3.0))["out"].numpy()
    assert np.array_equal(found[..., 8:], before[..., 8:])
    assert np.abs(found[..., :8] - before[..., :8]).min() > 0


def test_sides_that_are_no_multiple_of_a_token_keep_their_size(session: Session) -> None:
    odd = document(cfg=3.0)
    odd["nodes"]["empty"]["inputs"] |= {"width": 136, "height": 120}
    assert session.run(odd)["out"].shape == (1, 16, 15, 17)


def problem(session: Session, nodes: dict[str, Any]) -> Any:
    with pytest.raises(NodeError) as caught:
        session.run(nodes)
    return caught.value.problem


def test_the_vae_of_flux_is_refused_although_it_has_as_many_channels(session: Session, qwen_models: Path) -> None:
    place = write(original_vae(autoencoder(0.3611, 0.1159)), qwen_models / "vae" / "ae.safetensors")
    nodes = document(output="decode", port="image")
    nodes["nodes"]["vae"]["inputs"]["vae"] = place.name
    found = problem(session, nodes)
    place.unlink()
    assert found.message == "LoadVAE: the VAE 'ae.safetensors' does not fit 'qwen_image.safetensors'"
    assert found.expected == ("the VAE of Qwen-Image (qwen_image_vae.safetensors) (16 channels of Qwen-Image and Wan)")
    assert found.got == "16 channels"
    assert session.engine.figures()["model_loads"] == 0


def test_a_text_encoder_of_another_family_is_refused(session: Session, qwen_models: Path) -> None:
    place = qwen_models / "text_encoders" / "qwen3.safetensors"
    state = load_file(qwen_models / "text_encoders" / "qwen_2.5_vl_7b.safetensors")
    save_file({**state, "model.layers.0.self_attn.q_norm.weight": torch.ones(128)}, place)
    nodes = document()
    nodes["nodes"]["clip"]["inputs"]["text_encoder"] = place.name
    found = problem(session, nodes)
    place.unlink()
    assert found.message == "LoadCLIP: 'qwen3.safetensors' is not a text encoder of Qwen-Image"
    assert (found.expected, found.got) == ("Qwen2.5-VL-7B", "Qwen3")


def test_a_file_with_all_parts_is_the_split_files(session: Session, qwen_models: Path) -> None:
    parts = {
        "model.diffusion_model.": load_file(qwen_models / "diffusion_models" / "qwen_image.safetensors"),
        "text_encoders.qwen25_7b.transformer.": load_file(qwen_models / "text_encoders" / "qwen_2.5_vl_7b.safetensors"),
        "vae.": load_file(qwen_models / "vae" / "qwen_image_vae.safetensors"),
    }
    state = {prefix + name: tensor for prefix, part in parts.items() for name, tensor in part.items()}
    place = write(state, qwen_models / "checkpoints" / "all.safetensors")
    (qwen_models / "checkpoints" / "tokenizer").symlink_to(qwen_models / "text_encoders" / "tokenizer")
    nodes = document(folder=True, output="decode", port="image", steps=1)
    nodes["nodes"]["load"]["inputs"]["checkpoint"] = place.name
    nodes["nodes"]["look"] = {
        "type": "CLIPEncodePictures",
        "inputs": {"clip": wire("load", "clip"), "pictures": [wire("picture", "image")]},
    }
    nodes["outputs"].append({"name": "look", "from": wire("look", "conditioning")})
    heard: list[Any] = []
    found = session.run(nodes, on_event=heard.append)["out"]
    (qwen_models / "checkpoints" / "tokenizer").unlink()
    place.unlink()
    expected = session.run(document(output="decode", port="image", steps=1))["out"]
    assert np.array_equal(found.numpy(), expected.numpy())
    assert [event for event in heard if isinstance(event, NodeWarning) and event.code == "not_used"] == []


def test_nothing_of_the_files_is_left_over(session: Session) -> None:
    heard: list[Any] = []
    session.run(document(output="decode", port="image"), on_event=heard.append)
    assert [event for event in heard if isinstance(event, NodeWarning) and event.code == "not_used"] == []


def test_seamless_is_refused_by_a_vae_that_it_does_not_reach(session: Session) -> None:
    nodes = document(output="decode", port="image")
    inputs = {"model": wire("unet", "model"), "vae": wire("vae", "vae")}
    nodes["nodes"]["seamless"] = {"type": "Seamless", "inputs": inputs}
    nodes["nodes"]["decode"]["inputs"]["vae"] = wire("seamless", "vae")
    assert problem(session, nodes).message.startswith("VAEDecode: Seamless does not support video VAEs")


def test_the_second_picture_has_previews(session: Session) -> None:
    def shown(seed: int) -> list[Any]:
        events = session.stream(document(output="decode", port="image", seed=seed, steps=1))
        return [event.image.shape for event in events if event.name == "node_preview"]

    assert (shown(1), shown(2)) == ([], [(1, SIDE // 2, SIDE // 2, 3)])
