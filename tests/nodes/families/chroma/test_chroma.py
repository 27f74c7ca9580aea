"""Chroma, end to end, beside diffusers' pipeline on the same weights, noise and sigmas."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    ChromaImg2ImgPipeline,
    ChromaPipeline,
    ChromaTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
)
from PIL import Image as Picture
from tiny_transformers import (
    autoencoder,
    chroma_names,
    original_vae,
    randomised,
    t5,
    t5_file,
    t5_tokenizer,
    unigram_tokenizer,
    write,
)

from latentloom.api import Session
from latentloom.engine.settings import load_settings
from latentloom.nodes.diffusion.noise import first_noise

PROMPT, NEGATIVE, SEED, STEPS, SIDE, WIDTH = "a red fox, by the lake", "grey", 5, 4, 128, 48


@pytest.fixture(scope="module")
def pipe() -> ChromaPipeline:
    torch.manual_seed(0)
    net = ChromaTransformer2DModel(
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=32,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 14, 14),
        approximator_hidden_dim=40,
        approximator_layers=2,
    )
    made = ChromaPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=autoencoder(0.3611, 0.1159),
        text_encoder=t5(WIDTH),
        tokenizer=t5_tokenizer(),
        transformer=randomised(net),
    )
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture
def session(tmp_path: Path, pipe: ChromaPipeline) -> Iterator[Session]:
    root = tmp_path / "models"
    write(chroma_names(pipe.transformer.state_dict()), root / "diffusion_models" / "chroma.safetensors")
    write(t5_file(pipe.text_encoder), root / "text_encoders" / "t5xxl.safetensors")
    (root / "text_encoders" / "t5_tokenizer").mkdir()
    unigram_tokenizer().save(str(root / "text_encoders" / "t5_tokenizer" / "tokenizer.json"))
    write(original_vae(pipe.vae), root / "vae" / "ae.safetensors")
    pipe.save_pretrained(root / "checkpoints" / "folder")
    folders = {"models": [root], "input": tmp_path}
    with Session(
        load_settings({**folders, "device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(tmp_path)})
    ) as made:
        yield made


@pytest.fixture(autouse=True)
def picture(tmp_path: Path) -> torch.Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Picture.fromarray(pixels).save(tmp_path / "picture.png")
    return torch.from_numpy(pixels).movedim(-1, 0)[None].float() / 255


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(*, folder: bool = False, cfg: float = 1.0, output: str = "sample", **sampler: Any) -> dict[str, Any]:
    model, clip, vae = wire("unet", "model"), wire("clip", "clip"), wire("vae", "vae")
    nodes: dict[str, Any] = {
        "unet": {"type": "LoadUNet", "inputs": {"unet": "chroma.safetensors"}},
        "clip": {"type": "LoadCLIP", "inputs": {"text_encoder": "t5xxl.safetensors", "model": model}},
        "vae": {"type": "LoadVAE", "inputs": {"vae": "ae.safetensors", "model": model}},
    }
    if folder:
        nodes = {"load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "folder"}}}
        model, clip, vae = (wire("load", part) for part in ("model", "clip", "vae"))
    inputs = {
        "model": model,
        "positive": wire("positive", "conditioning"),
        "negative": wire("negative", "conditioning"),
        "latent": wire("empty", "latent"),
        "seed": SEED,
        "steps": STEPS,
        "cfg": cfg,
        "sampler": "euler",
        "schedule": "simple",
    }
    box = {"width": SIDE, "height": SIDE, "box_width": SIDE // 2, "box_height": SIDE}
    masked = {"latent": wire("encode", "latent"), "mask": wire("mask", "mask")}
    nodes |= {
        "positive": {"type": "CLIPEncode", "inputs": {"clip": clip, "text": PROMPT}},
        "negative": {"type": "CLIPEncode", "inputs": {"clip": clip, "text": NEGATIVE}},
        "empty": {"type": "EmptyLatent", "inputs": {"width": SIDE, "height": SIDE}},
        "picture": {"type": "LoadImage", "inputs": {"image": "picture.png"}},
        "encode": {"type": "VAEEncode", "inputs": {"vae": vae, "image": wire("picture", "image")}},
        "mask": {"type": "MaskRectangle", "inputs": box},
        "masked": {"type": "SetLatentMask", "inputs": masked},
        "sample": {"type": "KSampler", "inputs": {**inputs, **sampler}},
    }
    outputs = [{"name": "out", "from": wire(output, "latent")}]
    return {"format": "latentloom/1", "name": "chroma", "nodes": nodes, "outputs": outputs}


def read(pipe: ChromaPipeline, text: str) -> dict[str, torch.Tensor]:
    """What the pipeline reads of a text, up to the last token that counts.

    The pipeline keeps the others and adds its mask of ones and zeros to the scores of attention, which hides nothing.
    """
    embeds, mask = pipe._get_t5_prompt_embeds(text, max_sequence_length=512)
    count = int(mask.sum())
    return {"prompt_embeds": embeds[:, :count], "prompt_attention_mask": mask[:, :count]}


def expected(pipe: Any, cfg: float, latents: torch.Tensor, **call: Any) -> torch.Tensor:
    """The unscaled latent that a pipeline ends with, from a noised one."""
    side = SIDE // 8
    with torch.no_grad():
        negative = {f"negative_{name}": value for name, value in read(pipe, NEGATIVE).items()}
        found = pipe(
            **read(pipe, PROMPT),
            **negative,
            guidance_scale=cfg,
            height=SIDE,
            width=SIDE,
            latents=ChromaPipeline._pack_latents(latents, 1, 16, side, side),
            output_type="latent",
            **{"num_inference_steps": STEPS, **call},
        ).images
    return ChromaPipeline._unpack_latents(found, SIDE, SIDE, 8) / 0.3611 + 0.1159


def noise() -> torch.Tensor:
    return first_noise((1, 16, SIDE // 8, SIDE // 8), SEED)


def distance(found: Any, expected: torch.Tensor) -> float:
    return float((torch.tensor(found.numpy()) - expected).norm() / expected.norm())


@pytest.mark.parametrize("folder", [False, True], ids=["split files", "folder"])
@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_the_whole_workflow_is_the_pipeline(session: Session, pipe: Any, folder: bool, cfg: float) -> None:
    assert distance(session.run(document(folder=folder, cfg=cfg))["out"], expected(pipe, cfg, noise())) < 1e-5


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_image_to_image_is_the_pipelines(session: Session, pipe: Any, picture: torch.Tensor, cfg: float) -> None:
    """The pipeline starts later in the same schedule; it draws the noise itself, so it is given the latent."""
    made = ChromaImg2ImgPipeline(**pipe.components)
    made.set_progress_bar_config(disable=True)
    with torch.no_grad():
        mean = pipe.vae.encode(picture * 2 - 1).latent_dist.mean
    start = (mean - 0.1159) * 0.3611 * 0.5 + noise() * 0.5
    told = {"image": picture, "strength": 0.5, "num_inference_steps": 2 * STEPS}
    latent = expected(made, cfg, start, **told)
    found = session.run(document(cfg=cfg, latent=wire("encode", "latent"), denoise=0.5))["out"]
    assert distance(found, latent) < 1e-5


def test_inpainting_keeps_what_is_not_masked_and_paints_the_rest(session: Session) -> None:
    before = session.run(document(output="encode"))["out"].numpy()
    found = session.run(document(latent=wire("masked", "latent"), denoise=0.8))["out"].numpy()
    assert np.array_equal(found[..., 8:], before[..., 8:])
    assert np.abs(found[..., :8] - before[..., :8]).min() > 0
