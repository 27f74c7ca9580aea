"""Deep Shrink (kohya-ss 2023): the deeper blocks of a UNet see smaller features in the first steps of a large picture.

A UNet composes well only at the size that it was trained on. With smaller features in the deeper blocks, a picture
larger than the training size gets one coherent composition; later steps add the details at full size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from latentloom.engine.errors import BadValueError

if TYPE_CHECKING:
    from torch import Tensor

Method = Literal["bicubic", "bilinear", "area", "nearest"]
_CONTROLS = ("down_block_additional_residuals", "mid_block_additional_residual")


@dataclass(frozen=True, slots=True)
class _Place:
    """The layers where features are shrunk and enlarged again."""

    shrinks: Any  # the layer whose input is shrunk
    grows: Any  # the layer whose output is enlarged
    halvings: int  # the number of downsamplers after `shrinks`


@dataclass(slots=True)
class DeepShrink:
    """Divides the size of the features by `factor` after the block `depth` while `active` is set.

    Blocks are counted as in the original code: 1 is the first after the input convolution. The skip connections of
    that block and of those before it keep their size.
    """

    depth: int
    factor: float
    method: Method
    active: bool = field(default=False, init=False)
    _size: tuple[int, int] = field(default=(0, 0), init=False)

    @contextlib.contextmanager
    def over(self, unet: Any) -> Iterator[None]:
        """Change a UNet inside a with-block. Raises BadValueError for a depth that the UNet does not have."""
        place = _place(unet, self.depth)

        def shrink(_: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
            if not self.active:
                return None
            self._size = tuple(arguments[0].shape[2:])
            return self._resized(arguments[0], self._smaller(place.halvings)), *arguments[1:]

        def grow(_: Any, __: Any, found: Any) -> Any:
            if not self.active:
                return None
            if isinstance(found, tuple):
                return self._resized(found[0], self._size), *found[1:]
            return self._resized(found, self._size)

        def fit(_: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any] | None:
            return (arguments, self._fitted(named, place.halvings)) if self.active else None

        handles = [
            unet.register_forward_pre_hook(fit, with_kwargs=True),
            place.shrinks.register_forward_pre_hook(shrink),
            place.grows.register_forward_hook(grow),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _smaller(self, halvings: int) -> tuple[int, int]:
        """Return a reduced size that the deeper blocks can halve `halvings` times without a remainder."""
        step = 2**halvings
        height, width = (max(step, round(side / self.factor / step) * step) for side in self._size)
        return height, width

    def _resized(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        from torch.nn.functional import interpolate

        aligned = {"align_corners": False} if self.method.startswith("bi") else {}
        return interpolate(x, size, mode=self.method, **aligned)

    def _fitted(self, named: dict[str, Any], halvings: int) -> dict[str, Any]:
        """Resize ControlNet residuals to the features they are added to. Raises BadValueError for a T2I-Adapter."""
        if named.get("down_intrablock_additional_residuals") is not None:
            raise BadValueError(
                "DeepShrink changes the size of the features that a T2I-Adapter adds to",
                expected="DeepShrink or a T2I-Adapter",
                got="both",
            )
        if named.get(_CONTROLS[0]) is None:
            return named
        downs, middle = (named[name] for name in _CONTROLS)
        self._size = tuple(downs[self.depth].shape[2:])
        small = self._smaller(halvings)

        def fitted(x: Tensor) -> Tensor:
            shorter = self._size[0] // x.shape[2]
            return self._resized(x, (small[0] // shorter, small[1] // shorter))

        deeper = [fitted(x) for x in downs[self.depth + 1 :]]
        return {**named, _CONTROLS[0]: (*downs[: self.depth + 1], *deeper), _CONTROLS[1]: fitted(middle)}


def _place(unet: Any, depth: int) -> _Place:
    down = [layer for block in unet.down_blocks for layer in _down_layers(block)]
    if depth > len(down):
        raise BadValueError(
            "the UNet does not have that many blocks", expected=f"a depth of 1 to {len(down)}", got=str(depth)
        )
    behind = [first for first, _ in down[depth:]] + [unet.mid_block]
    up = [unet.mid_block] + [layer for block in unet.up_blocks for layer in _up_layers(block)]
    halvings = sum(block.downsamplers is not None for block in unet.down_blocks)
    passed = sum(halves for _, halves in down[:depth])
    return _Place(behind[0], up[len(down) - depth], halvings - passed)


def _down_layers(block: Any) -> Iterator[tuple[Any, bool]]:
    """The first layer of each block of the original code, and whether the block halves the size."""
    yield from ((layer, False) for layer in block.resnets)
    yield from ((layer, True) for layer in block.downsamplers or ())


def _up_layers(block: Any) -> Iterator[Any]:
    """The last layer before each skip connection is read, and the last layer of the block."""
    attentions = getattr(block, "attentions", None) or block.resnets
    yield from attentions[:-1]
    yield (block.upsamplers or attentions[-1:])[0]
