"""Chroma, end to end, beside diffusers' pipeline on the same weights, noise and sigmas."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ChromaPipeline, ChromaTransformer2DModel, FlowMatchEulerDiscreteScheduler
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


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(*, folder: bool, cfg: float, text: str = PROMPT) -> dict[str, Any]:
    model, clip = wire("unet", "model"), wire("clip", "clip")
    nodes: dict[str, Any] = {
        "unet": {"type": "LoadUNet", "inputs": {"unet": "chroma.safetensors"}},
        "clip": {"type": "LoadCLIP", "inputs": {"text_encoder": "t5xxl.safetensors", "model": model}},
    }
    if folder:
        nodes = {"load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "folder"}}}
        model, clip = wire("load", "model"), wire("load", "clip")
    sampler = {
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
    nodes |= {
        "positive": {"type": "CLIPEncode", "inputs": {"clip": clip, "text": text}},
        "negative": {"type": "CLIPEncode", "inputs": {"clip": clip, "text": NEGATIVE}},
        "empty": {"type": "EmptyLatent", "inputs": {"width": SIDE, "height": SIDE}},
        "sample": {"type": "KSampler", "inputs": sampler},
    }
    outputs = [{"name": "out", "from": wire("sample", "latent")}]
    return {"format": "latentloom/1", "name": "chroma", "nodes": nodes, "outputs": outputs}


def read(pipe: ChromaPipeline, text: str) -> dict[str, torch.Tensor]:
    """What the pipeline reads of a text, up to the last token that counts.

    The pipeline keeps the others and adds its mask of ones and zeros to the scores of attention, which hides nothing.
    """
    embeds, mask = pipe._get_t5_prompt_embeds(text, max_sequence_length=512)
    count = int(mask.sum())
    return {"prompt_embeds": embeds[:, :count], "prompt_attention_mask": mask[:, :count]}


@pytest.mark.parametrize("folder", [False, True], ids=["split files", "folder"])
@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_the_whole_workflow_is_the_pipeline(session: Session, pipe: Any, folder: bool, cfg: float) -> None:
    side = SIDE // 8
    noise = ChromaPipeline._pack_latents(first_noise((1, 16, side, side), SEED), 1, 16, side, side)
    with torch.no_grad():
        negative = {f"negative_{name}": value for name, value in read(pipe, NEGATIVE).items()}
        found = pipe(
            **read(pipe, PROMPT),
            **negative,
            guidance_scale=cfg,
            num_inference_steps=STEPS,
            height=SIDE,
            width=SIDE,
            latents=noise,
            output_type="latent",
        ).images
    latent = ChromaPipeline._unpack_latents(found, SIDE, SIDE, 8) / 0.3611 + 0.1159
    made = torch.tensor(session.run(document(folder=folder, cfg=cfg))["out"].numpy())
    assert float((made - latent).norm() / latent.norm()) < 1e-5
