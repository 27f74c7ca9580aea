"""The VAE of Qwen-Image 2.1 for pictures with or without transparency."""

from __future__ import annotations

from typing import Any

from diffusers import AutoencoderKLQwenImage21
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor
from torch.nn.functional import pad


class TransparentVae(AutoencoderKLQwenImage21):  # type: ignore[misc]
    """Pictures [B, 3, H, W] in -1..1 to latents [B, 64, h, w], and those to pictures [B, 4, H, W] with alpha."""

    def encode(self, x: Tensor, return_dict: bool = True) -> Any:  # noqa: ARG002
        """Return the distribution of the latents. Pictures without alpha are opaque."""
        whole = pad(x, (0, 0, 0, 0, 0, 4 - x.shape[1]), value=1.0)
        found = super().encode(whole.unsqueeze(2)).latent_dist
        return AutoencoderKLOutput(DiagonalGaussianDistribution(found.parameters.squeeze(2)))

    def decode(self, z: Tensor, return_dict: bool = True) -> Any:  # noqa: ARG002
        """Decode latents to pictures with alpha."""
        return DecoderOutput(super().decode(z.unsqueeze(2)).sample.squeeze(2))
