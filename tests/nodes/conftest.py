"""A random Stable Diffusion of true form and tiny size, and sessions that know it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from latentloom.api import Session
from latentloom.engine.settings import load_settings


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the random checkpoint "tiny": 4-channel latents, f = 8, 32-wide text encoder."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from safetensors.torch import save_file
    from transformers import CLIPTextConfig, CLIPTextModel

    from latentloom.nodes.families.ip_adapter.networks import ImageProjection, IPAdapterNet
    from latentloom.nodes.families.upscale.networks import SRVGG
    from latentloom.training.random_checkpoint import write_clip_vision, write_controlnet
    from latentloom.training.scenes import words
    from latentloom.training.tokenizer import load_tokenizer, write_tokenizer

    root = tmp_path_factory.mktemp("models")
    folder = root / "checkpoints" / "tiny"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    write_tokenizer(folder / "tokenizer", words())
    tokenizer = load_tokenizer(folder / "tokenizer")
    UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=2,
        norm_num_groups=8,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
    ).save_pretrained(folder / "vae")
    CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).save_pretrained(folder / "text_encoder")
    DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").save_pretrained(
        folder / "scheduler"
    )
    (folder / "model_index.json").write_text('{"unet": [], "vae": [], "text_encoder": []}')
    for name in ("loras", "controlnet", "ipadapter", "clip_vision"):
        (root / name).mkdir()
    write_controlnet(root / "controlnet" / "tiny.safetensors", "sd1_tiny")
    write_clip_vision(root / "clip_vision" / "tiny.safetensors")
    adapter = IPAdapterNet(ImageProjection(48, 32, 4), 32, [("1", 16)])
    save_file(adapter.state_dict(), root / "ipadapter" / "tiny.safetensors")
    (root / "upscale_models").mkdir()
    save_file(SRVGG(8, 1, 2).state_dict(), root / "upscale_models" / "tiny.safetensors")
    layer = "lora_unet_mid_block_attentions_0_proj_in"
    factors = {f"{layer}.lora_down.weight": torch.randn(2, 32), f"{layer}.lora_up.weight": torch.randn(32, 2)}
    save_file(factors, root / "loras" / "tiny.safetensors")
    return root


@pytest.fixture
def session(tmp_path: Path, tiny_models: Path) -> Iterator[Session]:
    """A session in an empty home, in fp32 on the CPU, with the tiny checkpoint beside the embedded one."""
    settings = load_settings(
        {"models": [tiny_models], "device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(tmp_path)}
    )
    with Session(settings) as made:
        yield made


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Session]:
    """A session in an empty home, for nodes that need no model."""
    with Session(load_settings({}, {"LATENTLOOM_HOME": str(tmp_path)})) as made:
        yield made


@pytest.fixture(scope="session")
def random_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random checkpoint of each family, and an IP-Adapter and a ControlNet for SD 1.x."""
    import torch

    from latentloom.training.random_checkpoint import (
        write_checkpoint,
        write_clip_vision,
        write_controlnet,
        write_ip_adapter,
    )

    root = tmp_path_factory.mktemp("random") / "models"
    for name in ("checkpoints", "controlnet", "ipadapter", "clip_vision"):
        (root / name).mkdir(parents=True)
    for recipe in ("sd1_tiny", "sd1_instruct_tiny", "sdxl_tiny", "refiner_tiny"):
        write_checkpoint(root / "checkpoints" / f"{recipe}.safetensors", recipe, dtype=torch.float32)
    write_controlnet(root / "controlnet" / "tiny.safetensors", "sd1_tiny")
    write_clip_vision(root / "clip_vision" / "tiny.safetensors")
    write_ip_adapter(root / "ipadapter" / "tiny.safetensors", "sd1_tiny", 48)
    return root


@pytest.fixture
def families(tmp_path: Path, random_models: Path) -> Iterator[Session]:
    """A session in an empty home, in fp32 on the CPU, with the random checkpoints of all families."""
    folders = {"models": [random_models], "input": tmp_path}
    with Session(
        load_settings({**folders, "device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(tmp_path)})
    ) as made:
        yield made
