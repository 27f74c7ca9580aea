"""The flow-matching transformer, its objective, which is to predict the velocity, and the model it is a part of."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL, PixArtTransformer2DModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from latentloom.nodes.diffusion.flow import Flow, flow_table
from latentloom.nodes.diffusion.schedules import Schedule, simple
from latentloom.nodes.diffusion.space import Space
from latentloom.training.pictures import SIDE
from latentloom.training.settings import FlowSettings
from latentloom.training.text import Captions

TIMESTEPS = 1000


def create_transformer(settings: FlowSettings, context: int) -> PixArtTransformer2DModel:
    """Create an untrained transformer over patches of 2x2 cells, with cross-attention to token states of that width.

    It is PixArt's (Chen et al. 2023) without the projection of captions; at first its output is zero.
    """
    net = PixArtTransformer2DModel(
        sample_size=SIDE // 8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=settings.layers,
        num_attention_heads=settings.heads,
        attention_head_dim=settings.head_width,
        cross_attention_dim=context,
        interpolation_scale=1,
        use_additional_conditions=False,
    )
    nn.init.zeros_(net.proj_out.weight)
    nn.init.zeros_(net.proj_out.bias)
    return net


def draw_sigmas(rng: np.random.Generator, count: int, location: float) -> Tensor:
    """Draw sigmas 0..1 of a logit-normal distribution (Esser et al. 2024, eq. 19) by stratified sampling."""
    even = torch.from_numpy((np.arange(count) + rng.random(count)) / count)
    return torch.sigmoid(torch.special.ndtri(even.clamp(1e-6, 1 - 1e-6)) + location).float()


class Velocity:
    """Predict the velocity n - x0 of the straight path from picture to noise (Lipman et al. 2022); see `Objective`."""

    def __init__(self, location: float) -> None:
        """`location` is the mean of log(sigma / (1 - sigma))."""
        self._location = location

    def __call__(
        self, network: nn.Module, clean: Tensor, noise: Tensor, states: Tensor, rng: np.random.Generator
    ) -> Tensor:
        """Return the mean square error of the velocity; the network computes in bfloat16."""
        sigmas = draw_sigmas(rng, len(clean), self._location)
        share = sigmas[:, None, None, None]
        noisy = (1 - share) * clean + share * noise
        with torch.autocast("cpu", torch.bfloat16):
            answer = network(noisy, encoder_hidden_states=states, timestep=sigmas * TIMESTEPS).sample
        return (answer.float() - (noise - clean)).square().mean()


@dataclass(frozen=True, slots=True)
class FlowModel:
    """The parts of a flow-matching model; see `Trained`."""

    transformer: PixArtTransformer2DModel
    vae: AutoencoderKL
    encoder: CLIPTextModel
    captions: Captions
    shift: float = 1.0
    schedule: ClassVar[Schedule] = staticmethod(simple)

    @property
    def space(self) -> Space:
        """The space of the flow, with a static shift."""
        side = SIDE // 8
        return Flow(flow_table({"shift": self.shift}, (side, side), steps=1))

    def call(self, x: Tensor, time: Tensor, states: Tensor) -> Tensor:
        """Return the velocity at x [B, 4, h, w]; `time` [B] is sigma."""
        answer: Tensor = self.transformer(x, encoder_hidden_states=states, timestep=time * TIMESTEPS).sample
        return answer
