"""A Krea 2 of true names and tiny size, as split files and as a folder, with diffusers' own pipeline."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    Krea2Pipeline,
    Krea2Transformer2DModel,
)
from tiny_transformers import chat_tokenizer, krea2_names, qwen3_vl_config, qwen3_vl_file, randomised, write
from transformers import Qwen3VLForConditionalGeneration

from latentloom.api import Session
from latentloom.engine.settings import load_settings

WIDTH = 32  # of the text encoder


def transformer() -> Krea2Transformer2DModel:
    return randomised(
        Krea2Transformer2DModel(
            num_layers=2,
            attention_head_dim=32,
            num_attention_heads=2,
            num_key_value_heads=1,
            intermediate_size=96,
            timestep_embed_dim=32,
            text_hidden_dim=WIDTH,
            text_num_attention_heads=2,
            text_num_key_value_heads=2,
            text_intermediate_size=48,
            axes_dims_rope=(8, 12, 12),
        ),
        0.1,
    )


@pytest.fixture(scope="session")
def pipe() -> Krea2Pipeline:
    torch.manual_seed(0)
    made = Krea2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, base_image_seq_len=256, max_image_seq_len=6400
        ),
        vae=AutoencoderKLQwenImage(base_dim=8).eval(),
        text_encoder=randomised(
            Qwen3VLForConditionalGeneration(qwen3_vl_config(WIDTH, 36, chat_tokenizer())), 0.05
        ).model,
        tokenizer=chat_tokenizer(),
        transformer=transformer(),
    )
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="session")
def krea_models(pipe: Krea2Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ComfyUI's folders with split files, and the folder of the pipeline among the checkpoints."""
    root: Path = tmp_path_factory.mktemp("krea") / "models"
    write(krea2_names(pipe.transformer.state_dict()), root / "diffusion_models" / "krea2.safetensors")
    write(qwen3_vl_file(pipe.text_encoder), root / "text_encoders" / "qwen3vl_4b.safetensors")
    pipe.tokenizer.save_pretrained(root / "text_encoders" / "tokenizer")
    pipe.save_pretrained(root / "checkpoints" / "folder")
    return root


@pytest.fixture
def session(tmp_path: Path, krea_models: Path) -> Iterator[Session]:
    folders = {"models": [krea_models], "input": tmp_path}
    with Session(
        load_settings({**folders, "device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(tmp_path)})
    ) as made:
        yield made
