"""A Stable Diffusion 3 and a 3.5 of true names and tiny size, with diffusers' own pipeline."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from tiny_transformers import (
    autoencoder,
    clip,
    original_vae,
    prefixed,
    randomised,
    sd3_names,
    t5,
    t5_file,
    t5_tokenizer,
    unigram_tokenizer,
    write,
)

from latentloom.api import Session
from latentloom.engine.settings import load_settings
from latentloom.nodes.text.clip_tokenizer import clip_tokenizer

L, G, WIDTH = 32, 48, 96  # of the CLIPs and of T5


def transformer(**more: Any) -> SD3Transformer2DModel:
    made = SD3Transformer2DModel(
        sample_size=32,
        num_layers=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=L + G,
        pos_embed_max_size=12,
        **{"attention_head_dim": 64, "num_attention_heads": 1, "caption_projection_dim": 64, **more},
    )
    return randomised(made)


@pytest.fixture(scope="session")
def pipe() -> StableDiffusion3Pipeline:
    """SD 3 medium: no norms of query and key."""
    torch.manual_seed(0)
    made = StableDiffusion3Pipeline(
        transformer=transformer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(1.5305, 0.0609),
        text_encoder=clip(L, L),
        tokenizer=clip_tokenizer("end"),
        text_encoder_2=clip(G, G, "gelu"),
        tokenizer_2=clip_tokenizer("zero"),
        text_encoder_3=t5(WIDTH),
        tokenizer_3=t5_tokenizer(),
    )
    torch.nn.init.eye_(made.text_encoder.text_projection.weight)  # as it is where CLIP-L comes as a file
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="session")
def newer(pipe: StableDiffusion3Pipeline) -> StableDiffusion3Pipeline:
    """SD 3.5 medium: norms of query and key, and a second attention in some layers."""
    torch.manual_seed(1)
    net = transformer(attention_head_dim=32, num_attention_heads=2, qk_norm="rms_norm", dual_attention_layers=(0,))
    made = StableDiffusion3Pipeline(**{**pipe.components, "transformer": net})
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="session")
def sd3_models(
    pipe: StableDiffusion3Pipeline, newer: StableDiffusion3Pipeline, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """ComfyUI's folders: files with all parts, with the CLIPs alone and without any encoder, split files, a folder."""
    root: Path = tmp_path_factory.mktemp("sd3") / "models"
    texts, whole = root / "text_encoders", root / "checkpoints"
    vae = prefixed("first_stage_model.", original_vae(pipe.vae))
    clip_l = {name: tensor for name, tensor in pipe.text_encoder.state_dict().items() if name.startswith("text_model.")}
    write(clip_l, texts / "clip_l.safetensors")
    write(pipe.text_encoder_2.state_dict(), texts / "clip_g.safetensors")
    write(t5_file(pipe.text_encoder_3), texts / "t5xxl.safetensors")
    (texts / "t5_tokenizer").mkdir()
    unigram_tokenizer().save(str(texts / "t5_tokenizer" / "tokenizer.json"))
    clips = {
        **prefixed("text_encoders.clip_l.transformer.", clip_l),
        **prefixed("text_encoders.clip_g.transformer.", pipe.text_encoder_2.state_dict()),
    }
    last = t5_file(pipe.text_encoder_3, "text_encoders.t5xxl.transformer.")
    for name, model in (("sd3", pipe), ("sd35", newer)):
        net = prefixed("model.diffusion_model.", sd3_names(model.transformer.state_dict()))
        write({**net, **vae}, whole / f"{name}.safetensors")
        write({**net, **vae, **clips}, whole / f"{name}_clips.safetensors")
        write({**net, **vae, **clips, **last}, whole / f"{name}_all.safetensors")
    (whole / "t5_tokenizer").symlink_to(texts / "t5_tokenizer")
    pipe.save_pretrained(whole / "folder")
    return root


@pytest.fixture
def session(tmp_path: Path, sd3_models: Path) -> Iterator[Session]:
    folders = {"models": [sd3_models], "input": tmp_path}
    with Session(
        load_settings({**folders, "device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(tmp_path)})
    ) as made:
        yield made
