"""The UNet, and its objective: to predict the noise."""

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from latentloom.nodes.diffusion.schedules import scaled_linear_table
from latentloom.training.pictures import SIDE
from latentloom.training.settings import Settings

STEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012


def noise_levels() -> Tensor:
    """Return the sigmas of the 1000 timesteps, float64."""
    return scaled_linear_table(BETA_START, BETA_END, STEPS)


def create_unet(settings: Settings) -> UNet2DConditionModel:
    """Create an untrained UNet: plain blocks at full resolution, cross-attention in the deeper blocks."""
    channels = settings.unet.channels
    deeper = len(channels) - 1
    return UNet2DConditionModel(
        sample_size=SIDE // 8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=channels,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * deeper),
        up_block_types=(*("CrossAttnUpBlock2D",) * deeper, "UpBlock2D"),
        cross_attention_dim=settings.text.width,
        attention_head_dim=settings.unet.heads,
        norm_num_groups=8,
    )


def loss_weights(snr: Tensor, gamma: float) -> Tensor:
    """Return the weight of the noise error at a signal-to-noise ratio.

    It is min(snr, gamma) / snr (Hang et al., 2023), increased by a factor of up to six for a low signal: there the
    layout is determined, and layout errors change the predicted noise only slightly.
    """
    return snr.clamp(max=gamma) / snr * (1 + 0.25 / (snr + 0.05))


def draw_times(rng: np.random.Generator, count: int) -> Tensor:
    """Draw timesteps for a batch by stratified sampling, with more of them at high noise."""
    even = (np.arange(count) + rng.random(count)) / count
    return torch.from_numpy((STEPS * even**0.75).astype(np.int64))


class Epsilon:
    """Predict the noise of a variance-preserving mix; see `Objective`."""

    def __init__(self, gamma: float) -> None:
        """`gamma` is the cap of the signal-to-noise weight; see `loss_weights`."""
        self._gamma = gamma
        self._alphas = 1 / (1 + noise_levels() ** 2)

    def __call__(
        self, network: nn.Module, clean: Tensor, noise: Tensor, states: Tensor, rng: np.random.Generator
    ) -> Tensor:
        """Return the weighted error of the noise."""
        times = draw_times(rng, len(clean))
        alpha = self._alphas[times].float()[:, None, None, None]
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        error = (network(noisy, times, states).sample - noise).square().mean(dim=(1, 2, 3))
        return (loss_weights((alpha / (1 - alpha)).flatten(), self._gamma) * error).mean()
