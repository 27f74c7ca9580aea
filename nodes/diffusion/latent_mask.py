"""Converts masks in pixels to masks in latent cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

CellRule = Literal["area", "cover", "bilinear", "nearest"]


def cells_of(mask: Tensor, cells: tuple[int, ...], rule: CellRule = "area") -> Tensor:
    """Convert a mask [B, H, W] to a latent's size (h, w), [B, 1, h, w].

    "area" is the masked share of each cell. "cover" is the largest value in a cell, so a cell is repainted completely
    if any part of it is masked. "bilinear" interpolates the four pixels around a cell's centre, as ComfyUI does;
    "nearest" takes one pixel, as diffusers does. All rules agree on masks that are constant within each cell.
    """
    from torch.nn.functional import adaptive_max_pool2d, interpolate

    if rule == "cover":
        return adaptive_max_pool2d(mask[:, None], cells)
    smooth = {"align_corners": False} if rule == "bilinear" else {}
    return interpolate(mask[:, None], cells, mode=rule, **smooth)


def even_in_cells(mask: Tensor, cells: tuple[int, ...], downscale: int, rule: CellRule) -> Tensor:
    """Make a mask [B, H, W] in pixels constant within each cell, so that every rule converts it to the same cells."""
    found = cells_of(mask, cells, rule)[:, 0]
    return found.repeat_interleave(downscale, 1).repeat_interleave(downscale, 2)
