"""Converts latents to transformer tokens of 2 x 2 cells, row by row, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def packed(x: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, h/2 * w/2, C * 4]."""
    batch, channels, height, width = x.shape
    cells = x.reshape(batch, channels, height // 2, 2, width // 2, 2)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(batch, height // 2 * (width // 2), channels * 4)


def unpacked(tokens: Tensor, height: int, width: int) -> Tensor:
    """[B, h/2 * w/2, C * 4] -> [B, C, h, w]."""
    batch, _, numbers = tokens.shape
    cells = tokens.reshape(batch, height // 2, width // 2, numbers // 4, 2, 2)
    return cells.permute(0, 3, 1, 4, 2, 5).reshape(batch, numbers // 4, height, width)


def whole(x: Tensor) -> Tensor:
    """Pad x [B, C, h, w] to whole tokens by repeating the last cells at an edge."""
    from torch.nn.functional import pad

    return pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), mode="replicate")


def places(x: Tensor, number: int = 0) -> Tensor:
    """Return the position ids of the tokens of x [B, C, h, w]: `number`, row, column, float32 [h/2 * w/2, 3]."""
    import torch

    rows, columns = (torch.arange(side // 2, dtype=torch.float32, device=x.device) for side in x.shape[2:])
    grid = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([torch.full_like(grid[0], number), *grid], dim=2).reshape(-1, 3)
