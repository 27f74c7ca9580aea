"""The vision tower of a language model: it turns pictures into vectors that take the place of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from latentloom.nodes.drawing.resize import resize, rounded

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.engine.types.values import Floats


@dataclass(frozen=True, slots=True, eq=False)
class SeenPicture:
    """A picture as tokens, row by row."""

    vectors: Tensor  # [rows * columns, D]
    rows: int
    columns: int
    deep: Sequence[Tensor] = ()  # [rows * columns, D] each, which the first layers of the language model add


@dataclass(frozen=True)
class VisionTower:
    """A vision transformer of Qwen2.5-VL or Qwen3-VL, which merges 2 x 2 patches into a token.

    `mean` and `deviation` normalise the colours.
    """

    module: Any
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    def see(self, picture: Floats) -> SeenPicture:
        """Turn a picture [H, W, 3] in 0..1 into tokens. Its sides are resized to whole tokens."""
        import torch

        patch, merge = self.module.patch_size, self.module.spatial_merge_size
        height, width = picture.shape[:2]
        sized = resize(picture[None], rounded(width, height, patch * merge), "bicubic")[0]
        rows, columns = (side // patch for side in sized.shape[:2])
        pixels = (sized - np.float32(self.mean)) / np.float32(self.deviation)
        patches = torch.from_numpy(patches_of(pixels, patch, merge)).to(self.module.device)
        grid = torch.tensor([[1, rows, columns]], device=patches.device)
        found = self.module(patches, grid_thw=grid)
        deep = getattr(found, "deepstack_features", ())
        return SeenPicture(found.pooler_output, rows // merge, columns // merge, deep)


def patches_of(pixels: Floats, patch: int, merge: int, frames: int = 2) -> Floats:
    """Cut pixels [H, W, C] into patches [n, C * frames * patch * patch]; those that are merged follow each other.

    A picture is a video of `frames` equal frames (Qwen2-VL, Wang et al. 2024, section 2).
    """
    height, width, channels = pixels.shape
    cells = pixels.reshape(height // patch // merge, merge, patch, width // patch // merge, merge, patch, channels)
    cells = cells.transpose(0, 3, 1, 4, 6, 2, 5)[:, :, :, :, :, None]
    whole = np.broadcast_to(cells, (*cells.shape[:5], frames, patch, patch))
    return np.ascontiguousarray(whole).reshape(-1, channels * frames * patch * patch)
