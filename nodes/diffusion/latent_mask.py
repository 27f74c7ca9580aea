"""How a mask in pixels becomes one in a latent's cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

CellRule = Literal["area", "cover", "bilinear", "nearest"]


def cells_of(mask: Tensor, cells: tuple[int, ...], rule: CellRule = "area") -> Tensor:
    """A mask [B, H, W] at a latent's size (h, w), [B, 1, h, w].

    "area" is the share of a cell that is masked. "cover" is the largest value in a cell, so that a cell is repainted
    whole when it is touched. "bilinear" mixes the four pixels about a cell's middle, as ComfyUI does; "nearest" takes
    one pixel, as diffusers does. On masks that are even within each cell all agree.
    """
    from torch.nn.functional import adaptive_max_pool2d, interpolate

    if rule == "cover":
        return adaptive_max_pool2d(mask[:, None], cells)
    smooth = {"align_corners": False} if rule == "bilinear" else {}
    return interpolate(mask[:, None], cells, mode=rule, **smooth)


def even_in_cells(mask: Tensor, cells: tuple[int, ...], downscale: int, rule: CellRule) -> Tensor:
    """A mask [B, H, W] in pixels that is even within each cell, so that every rule makes the same cells of it."""
    found = cells_of(mask, cells, rule)[:, 0]
    return found.repeat_interleave(downscale, 1).repeat_interleave(downscale, 2)
