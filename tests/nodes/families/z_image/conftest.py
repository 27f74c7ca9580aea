"""A Z-Image of true names and tiny size, as split files and as a folder, with diffusers' own pipeline."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel
from safetensors.torch import save_file
from tiny_transformers import autoencoder, chat_tokenizer, original_vae, prefixed, randomised, z_image_names
from transformers import Qwen3Config, Qwen3Model

from latentloom.api import Session
from latentloom.engine.settings import load_settings

WIDTH = 48  # of the text encoder


@pytest.fixture(scope="session")
def pipe() -> ZImagePipeline:
    torch.manual_seed(0)
    transformer = ZImageTransformer2DModel(
        in_channels=16,
        dim=64,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=4,
        n_kv_heads=4,
        cap_feat_dim=WIDTH,
        axes_dims=[4, 6, 6],
        axes_lens=[1536, 512, 512],
    )
    config = Qwen3Config(
        vocab_size=300,
        hidden_size=WIDTH,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
    )
    made = ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(0.3611, 0.1159),
        text_encoder=randomised(Qwen3Model(config)),
        tokenizer=chat_tokenizer(),
        transformer=randomised(transformer),
    )
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="session")
def z_models(pipe: ZImagePipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ComfyUI's folders with split files, and the folder of the pipeline among the checkpoints."""
    root = tmp_path_factory.mktemp("z") / "models"
    for name in ("diffusion_models", "text_encoders", "vae", "checkpoints"):
        (root / name).mkdir(parents=True)
    save_file(z_image_names(pipe.transformer.state_dict()), root / "diffusion_models" / "z.safetensors")
    save_file(prefixed("model.", pipe.text_encoder.state_dict()), root / "text_encoders" / "qwen.safetensors")
    pipe.tokenizer.save_pretrained(root / "text_encoders" / "tokenizer")
    save_file(original_vae(pipe.vae), root / "vae" / "ae.safetensors")
    pipe.save_pretrained(root / "checkpoints" / "z")
    return root


@pytest.fixture
def session(tmp_path: Path, z_models: Path) -> Iterator[Session]:
    folders = {"models": [z_models], "input": tmp_path}
    with Session(
        load_settings({**folders, "device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(tmp_path)})
    ) as made:
        yield made
