"""A video VAE used for pictures: a picture is a video of one frame."""

from __future__ import annotations

from typing import Any

from diffusers import AutoencoderKLQwenImage
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor


class PictureVae(AutoencoderKLQwenImage):  # type: ignore[misc]
    """Pictures [B, 3, H, W] in -1..1 to latents [B, 16, h, w] and back, as diffusers' AutoencoderKL does."""

    def encode(self, x: Tensor, return_dict: bool = True) -> Any:  # noqa: ARG002
        """Return the distribution of the latents."""
        found = super().encode(x.unsqueeze(2)).latent_dist
        return AutoencoderKLOutput(DiagonalGaussianDistribution(found.parameters.squeeze(2)))

    def decode(self, z: Tensor, return_dict: bool = True) -> Any:  # noqa: ARG002
        """Decode latents to pictures."""
        return DecoderOutput(super().decode(z.unsqueeze(2)).sample.squeeze(2))
