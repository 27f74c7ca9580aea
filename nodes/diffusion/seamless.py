"""Seamless pictures, which can be tiled: convolutions with circular padding."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from latentloom.engine.errors import BadValueError
from latentloom.engine.types.values import Patch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Axes:
    """The axes along which a picture wraps around."""

    horizontal: bool = False
    vertical: bool = False

    def __or__(self, other: Axes) -> Axes:
        return Axes(self.horizontal or other.horizontal, self.vertical or other.vertical)

    def __bool__(self) -> bool:
        return self.horizontal or self.vertical

    def within(self, part: Sequence[int], whole: Sequence[int]) -> Axes:
        """Return the axes along which a part (height, width) spans the whole picture; only there does it wrap."""
        return Axes(self.horizontal and part[1] == whole[1], self.vertical and part[0] == whole[0])


def axes_of(patches: Iterable[Patch]) -> Axes:
    """Return the union of the axes of all "seamless" patches of a model or VAE."""
    found = Axes()
    for patch in patches:
        if patch.kind == "seamless":
            found |= Axes(**patch.parameters)
    return found


EDGES = Axes()  # none: a picture that ends at its edges


class Ring:
    """Holds the axes along which the convolutions of networks currently wrap around; none at first."""

    def __init__(self, *, bends: bool = True) -> None:
        """`bends` is False for networks whose convolutions cannot be replaced."""
        self.axes, self._bends = EDGES, bends

    @contextlib.contextmanager
    def on(self, axes: Axes) -> Iterator[None]:
        """Wrap around inside a with-block. Raises BadValueError for networks that do not support it."""
        if axes and not self._bends:
            raise BadValueError(
                "Seamless does not support video VAEs, such as that of Qwen-Image",
                expected="a VAE of Stable Diffusion or Flux.1",
                got="a VAE with temporal convolutions",
                hint="remove Seamless from the chain of the VAE",
            )
        before, self.axes = self.axes, axes
        try:
            yield
        finally:
            self.axes = before

    def convolve(self, layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Compute a padded convolution. The padding is circular along the axes that wrap, and zero elsewhere."""
        from torch.nn import Conv2d, functional

        if not self.axes:
            return Conv2d._conv_forward(layer, x, weight, bias)
        high, wide = layer.padding
        x = functional.pad(x, (wide, wide, 0, 0), mode="circular" if self.axes.horizontal else "constant")
        x = functional.pad(x, (0, 0, high, high), mode="circular" if self.axes.vertical else "constant")
        return functional.conv2d(x, weight, bias, layer.stride, 0, layer.dilation, layer.groups)

    def halve(self, layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Compute the downsampling convolution of a VAE's encoder, whose input ends with a row and column of zeros.

        Along the axes that wrap, the first row or column replaces the zeros.
        """
        from torch.nn import Conv2d

        if self.axes:
            x = x.clone()
        if self.axes.horizontal:
            x[..., -1] = x[..., 0]
        if self.axes.vertical:
            x[..., -1, :] = x[..., 0, :]
        return Conv2d._conv_forward(layer, x, weight, bias)


@contextlib.contextmanager
def circular(networks: Iterable[Any]) -> Iterator[Ring]:
    """Make the convolutions of networks use a Ring inside a with-block."""
    from torch.nn import Conv3d

    networks = list(networks)
    ring = Ring(bends=not any(isinstance(part, Conv3d) for network in networks for part in network.modules()))
    layers = [pair for network in networks for pair in _layers(network)]
    try:
        for layer, name in layers:
            layer._conv_forward = partial(getattr(ring, name), layer)
        yield ring
    finally:
        for layer, _ in layers:
            layer.__dict__.pop("_conv_forward", None)


def _layers(network: Any) -> Iterator[tuple[Any, str]]:
    """The padded convolutions, each with the name of the Ring method that replaces it."""
    from diffusers.models.downsampling import Downsample2D
    from torch import nn

    for part in network.modules():
        if isinstance(part, nn.Conv2d) and part.padding not in ("valid", (0, 0)):
            yield part, "convolve"
        elif isinstance(part, Downsample2D) and part.use_conv and part.padding == 0:
            yield part.conv, "halve"
