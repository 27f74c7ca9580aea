"""The input picture of a ControlNet: resized to the sampled picture, with the repainted part marked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from latentloom.engine import Array, Cond
from latentloom.engine.errors import BadValueError

if TYPE_CHECKING:
    from torch import Tensor

Fit = Literal["fill", "pad", "stretch"]
Resize = Literal["auto", "smooth", "nearest"]
KINDS = (
    *("openpose", "depth", "soft_edge", "lines", "normal", "segmentation"),  # in the order of the first union model
    *("tile", "repaint"),  # added by the "promax" union model
)
FLUX_KINDS = ("lines", "tile", "depth", "blur", "openpose", "gray", "low_quality")  # of InstantX's and Shakker's
HOLE = -1.0  # of an inpaint ControlNet (Zhang et al., control_v11p_sd15_inpaint; diffusers' make_inpaint_condition)
BLACK = 0.0  # of a union ControlNet's kind "repaint", and of ControlNets that see latents


def kinds_of(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the kinds of pictures of a union ControlNet with these facts, by number; () for others."""
    return (FLUX_KINDS if facts.get("family") == "flux" else KINDS)[: facts.get("union", 0)]


def picture_of(entry: Cond, number: int, size: tuple[int, int], batch: int) -> tuple[Tensor, Tensor | None]:
    """Return a control's picture [B, 3, H, W] with its hole filled in, and the hole [B, 1, H, W], if there is one."""
    record = entry.extra["controls"][number]
    fit, resize = record.get("fit", "fill"), record.get("resize", "auto")
    picture = fitted(entry.arrays[f"control.{number}.image"], size, batch, "image", fit, resize)
    array = entry.arrays.get(f"control.{number}.hole")
    if array is None:
        return picture, None
    hole = fitted(array, size, batch, "hole", fit, "smooth")
    black = record.get("kind") is not None or "vae" in record
    return with_hole(picture, hole, BLACK if black else HOLE), hole


def fitted(array: Array, size: tuple[int, int], batch: int, part: str, fit: Fit, resize: Resize) -> Tensor:
    """Resize maps [B, C, H, W] to a size (height, width): crop to the middle, pad with black, or stretch.

    "auto" takes the nearest pixel if all values are 0 or 1, to keep lines sharp, and averages otherwise.
    Raises BadValueError if the number of maps is neither 1 nor `batch`.
    """
    tensor = array.tensor()
    if tensor.shape[0] not in (1, batch):
        raise BadValueError(
            f"the control's {part} has a different batch size than the latent",
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
    """Return the largest centred part that has the aspect ratio of a size."""
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
    """Set a picture [B, 3, H, W] to `value` in every pixel where the mask [B, 1, H, W] is above 0.5."""
    import torch

    return torch.where(hole > 0.5, value, picture)
