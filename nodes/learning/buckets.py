"""Buckets: the sizes that pictures are brought to, so that those of one shape can be learnt in one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from latentloom.nodes.drawing.resize import Region, Size, resize

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

FINE, COARSE = 16, 64
"""Steps of the sides in pixels, below and from 256 pixels on."""


def bucket_of(size: Size, side: int) -> Size:
    """Return the size for a picture: of about its shape, at most side * side pixels, between 1 : 2 and 2 : 1."""
    step = COARSE if side >= 256 else FINE
    widths = range(max(step, side // 2 // step * step), 2 * side + 1, step)
    sizes = [Size(width, side * side // width // step * step) for width in widths]
    wanted = np.log(size.width / size.height)
    usable = [found for found in sizes if found.height >= max(step, side // 2 // step * step)]
    return min(usable, key=lambda found: (abs(np.log(found.width / found.height) - wanted), -found.width))


def filling(pixels: Floats, size: Size) -> Floats:
    """Resize a picture [H, W, C] so that it covers a size, and crop what is over on both sides alike."""
    height, width = pixels.shape[:2]
    scale = min(width / size.width, height / size.height)
    across, down = size.width * scale, size.height * scale
    left, top = max(0.0, (width - across) / 2), max(0.0, (height - down) / 2)
    region = Region(left, top, min(width, left + across), min(height, top + down))
    return resize(pixels[None], size, "lanczos", region)[0]


def opaque(pixels: Floats) -> Floats:
    """Return a picture [H, W, 3]: transparency is shown on white."""
    if pixels.shape[2] == 3:
        return pixels
    return pixels[..., :3] * pixels[..., 3:] + (1 - pixels[..., 3:])
