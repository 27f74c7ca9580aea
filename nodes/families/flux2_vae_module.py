"""The VAE of Flux.2 as its transformer sees it: latents packed 2 x 2 and normalised."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKLFlux2
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle


class Statistics(nn.Module):
    """The running statistics of a batch norm, without the counter of its training, which files may lack."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.empty(channels))
        self.register_buffer("running_var", torch.empty(channels))


class PackedVae(AutoencoderKLFlux2):  # type: ignore[misc]
    """Pictures [B, 3, H, W] in -1..1 to latents [B, 128, H / 16, W / 16] of unit variance and back.

    Mean and variance of each packed channel are the running statistics of a batch norm (Flux2Pipeline in diffusers).
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.bn = Statistics(self.bn.num_features)

    def encode(self, x: Tensor, return_dict: bool = True) -> Any:  # noqa: ARG002
        """Return the distribution of the latents."""
        found = super().encode(x).latent_dist
        mean, deviation = self._statistics(x)
        packed, logvar = (pixel_unshuffle(part, 2) for part in (found.mean, found.logvar))
        parameters = torch.cat([(packed - mean) / deviation, logvar - 2 * deviation.log().expand_as(logvar)], dim=1)
        return AutoencoderKLOutput(DiagonalGaussianDistribution(parameters))

    def decode(self, z: Tensor, return_dict: bool = True) -> Any:  # noqa: ARG002
        """Decode latents to pictures."""
        mean, deviation = self._statistics(z)
        return DecoderOutput(super().decode(pixel_shuffle(z * deviation + mean, 2)).sample)

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and the deviation of each packed channel, [1, C, 1, 1]."""
        mean, variance = (part.view(1, -1, 1, 1).to(like) for part in (self.bn.running_mean, self.bn.running_var))
        return mean, (variance + self.config.batch_norm_eps) ** 0.5
