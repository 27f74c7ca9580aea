"""The norm in front of a transformer's last layer, in the order of the authors' files.

A linear layer says by how much the norm's result is scaled and shifted. diffusers has the scale first, and the files of
Flux and Stable Diffusion 3 the shift: here the network reads the weights as they lie there.
"""

from __future__ import annotations

import torch
from diffusers.models.normalization import AdaLayerNormContinuous
from torch import Tensor


class ShiftFirst(AdaLayerNormContinuous):  # type: ignore[misc]
    """norm(x) * (1 + scale) + shift."""

    def forward(self, x: Tensor, conditioning_embedding: Tensor) -> Tensor:
        """For x [B, T, D] and a conditioning [B, D]."""
        shift, scale = torch.chunk(self.linear(self.silu(conditioning_embedding).to(x.dtype)), 2, dim=1)
        found: Tensor = self.norm(x) * (1 + scale)[:, None, :] + shift[:, None, :]
        return found


def shift_first(width: int) -> ShiftFirst:
    """Such a norm of a stream, with the conditioning of the same width."""
    return ShiftFirst(width, width, elementwise_affine=False, eps=1e-6)
