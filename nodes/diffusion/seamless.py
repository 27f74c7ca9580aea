"""Pictures that can be laid side by side: convolutions that go on at the opposite edge."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@contextlib.contextmanager
def circular(module: Any, *, horizontal: bool, vertical: bool) -> Iterator[None]:
    """Let a network's convolutions read on at the opposite edge instead of zeros, for the time of a with-block."""
    from torch import nn

    layers = [
        part for part in module.modules() if isinstance(part, nn.Conv2d) and part.padding not in ("valid", (0, 0))
    ]
    try:
        for layer in layers:
            layer._conv_forward = partial(_convolved, layer, horizontal, vertical)
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("_conv_forward", None)


def _convolved(layer: Any, horizontal: bool, vertical: bool, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution whose padding is circular on the chosen axes."""
    from torch.nn import functional

    high, wide = layer.padding
    x = functional.pad(x, (wide, wide, 0, 0), mode="circular" if horizontal else "constant")
    x = functional.pad(x, (0, 0, high, high), mode="circular" if vertical else "constant")
    return functional.conv2d(x, weight, bias, layer.stride, 0, layer.dilation, layer.groups)
