"""What ControlNets of transformers add to its tokens: when, how strongly and where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

PATCH = 2  # cells of a token, along each axis


def progress(table: Tensor, sigma: float) -> float:
    """Return the share of the way from noise (0) to the picture (1) at a sigma, to four places.

    `table` holds the sigmas of equal shares, ascending, so a shift has no effect: half of the steps of the schedule
    "simple" are half of the way.
    """
    import numpy as np

    sigmas = table.numpy()
    return round(1 - float(np.interp(sigma, sigmas, np.arange(1, len(sigmas) + 1) / len(sigmas))), 4)


def token_weight(strength: float, mask: Tensor | None, x: Tensor) -> Tensor | float:
    """Return the weight of each token of x [B, C, h, w]: [B, N, 1] for a mask [B, 1, H, W] in pixels."""
    from torch.nn.functional import interpolate

    if mask is None:
        return strength
    cells = interpolate(mask, (x.shape[2] // PATCH, x.shape[3] // PATCH), mode="area")
    return cells.flatten(2).movedim(1, 2) * strength


def weighted(sample: Tensor, weight: Tensor | float, strength: float) -> Tensor:
    """Multiply what a ControlNet adds, [B, N, D], by the weights of the picture's tokens; other tokens follow them.

    Those, of a prompt, have the strength alone. A sample of one token stands for nothing.
    """
    from torch.nn.functional import pad

    if isinstance(weight, int | float) or sample.shape[1] == weight.shape[1]:
        return sample * weight
    further = sample.shape[1] - weight.shape[1]
    return sample if further < 0 else sample * pad(weight, (0, 0, 0, further), value=strength)


def beside_references(sample: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
    """Append zeros for the tokens of reference pictures to [B, N, D], which no ControlNet changes."""
    from torch.nn.functional import pad

    sizes = [value.shape[-2:] for name, value in condition.items() if name.startswith("reference.")]
    further = sum(-(-height // PATCH) * -(-width // PATCH) for height, width in sizes)
    return pad(sample, (0, 0, 0, further)) if further else sample
