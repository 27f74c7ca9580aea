"""A Flux.1 of true names and tiny size: split files, one file with all parts, and a folder of diffusers' pipeline."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from tiny_transformers import (
    autoencoder,
    clip,
    flux_names,
    original_vae,
    prefixed,
    randomised,
    t5,
    t5_file,
    t5_tokenizer,
    unigram_tokenizer,
    write,
)

from latentloom.api import Session
from latentloom.engine.settings import load_settings
from latentloom.nodes.text.clip_tokenizer import clip_tokenizer

POOLED, WIDTH = 32, 48  # of CLIP and of T5


def transformer(*, guidance: bool = True, channels: int = 64) -> FluxTransformer2DModel:
    made = FluxTransformer2DModel(
        in_channels=channels,
        out_channels=64,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=32,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=POOLED,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 14, 14),
    )
    return randomised(made)


@pytest.fixture(scope="session")
def pipe() -> FluxPipeline:
    torch.manual_seed(0)
    made = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, base_image_seq_len=256, max_image_seq_len=4096
        ),
        vae=autoencoder(0.3611, 0.1159),
        text_encoder=clip(POOLED),
        tokenizer=clip_tokenizer("end"),
        text_encoder_2=t5(WIDTH),
        tokenizer_2=t5_tokenizer(),
        transformer=transformer(),
    )
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="session")
def flux_models(pipe: FluxPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ComfyUI's folders: split files of dev and schnell, one file with all parts, and the folder of the pipeline."""
    root: Path = tmp_path_factory.mktemp("flux") / "models"
    net, texts = flux_names(pipe.transformer.state_dict()), root / "text_encoders"
    write(net, root / "diffusion_models" / "dev.safetensors")
    torch.manual_seed(1)
    write(flux_names(transformer(guidance=False).state_dict()), root / "diffusion_models" / "schnell.safetensors")
    clip_l = prefixed("text_model.", pipe.text_encoder.state_dict())
    write(clip_l, texts / "clip_l.safetensors")
    write(t5_file(pipe.text_encoder_2), texts / "t5xxl.safetensors")
    (texts / "t5_tokenizer").mkdir()
    unigram_tokenizer().save(str(texts / "t5_tokenizer" / "tokenizer.json"))
    write(original_vae(pipe.vae), root / "vae" / "ae.safetensors")
    whole = {
        **prefixed("model.diffusion_model.", net),
        **prefixed("vae.", original_vae(pipe.vae)),
        **prefixed("text_encoders.clip_l.transformer.", clip_l),
        **t5_file(pipe.text_encoder_2, "text_encoders.t5xxl.transformer."),
    }
    write(whole, root / "checkpoints" / "whole.safetensors")
    (root / "checkpoints" / "t5_tokenizer").symlink_to(texts / "t5_tokenizer")
    pipe.save_pretrained(root / "checkpoints" / "folder", max_shard_size="60KB")
    return root


@pytest.fixture
def session(tmp_path: Path, flux_models: Path) -> Iterator[Session]:
    folders = {"models": [flux_models], "input": tmp_path}
    with Session(
        load_settings({**folders, "device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(tmp_path)})
    ) as made:
        yield made
