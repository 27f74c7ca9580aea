"""Writes a model as a folder in diffusers' layout, and reads it back."""

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    PixArtTransformer2DModel,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel

from latentloom.training.sample import Model
from latentloom.training.scenes import words
from latentloom.training.text import Captions
from latentloom.training.tokenizer import load_tokenizer, write_tokenizer
from latentloom.training.transformer import FlowModel
from latentloom.training.unet import BETA_END, BETA_START, STEPS

OPTIONS: Any = {"local_files_only": True, "torch_dtype": torch.float32}
SHARED = {  # parts of both kinds of models
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "vae": ["diffusers", "AutoencoderKL"],
}
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": diffusers.__version__,
    "feature_extractor": [None, None],
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    **SHARED,
    "requires_safety_checker": False,
}
FLOW_INDEX = {
    "_diffusers_version": diffusers.__version__,
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "transformer": ["diffusers", "PixArtTransformer2DModel"],
    **SHARED,
}


def export_model(model: Model | FlowModel, folder: Path) -> None:
    """Write the model's parts in float16, each file atomically; other files in the folder are kept."""
    new = folder / ".new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    if isinstance(model, Model):
        _write(model.unet, new / "unet")
        create_scheduler().save_pretrained(new / "scheduler")
    else:
        _write(model.transformer, new / "transformer")
        FlowMatchEulerDiscreteScheduler(shift=model.shift).save_pretrained(new / "scheduler")
    _write(model.vae, new / "vae")
    _write(model.encoder, new / "text_encoder")
    write_tokenizer(new / "tokenizer", words())
    index = INDEX if isinstance(model, Model) else FLOW_INDEX
    (new / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", "utf-8")
    _move(new, folder)


def _write(part: Any, folder: Path) -> None:
    """Write a part in float16; the part itself stays in float32."""
    part.half().save_pretrained(folder)
    part.float()


def _move(new: Path, folder: Path) -> None:
    for file in sorted(new.rglob("*")):
        if file.is_file():
            place = folder / file.relative_to(new)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.chmod(0o644)
            file.replace(place)
    shutil.rmtree(new)


def create_scheduler() -> DDIMScheduler:
    """Create the noise schedule of the training as a diffusers scheduler."""
    return DDIMScheduler(
        num_train_timesteps=STEPS,
        beta_start=BETA_START,
        beta_end=BETA_END,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=False,
    )


def load_model(folder: Path) -> Model:
    """Load the model of a folder, in float32."""
    return Model(UNet2DConditionModel.from_pretrained(folder / "unet", **OPTIONS).eval(), *_shared(folder))


def load_flow(folder: Path) -> FlowModel:
    """Load the flow-matching model of a folder, in float32."""
    net = PixArtTransformer2DModel.from_pretrained(folder / "transformer", **OPTIONS).eval()
    scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text("utf-8"))
    return FlowModel(net, *_shared(folder), shift=scheduler["shift"])


def _shared(folder: Path) -> tuple[AutoencoderKL, CLIPTextModel, Captions]:
    return (
        AutoencoderKL.from_pretrained(folder / "vae", **OPTIONS).eval(),
        CLIPTextModel.from_pretrained(folder / "text_encoder", local_files_only=True, dtype=torch.float32).eval(),
        Captions(load_tokenizer(folder / "tokenizer")),
    )
