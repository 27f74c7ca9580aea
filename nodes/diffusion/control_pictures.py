"""The picture that a ControlNet sees: fitted to what is sampled, with what is to be repainted marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from latentloom.engine import Array
from latentloom.engine.errors import BadValueError

if TYPE_CHECKING:
    from torch import Tensor

Fit = Literal["fill", "pad", "stretch"]
Resize = Literal["auto", "smooth", "nearest"]
KINDS = (
    *("openpose", "depth", "soft_edge", "lines", "normal", "segmentation"),  # as the first union ControlNet counts
    *("tile", "repaint"),  # those of "promax" besides
)
HOLE = -1.0  # of an inpaint ControlNet (Zhang et al., control_v11p_sd15_inpaint; diffusers' make_inpaint_condition)
UNION_HOLE = 0.0  # of a union ControlNet's kind "repaint": black


def fitted(array: Array, size: tuple[int, int], batch: int, part: str, fit: Fit, resize: Resize) -> Tensor:
    """Maps [B, C, H, W] at a size (height, width): the middle filled, padded with black, or stretched.

    "auto" takes the nearest pixel for pictures of black and white alone, so that lines stay lines, and averages else.
    Raises BadValueError for maps whose number fits no batch.
    """
    tensor = array.tensor()
    if tensor.shape[0] not in (1, batch):
        raise BadValueError(
            f"the control's {part} has another number of items than the latent",
            expected=f"1 or {batch}" if batch > 1 else "1",
            got=str(tensor.shape[0]),
        )
    if tuple(tensor.shape[2:]) == size:
        return tensor
    nearest = resize == "nearest" or (resize == "auto" and bool(((tensor == 0) | (tensor == 1)).all()))
    if fit == "pad":
        return _padded(tensor, size, nearest=nearest)
    return _resized(_middle(tensor, size) if fit == "fill" else tensor, size, nearest=nearest)


def _middle(tensor: Tensor, size: tuple[int, int]) -> Tensor:
    """The largest part about the middle that has the shape of a size."""
    height, width = tensor.shape[2:]
    high, wide = min(height, round(width * size[0] / size[1])), min(width, round(height * size[1] / size[0]))
    high, wide = max(1, high), max(1, wide)
    top, left = (height - high) // 2, (width - wide) // 2
    return tensor[:, :, top : top + high, left : left + wide]


def _padded(tensor: Tensor, size: tuple[int, int], *, nearest: bool) -> Tensor:
    from torch.nn.functional import pad

    height, width = tensor.shape[2:]
    scale = min(size[0] / height, size[1] / width)
    high, wide = (max(1, min(limit, round(side * scale))) for side, limit in ((height, size[0]), (width, size[1])))
    top, left = (size[0] - high) // 2, (size[1] - wide) // 2
    inner = _resized(tensor, (high, wide), nearest=nearest)
    return pad(inner, (left, size[1] - wide - left, top, size[0] - high - top))


def _resized(tensor: Tensor, size: tuple[int, int], *, nearest: bool) -> Tensor:
    from torch.nn.functional import interpolate

    if nearest:
        return interpolate(tensor, size, mode="nearest-exact")
    return interpolate(tensor, size, mode="bilinear", antialias=True).clamp(0, 1)


def with_hole(picture: Tensor, hole: Tensor, value: float) -> Tensor:
    """A picture [B, 3, H, W] with a value in every pixel that a mask [B, 1, H, W] marks with more than a half."""
    import torch

    return torch.where(hole > 0.5, value, picture)
