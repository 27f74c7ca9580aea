"""FreeU (Si et al. 2023): a UNet's features weighed against its skips where the two meet, at no cost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

LOW = 1  # frequencies of a skip on each side of 0 that are scaled


@dataclass(frozen=True, slots=True)
class Weights:
    """Factors of a half of the features (b) and of the skips' low frequencies (s), for the deeper and the next stage.

    `where` says what a stage is: "width", the layers whose features are 4 and 2 times as wide as the first (the
    authors' code, and ComfyUI's), or "stage", the two deepest blocks of the way up (diffusers'). `version` 2 weighs
    each place by how strong its features are (the authors' second version).
    """

    b1: float
    b2: float
    s1: float
    s2: float
    where: Literal["width", "stage"] = "width"
    version: Literal["1", "2"] = "1"

    def of(self, widths: int, block: int) -> tuple[float, float] | None:
        """The factors for features of so many times the first width, in a block; None for those left alone."""
        deep = widths == 4 if self.where == "width" else block == 0
        next = widths == 2 if self.where == "width" else block == 1
        return (self.b1, self.s1) if deep else (self.b2, self.s2) if next else None


@contextlib.contextmanager
def weighed(unet: Any, weights: Weights) -> Iterator[None]:
    """Weigh what goes into the layers of a UNet's way up, for the time of a with-block."""
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
    """The layers that read features and a skip side by side, how wide the features are, and the number of the block."""
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
    """Each place's mean over the features [B, 1, h, w], between 0 where it is the least and 1 where it is the most."""
    mean = x.mean(1, keepdim=True)
    least, most = mean.amin((2, 3), keepdim=True), mean.amax((2, 3), keepdim=True)
    return (mean - least) / (most - least).clamp(min=1e-12)
