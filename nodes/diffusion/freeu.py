"""FreeU (Si et al. 2023): scales the backbone features and the skip features of a UNet where they are concatenated."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

LOW = 1  # frequencies of a skip connection on each side of 0 that are scaled


@dataclass(frozen=True, slots=True)
class Weights:
    """Factors of half of the features (b) and of the skips' low frequencies (s), for the deepest and the next stage.

    `where` defines a stage: "width" means the layers whose features are 4 and 2 times as wide as the first (the
    authors' code and ComfyUI), "stage" the two deepest up blocks (diffusers). `version` 2 scales each position
    according to the strength of its features (the authors' second version).
    """

    b1: float
    b2: float
    s1: float
    s2: float
    where: Literal["width", "stage"] = "width"
    version: Literal["1", "2"] = "1"

    def of(self, widths: int, block: int) -> tuple[float, float] | None:
        """Return the factors for features `widths` times as wide as the first; None for features left unchanged."""
        deep = widths == 4 if self.where == "width" else block == 0
        next = widths == 2 if self.where == "width" else block == 1
        return (self.b1, self.s1) if deep else (self.b2, self.s2) if next else None


@contextlib.contextmanager
def weighed(unet: Any, weights: Weights) -> Iterator[None]:
    """Scale the inputs of the layers in a UNet's up blocks inside a with-block."""
    handles = []
    for layer, features, block in _meetings(unet):
        factors = weights.of(features // unet.config.block_out_channels[0], block)
        if factors is not None:
            hook = partial(_weigh, features=features, factors=factors, version=weights.version)
            handles.append(layer.register_forward_pre_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _meetings(unet: Any) -> Iterator[tuple[Any, int, int]]:
    """The layers that read features and a skip concatenated, with the width of the features and the block's number."""
    features = unet.config.block_out_channels[-1]
    for number, block in enumerate(unet.up_blocks):
        for layer in block.resnets:
            yield layer, features, number
            features = layer.out_channels


def _weigh(
    layer: Any,  # noqa: ARG001
    arguments: tuple[Tensor, ...],
    *,
    features: int,
    factors: tuple[float, float],
    version: str,
) -> tuple[Tensor, ...]:
    import torch
    from diffusers.utils.torch_utils import fourier_filter

    x, skip = arguments[0].split([features, arguments[0].shape[1] - features], dim=1)
    half, rest = x.chunk(2, dim=1)
    half = half * (factors[0] if version == "1" else 1 + (factors[0] - 1) * _strength(x))
    return torch.cat([half, rest, fourier_filter(skip, threshold=LOW, scale=factors[1])], dim=1), *arguments[1:]


def _strength(x: Tensor) -> Tensor:
    """The mean over the features [B, 1, h, w], scaled so that its smallest value is 0 and its largest is 1."""
    mean = x.mean(1, keepdim=True)
    least, most = mean.amin((2, 3), keepdim=True), mean.amax((2, 3), keepdim=True)
    return (mean - least) / (most - least).clamp(min=1e-12)
