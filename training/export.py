"""Writes a model as a folder in diffusers' layout, and reads it back."""

import json
import shutil
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel

from latentloom.training.sample import Model
from latentloom.training.scenes import words
from latentloom.training.text import Captions
from latentloom.training.tokenizer import load_tokenizer, write_tokenizer
from latentloom.training.unet import BETA_END, BETA_START, STEPS

INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": diffusers.__version__,
    "feature_extractor": [None, None],
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "requires_safety_checker": False,
}


def export_model(model: Model, folder: Path) -> None:
    """Write the model's parts in float16, each file atomically; other files in the folder are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / ".new"
    shutil.rmtree(new, ignore_errors=True)
    model.unet.half().save_pretrained(new / "unet")
    model.vae.half().save_pretrained(new / "vae")
    model.encoder.half().save_pretrained(new / "text_encoder")
    write_tokenizer(new / "tokenizer", words())
    create_scheduler().save_pretrained(new / "scheduler")
    (new / "model_index.json").write_text(json.dumps(INDEX, indent=2) + "\n", "utf-8")
    for file in sorted(new.rglob("*")):
        if file.is_file():
            place = folder / file.relative_to(new)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.chmod(0o644)
            file.replace(place)
    shutil.rmtree(new)
    model.unet.float(), model.vae.float(), model.encoder.float()


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
    options = {"local_files_only": True, "torch_dtype": torch.float32}
    return Model(
        UNet2DConditionModel.from_pretrained(folder / "unet", **options).eval(),
        AutoencoderKL.from_pretrained(folder / "vae", **options).eval(),
        CLIPTextModel.from_pretrained(folder / "text_encoder", local_files_only=True, dtype=torch.float32).eval(),
        Captions(load_tokenizer(folder / "tokenizer")),
    )
