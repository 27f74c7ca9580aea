"""Latents: a large set of training pictures, encoded once, so that the UNet's training loop does not need the VAE."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentloom.training.loop import Writer
from latentloom.training.pictures import Painter
from latentloom.training.scenes import Scene, training_scenes
from latentloom.training.vae import to_tensor

CHUNK = 4000
"""Pictures per file."""


@dataclass(frozen=True, slots=True)
class LatentSet:
    """Scenes and their scaled latents, float16 [N, 4, 16, 16]."""

    scenes: list[Scene]
    latents: Tensor


def scene_at(seed: int, index: int) -> tuple[Scene, np.random.Generator]:
    """Return the scene of one training picture, and the random generator to paint it with."""
    rng = np.random.default_rng([seed, 3, index])
    return next(training_scenes(rng)), rng


@torch.no_grad()
def encode_pictures(vae: AutoencoderKL, seed: int, first: int, count: int) -> Tensor:
    """Paint pictures and encode them to scaled latents in float16; the VAE computes in bfloat16."""
    vae = vae.eval().to(memory_format=torch.channels_last)
    painter, batch = Painter(), 8
    latents = []
    for start in range(first, first + count, batch):
        indices = range(start, min(start + batch, first + count))
        pictures = [painter.paint(*scene_at(seed, index)) for index in indices]
        with torch.autocast("cpu", torch.bfloat16):
            mean = vae.encode(to_tensor(pictures).contiguous(memory_format=torch.channels_last)).latent_dist.mode()
        latents.append((mean.float() * vae.config.scaling_factor).half())
    return torch.cat(latents).contiguous()


def cache_latents(vae: AutoencoderKL, folder: Path, seed: int, count: int, writer: Writer) -> LatentSet:
    """Return the set of latents; latents that files in the folder already hold are not encoded again."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for first in range(0, count, CHUNK):
        file = folder / f"{first:07d}.safetensors"
        if not file.exists():
            latents = encode_pictures(vae, seed, first, min(CHUNK, count - first))
            temporary = file.with_suffix(".tmp")
            save_file({"latents": latents}, temporary)
            temporary.replace(file)
            writer.line(f"latents: {first + len(latents)} of {count}")
        parts.append(load_file(file)["latents"])
    latents = torch.cat(parts)
    return LatentSet([scene_at(seed, index)[0] for index in range(len(latents))], latents)
