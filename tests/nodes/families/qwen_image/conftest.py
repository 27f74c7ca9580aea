"""A Qwen-Image of true names and tiny size, as split files and as a folder, with diffusers' own pipeline."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)
from tiny_transformers import chat_tokenizer, qwen2_5_vl_config, qwen2_5_vl_file, randomised, write
from transformers import BatchFeature, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from latentloom.api import Session
from latentloom.engine.settings import load_settings

WIDTH = 256  # of the text encoder: two heads of 128
RESNET = {"norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3", "conv2": "residual.6"}
OUTER = {
    "encoder.conv_in.": "encoder.conv1.",
    "decoder.conv_in.": "decoder.conv1.",
    "norm_out.": "head.0.",
    "conv_out.": "head.2.",
    "mid_block.resnets.0.": "middle.0.",
    "mid_block.attentions.0.": "middle.1.",
    "mid_block.resnets.1.": "middle.2.",
    "encoder.down_blocks.": "encoder.downsamples.",
    "conv_shortcut.": "shortcut.",
}


def original_name(name: str) -> str:
    """A name of the VAE's weights as its authors have it."""
    if name.startswith(("quant_conv.", "post_quant_conv.")):
        return name.replace("post_quant_conv.", "conv2.").replace("quant_conv.", "conv1.")
    for ours, theirs in OUTER.items():
        name = name.replace(ours, theirs)
    level = re.match(r"decoder\.up_blocks\.(\d+)\.(?:resnets\.(\d+)|upsamplers\.0)\.", name)
    if level:
        place = 4 * int(level[1]) + (3 if level[2] is None else int(level[2]))
        name = f"decoder.upsamples.{place}.{name[level.end() :]}"
    if "samples." in name or "middle." in name:
        for ours, theirs in RESNET.items():
            name = name.replace(f".{ours}.", f".{theirs}.")
    return name


class Placing(Qwen2_5_VLForConditionalGeneration):
    """With the positions of pictures in rows and columns, which diffusers' editing pipelines leave out.

    They do not hand on `mm_token_type_ids` (https://github.com/huggingface/diffusers/issues/14194).
    """

    def forward(self, input_ids: torch.Tensor, **given: Any) -> Any:
        kinds = (input_ids == self.config.image_token_id).int()
        return super().forward(input_ids=input_ids, **given, mm_token_type_ids=kinds)


class Processor:
    """Qwen2VLProcessor without videos, which need torchvision."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.images = Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 12_845_056})

    def __call__(self, text: list[str], images: Any, **_: Any) -> BatchFeature:
        seen = self.images(images=images, return_tensors="pt")
        (whole,) = text
        for grid in seen["image_grid_thw"]:
            whole = whole.replace("<|image_pad|>", "<|taken|>" * int(grid.prod() // 4), 1)
        told = self.tokenizer([whole.replace("<|taken|>", "<|image_pad|>")], return_tensors="pt")
        return BatchFeature({**told, **seen})


@pytest.fixture(scope="session")
def pipe() -> QwenImagePipeline:
    torch.manual_seed(0)
    tokenizer = chat_tokenizer()
    transformer = QwenImageTransformer2DModel(
        num_layers=2,
        attention_head_dim=32,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 14, 14),
    )
    made = QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True,
            base_shift=0.5,
            max_shift=0.9,
            base_image_seq_len=256,
            max_image_seq_len=8192,
            shift_terminal=0.02,
        ),
        vae=AutoencoderKLQwenImage(base_dim=8).eval(),
        text_encoder=randomised(Placing(qwen2_5_vl_config(WIDTH, tokenizer)), 0.05),
        tokenizer=tokenizer,
        transformer=randomised(transformer, 0.1),
    )
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture
def processor(pipe: QwenImagePipeline) -> Processor:
    return Processor(pipe.tokenizer)


@pytest.fixture(scope="session")
def qwen_models(pipe: QwenImagePipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ComfyUI's folders with split files, and the folder of the pipeline among the checkpoints."""
    root: Path = tmp_path_factory.mktemp("qwen") / "models"
    write(pipe.transformer.state_dict(), root / "diffusion_models" / "qwen_image.safetensors")
    write(qwen2_5_vl_file(pipe.text_encoder), root / "text_encoders" / "qwen_2.5_vl_7b.safetensors")
    pipe.tokenizer.save_pretrained(root / "text_encoders" / "tokenizer")
    vae = {original_name(name): tensor for name, tensor in pipe.vae.state_dict().items()}
    write(vae, root / "vae" / "qwen_image_vae.safetensors")
    pipe.save_pretrained(root / "checkpoints" / "folder")
    return root


@pytest.fixture
def session(tmp_path: Path, qwen_models: Path) -> Iterator[Session]:
    folders = {"models": [qwen_models], "input": tmp_path}
    with Session(
        load_settings({**folders, "device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(tmp_path)})
    ) as made:
        yield made
