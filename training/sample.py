"""Samples pictures for captions with the parts of a model, in the same way as Latentloom's nodes."""

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel

from latentloom.nodes.diffusion.dpmpp import dpmpp_2m
from latentloom.nodes.diffusion.guidance import guided
from latentloom.nodes.diffusion.noise import first_noise, step_noise
from latentloom.nodes.diffusion.prediction import prediction
from latentloom.nodes.diffusion.sampler import Sample
from latentloom.nodes.diffusion.schedules import karras
from latentloom.training.pictures import Pixels
from latentloom.training.text import Captions
from latentloom.training.unet import noise_levels
from latentloom.training.vae import to_pixels


@dataclass(frozen=True, slots=True)
class Model:
    """The parts of a latent diffusion model."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    encoder: CLIPTextModel
    captions: Captions


@torch.no_grad()
def sample(
    model: Model, captions: list[str], seed: int, cfg: float, steps: int = 20, sampler: Sample = dpmpp_2m
) -> list[Pixels]:
    """Sample pictures for captions with the karras schedule; picture i starts from seed + i."""
    levels = noise_levels()
    sigmas = karras(steps, levels)
    denoised = guided(
        prediction(lambda x, time, states: model.unet(x, time, states).sample, "epsilon", levels),
        {"states": _states(model, captions)},
        {"states": _states(model, [""])},
        cfg,
    )
    side = model.unet.config.sample_size
    shape = (len(captions), model.unet.config.in_channels, side, side)
    x = first_noise(shape, seed) * float((1 + sigmas[0] ** 2).sqrt())
    latents = sampler(denoised, x, sigmas, step_noise("none", shape, seed, "per_item", sigmas), lambda *_: None)
    parts = (latents / model.vae.config.scaling_factor).split(8)
    return [picture for part in parts for picture in to_pixels(model.vae.decode(part).sample)]


def _states(model: Model, captions: list[str]) -> Tensor:
    return model.encoder(model.captions.tokens(captions)).last_hidden_state
