"""Stable Diffusion 3, end to end, beside diffusers' pipelines on the same weights, noise and sigmas."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Img2ImgPipeline, StableDiffusion3Pipeline
from PIL import Image as Picture

from latentloom.api import Session
from latentloom.engine.errors import NodeError
from latentloom.engine.events import NodeWarning
from latentloom.nodes.diffusion.noise import first_noise

PROMPT, NEGATIVE, SEED, STEPS, SIDE = "a red fox, by the lake", "blurry and grey in a wood", 5, 4, 128


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(
    checkpoint: str = "sd3_all.safetensors",
    *,
    texts: tuple[str, ...] = (),
    output: str = "sample",
    port: str = "latent",
    **sampler: Any,
) -> dict[str, Any]:
    """A workflow as a person makes it: a checkpoint, perhaps with text encoders of their own."""
    model, vae = wire("load", "model"), wire("load", "vae")
    names = {
        name: f"{file}.safetensors" for name, file in zip(("text_encoder", "second", "third"), texts, strict=False)
    }
    inputs = {
        "model": model,
        "positive": wire("positive", "conditioning"),
        "negative": wire("negative", "conditioning"),
        "latent": wire("empty", "latent"),
        "seed": SEED,
        "steps": STEPS,
        "cfg": 4.0,
        "sampler": "euler",
        "schedule": "simple",
    }
    clip = wire("clip", "clip") if texts else wire("load", "clip")
    nodes = {
        "load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": checkpoint}},
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
    if texts:
        nodes["clip"] = {"type": "LoadCLIP", "inputs": {**names, "model": model}}
    outputs = [{"name": "out", "from": wire(output, port)}]
    return {"format": "latentloom/1", "name": "sd3", "nodes": nodes, "outputs": outputs}


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


def unscaled(pipe: Any, latent: torch.Tensor) -> torch.Tensor:
    return latent / pipe.vae.config.scaling_factor + pipe.vae.config.shift_factor


def expected(pipe: StableDiffusion3Pipeline, guidance: float = 4.0, **call: Any) -> torch.Tensor:
    with torch.no_grad():
        found = pipe(
            PROMPT,
            negative_prompt=NEGATIVE,
            guidance_scale=guidance,
            height=SIDE,
            width=SIDE,
            **{
                "latents": noise(),
                "sigmas": [1 - n / STEPS for n in range(STEPS)],
                "num_inference_steps": STEPS,
                "output_type": "latent",
                **call,
            },
        ).images
    return unscaled(pipe, found)


@pytest.mark.parametrize("checkpoint", ["sd3_all.safetensors", "folder"])
@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_the_whole_workflow_is_the_pipeline(session: Session, pipe: Any, checkpoint: str, cfg: float) -> None:
    latent = expected(pipe, cfg)
    assert distance(session.run(document(checkpoint, cfg=cfg))["out"], latent) < 1e-5
    with torch.no_grad():
        pixels = (pipe.vae.decode(latent).sample / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    decoded = session.run(document(checkpoint, cfg=cfg, output="decode", port="image"))
    assert distance(decoded["out"], pixels) < 1e-5


def test_the_newer_network_is_the_pipelines_too(session: Session, newer: Any) -> None:
    assert distance(session.run(document("sd35_all.safetensors"))["out"], expected(newer)) < 1e-5


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_text_encoders_of_their_own_may_come_in_any_order(session: Session, pipe: Any, order: tuple[int, ...]) -> None:
    texts = ("clip_l", "clip_g", "t5xxl")
    found = session.run(document("sd3.safetensors", texts=tuple(texts[n] for n in order)))["out"]
    assert distance(found, expected(pipe)) < 1e-5


def test_a_checkpoint_without_t5_reads_zeros_as_the_pipeline_does(session: Session, pipe: Any) -> None:
    parts = {**pipe.components, "text_encoder_3": None, "tokenizer_3": None}
    alone = StableDiffusion3Pipeline(**parts)
    alone.set_progress_bar_config(disable=True)
    assert distance(session.run(document("sd3_clips.safetensors"))["out"], expected(alone)) < 1e-5


def embedding(session: Session, *texts: str) -> Any:
    nodes = document("sd3.safetensors", texts=texts, output="positive", port="conditioning")
    return session.run(nodes)["out"].entries[0]


def test_zeros_stand_where_an_encoder_is_missing(session: Session) -> None:
    """CLIP-L has 32 numbers a token, CLIP-G 48; T5 is 96 wide and follows their 77 tokens."""
    whole = embedding(session, "clip_l", "clip_g", "t5xxl")
    hidden, pooled = whole.embedding.numpy(), whole.arrays["pooled"].numpy()
    assert hidden.shape == (1, 77 + 256, 96)
    for texts, kept in (
        (("clip_g", "t5xxl"), [(slice(77), slice(32, 96)), (slice(77, None), slice(None))]),
        (("clip_l", "t5xxl"), [(slice(77), slice(32)), (slice(77, None), slice(None))]),
        (("t5xxl",), [(slice(77, None), slice(None))]),
        (("clip_l",), [(slice(77), slice(32))]),
    ):
        wanted = np.zeros_like(hidden)
        for tokens, numbers in kept:
            wanted[:, tokens, numbers] = hidden[:, tokens, numbers]
        found = embedding(session, *texts)
        assert np.array_equal(found.embedding.numpy(), wanted)
        parts = {"clip_l": pooled[:, :32], "clip_g": pooled[:, 32:]}
        values = [part if name in texts else np.zeros_like(part) for name, part in parts.items()]
        assert np.array_equal(found.arrays["pooled"].numpy(), np.concatenate(values, axis=1))


def test_image_to_image_is_the_pipelines(session: Session, pipe: Any, picture: torch.Tensor) -> None:
    """With one picture, the pipeline's generator draws the noise that the sampler's seed draws."""
    made = StableDiffusion3Img2ImgPipeline(**pipe.components)
    made.set_progress_bar_config(disable=True)
    with torch.no_grad():
        mean = pipe.vae.encode(picture.movedim(-1, 0)[None] * 2 - 1).latent_dist.mean
        found = made(
            PROMPT,
            negative_prompt=NEGATIVE,
            guidance_scale=3.0,
            image=(mean - pipe.vae.config.shift_factor) * pipe.vae.config.scaling_factor,
            strength=0.5,
            sigmas=[1 - n / 8 for n in range(8)],
            num_inference_steps=8,
            generator=torch.Generator().manual_seed(SEED),
            height=SIDE,
            width=SIDE,
            output_type="latent",
        ).images
    nodes = document(latent=wire("encode", "latent"), denoise=0.5, cfg=3.0)
    assert distance(session.run(nodes)["out"], unscaled(pipe, found)) < 1e-5


def test_inpainting_keeps_what_is_not_masked_and_paints_the_rest(session: Session) -> None:
    before = session.run(document(output="encode"))["out"].numpy()
    found = session.run(document(latent=wire("masked", "latent"), denoise=0.8))["out"].numpy()
    assert np.array_equal(found[..., 8:], before[..., 8:])
    assert np.abs(found[..., :8] - before[..., :8]).min() > 0


def problem(session: Session, nodes: dict[str, Any]) -> Any:
    with pytest.raises(NodeError) as caught:
        session.run(nodes)
    return caught.value.problem


def test_a_picture_beyond_the_models_table_of_places_is_refused_before_anything_is_loaded(session: Session) -> None:
    nodes = document()
    nodes["nodes"]["empty"]["inputs"] |= {"width": 200}
    found = problem(session, nodes)
    assert found.message == "KSampler: the picture is larger than the model supports"
    assert (found.expected, found.got) == ("sides of at most 192 pixels", "200x128")


def test_reference_pictures_are_refused_by_a_model_that_takes_none(session: Session) -> None:
    nodes = document(positive=wire("reference", "conditioning"))
    inputs = {"conditioning": wire("positive", "conditioning"), "latent": wire("encode", "latent")}
    nodes["nodes"]["reference"] = {"type": "ReferenceLatent", "inputs": inputs}
    assert (
        problem(session, nodes).message == "KSampler: 'sd3_all.safetensors' (sd3) does not support reference pictures"
    )


def test_a_checkpoint_without_text_encoders_says_which_it_wants(session: Session) -> None:
    found = problem(session, document("sd3.safetensors"))
    assert found.message == "'sd3.safetensors' has no text encoder"
    assert found.hint.startswith("LoadCLIP loads one, CLIP-L, CLIP-G and T5-XXL, from a file in models/clip")
    assert session.engine.figures()["model_loads"] == 0


def test_nothing_of_a_file_with_all_parts_is_left_over(session: Session) -> None:
    heard: list[Any] = []
    session.run(document(output="decode", port="image"), on_event=heard.append)
    assert [event for event in heard if isinstance(event, NodeWarning) and event.code == "not_used"] == []
