"""Samples pictures for captions with the parts of a model, in the same way as Latentloom's nodes."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel

from latentloom.nodes.diffusion.dpmpp import dpmpp_2m
from latentloom.nodes.diffusion.guidance import guided
from latentloom.nodes.diffusion.noise import first_noise, step_noise
from latentloom.nodes.diffusion.sampler import Sample
from latentloom.nodes.diffusion.schedules import Schedule, karras
from latentloom.nodes.diffusion.space import Space
from latentloom.nodes.diffusion.variance_exploding import VarianceExploding
from latentloom.training.pictures import SIDE, Pixels
from latentloom.training.text import Captions
from latentloom.training.unet import noise_levels
from latentloom.training.vae import to_pixels


class Trained(Protocol):
    """A model that can be sampled."""

    @property
    def vae(self) -> AutoencoderKL:
        """Its autoencoder."""

    @property
    def encoder(self) -> CLIPTextModel:
        """Its text encoder."""

    @property
    def captions(self) -> Captions:
        """Its tokenizer."""

    @property
    def space(self) -> Space:
        """The space of its noise."""

    @property
    def schedule(self) -> Schedule:
        """The schedule that it is sampled with."""

    def call(self, x: Tensor, time: Tensor, states: Tensor) -> Tensor:
        """Return the denoiser's output at x [B, C, h, w] for token states [B, T, D]."""


@dataclass(frozen=True, slots=True)
class Model:
    """The parts of a latent diffusion model; see `Trained`."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    encoder: CLIPTextModel
    captions: Captions
    schedule: ClassVar[Schedule] = staticmethod(karras)

    @property
    def space(self) -> Space:
        """The space of the noise levels of the training."""
        return VarianceExploding(noise_levels(), "epsilon")

    def call(self, x: Tensor, time: Tensor, states: Tensor) -> Tensor:
        """Return the noise at x [B, 4, h, w]; `time` [B] is the timestep."""
        noise: Tensor = self.unet(x, time, states).sample
        return noise


@torch.no_grad()
def sample(
    model: Trained, captions: list[str], seed: int, cfg: float, steps: int = 20, sampler: Sample = dpmpp_2m
) -> list[Pixels]:
    """Sample pictures for captions with the model's schedule; picture i starts from seed + i."""
    space = model.space
    sigmas = model.schedule(steps, space.table)
    denoised = guided(
        space.prediction(model.call), {"states": _states(model, captions)}, {"states": _states(model, [""])}, cfg
    )
    shape = (len(captions), model.vae.config.latent_channels, SIDE // 8, SIDE // 8)
    x = space.start(torch.zeros(shape), first_noise(shape, seed), float(sigmas[0]))
    latents = sampler(denoised, x, sigmas, step_noise("none", shape, seed, "per_item", sigmas), lambda *_: None)
    parts = (latents / model.vae.config.scaling_factor).split(8)
    return [picture for part in parts for picture in to_pixels(model.vae.decode(part).sample)]


def _states(model: Trained, captions: list[str]) -> Tensor:
    return model.encoder(model.captions.tokens(captions)).last_hidden_state
