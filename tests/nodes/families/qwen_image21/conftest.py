"""A Qwen-Image 2.1 of true names and tiny size, as split files and as a folder, with diffusers' own pipeline."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKLQwenImage21,
    FlowMatchEulerDiscreteScheduler,
    QwenImage21Pipeline,
    QwenImage21Transformer2DModel,
)
from tiny_transformers import chat_tokenizer, qwen3_vl_config, qwen3_vl_file, randomised, write
from transformers import BatchFeature, Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from latentloom.api import Session
from latentloom.engine.settings import load_settings

WIDTH = 64  # of the text encoder
OUTER = {
    "encoder.conv_in.": "encoder.conv1.",
    "decoder.conv_in.": "decoder.conv1.",
    "norm_out.": "head.0.",
    "conv_out.": "head.2.",
    "mid_block.resnets.0.": "middle.0.",
    "mid_block.attentions.0.": "middle.1.",
    "mid_block.resnets.1.": "middle.2.",
}
INNER = {
    "norm1.": "residual.0.",
    "conv1.": "residual.2.",
    "norm2.": "residual.3.",
    "conv2.": "residual.6.",
    "conv_shortcut.": "shortcut.",
}


def authors_vae(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of the VAE by its authors' names; convolutions have a time axis of length 1."""
    found = {}
    for name, tensor in state.items():
        resample = "resample" in name or "attentions" in name
        key = name.replace("post_quant_conv.", "conv2.").replace("quant_conv.", "conv1.")
        key = re.sub(r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)", r"encoder.downsamples.\1.downsamples.\2", key)
        key = re.sub(r"encoder\.down_blocks\.(\d+)\.downsampler", r"encoder.downsamples.\1.downsamples.2", key)
        key = re.sub(r"decoder\.up_blocks\.(\d+)\.resnets\.(\d+)", r"decoder.upsamples.\1.upsamples.\2", key)
        key = re.sub(r"decoder\.up_blocks\.(\d+)\.upsampler", r"decoder.upsamples.\1.upsamples.3", key)
        for ours, theirs in (OUTER | (INNER if "resnets" in name else {})).items():
            key = key.replace(ours, theirs)
        found[key] = tensor.unsqueeze(2) if tensor.ndim == 4 and not resample and "gamma" not in key else tensor
    return found


class Processor:
    """Qwen3VLProcessor without videos, which need torchvision."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        half = [0.5, 0.5, 0.5]
        size = {"shortest_edge": 65536, "longest_edge": 16_777_216}
        self.images = Qwen2VLImageProcessorPil(size=size, patch_size=16, image_mean=half, image_std=half)

    def __call__(self, text: list[str], images: Any = None, **_: Any) -> BatchFeature:
        if images is None:
            return self.tokenizer(text, return_tensors="pt")
        seen = self.images(images=images, return_tensors="pt")
        (whole,) = text
        for grid in seen["image_grid_thw"]:
            whole = whole.replace("<|image_pad|>", "<|taken|>" * int(grid.prod() // 4), 1)
        told = self.tokenizer([whole.replace("<|taken|>", "<|image_pad|>")], return_tensors="pt")
        kinds = (told["input_ids"] == self.tokenizer.convert_tokens_to_ids("<|image_pad|>")).int()
        return BatchFeature({**told, **seen, "mm_token_type_ids": kinds})

    def apply_chat_template(self, messages: list[Any], **_: Any) -> list[list[int]]:
        (text,) = (part["text"] for part in messages[0]["content"])
        return [self.tokenizer(f"<|im_start|>system\n{text}<|im_end|>\n").input_ids]


@pytest.fixture(scope="session")
def pipe() -> QwenImage21Pipeline:
    torch.manual_seed(0)
    transformer = QwenImage21Transformer2DModel(
        num_layers=2, attention_head_dim=32, num_attention_heads=2, context_in_dim=WIDTH, axes_dims_rope=(4, 14, 14)
    )
    made = QwenImage21Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True,
            base_shift=0.5,
            max_shift=0.9,
            base_image_seq_len=256,
            max_image_seq_len=8192,
            shift_terminal=0.02,
        ),
        vae=AutoencoderKLQwenImage21(base_dim=8, decoder_base_dim=16).eval(),
        text_encoder=randomised(Qwen3VLForConditionalGeneration(qwen3_vl_config(WIDTH, 2, chat_tokenizer())), 0.1),
        processor=Processor(chat_tokenizer()),
        transformer=randomised(transformer, 0.1),
    )
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="session")
def qwen_models(pipe: QwenImage21Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ComfyUI's folders with split files, and the folder of the pipeline among the checkpoints."""
    root: Path = tmp_path_factory.mktemp("qwen21") / "models"
    state = dict(pipe.transformer.state_dict())
    for name in [name for name in state if "img_mlp.gate_layer" in name]:
        parts = [state.pop(name), state.pop(name.replace("gate_layer", "proj"))]
        state[name.replace("gate_layer", "gate_up")] = torch.cat(parts)
    write(state, root / "diffusion_models" / "qwen_image_2.1.safetensors")
    write(qwen3_vl_file(pipe.text_encoder), root / "text_encoders" / "qwen3vl_8b.safetensors")
    pipe.processor.tokenizer.save_pretrained(root / "text_encoders" / "tokenizer")
    write(authors_vae(pipe.vae.state_dict()), root / "vae" / "qwen_image_2.1_vae.safetensors")
    folder = root / "checkpoints" / "folder"
    for name in ("transformer", "text_encoder", "vae", "scheduler"):
        getattr(pipe, name).save_pretrained(folder / name)
    pipe.processor.tokenizer.save_pretrained(folder / "processor")
    (folder / "model_index.json").write_text('{"_class_name": "QwenImage21Pipeline"}')
    return root


@pytest.fixture
def session(tmp_path: Path, qwen_models: Path) -> Iterator[Session]:
    folders = {"models": [qwen_models], "input": tmp_path}
    with Session(
        load_settings({**folders, "device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(tmp_path)})
    ) as made:
        yield made
