"""The norm before a transformer's last layer, with the weight order of the original files.

A linear layer computes the scale and the shift of the norm. diffusers stores the scale first; the files of Flux and
Stable Diffusion 3 store the shift first. This module uses the order of the files, so weights need no reordering.
"""

from __future__ import annotations

import torch
from diffusers.models.normalization import AdaLayerNormContinuous
from torch import Tensor


class ShiftFirst(AdaLayerNormContinuous):  # type: ignore[misc]
    """norm(x) * (1 + scale) + shift."""

    def forward(self, x: Tensor, conditioning_embedding: Tensor) -> Tensor:
        """Normalise x [B, T, D] with a conditioning [B, D]."""
        shift, scale = torch.chunk(self.linear(self.silu(conditioning_embedding).to(x.dtype)), 2, dim=1)
        found: Tensor = self.norm(x) * (1 + scale)[:, None, :] + shift[:, None, :]
        return found


def shift_first(width: int, *, bias: bool = True) -> ShiftFirst:
    """Return such a norm for `width` features and a conditioning of the same width."""
    return ShiftFirst(width, width, elementwise_affine=False, eps=1e-6, bias=bias)
