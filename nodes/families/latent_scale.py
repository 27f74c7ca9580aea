"""Scaling of latents: they are unscaled outside a run, as the VAE returns them, and of about unit variance inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def scaled(latent: Tensor, info: Mapping[str, Any]) -> Tensor:
    """Return (latent - shift_factor) * scaling_factor; a model's factors are numbers or lists with one per channel."""
    shift = info.get("shift_factor")
    return (latent - _like(shift, latent) if shift else latent) * _like(info["scaling_factor"], latent)


def unscaled(latent: Tensor, info: Mapping[str, Any]) -> Tensor:
    """Return latent / scaling_factor + shift_factor."""
    shift, found = info.get("shift_factor"), latent / _like(info["scaling_factor"], latent)
    return found + _like(shift, latent) if shift else found


def _like(factor: Any, latent: Tensor) -> Any:
    if not isinstance(factor, list):
        return factor
    return latent.new_tensor(factor).view(1, -1, 1, 1)
