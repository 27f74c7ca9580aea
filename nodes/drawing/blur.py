"""Gaussian blur of float pictures."""

from typing import TYPE_CHECKING

import numpy as np

from latentloom.nodes.drawing.resize import premultiplied, unpremultiplied

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats


def blurred(pixels: "Floats", sigma: float, radius: int = 0) -> "Floats":
    """Blur [B, H, W, C] pixels; sigma is in pixels. Beyond the picture its edge pixels are repeated.

    The blur is truncated at `radius` pixels; 0 means four times sigma. Colour is weighted with its alpha, so the colour
    of a transparent pixel has no effect.
    """
    from scipy.ndimage import gaussian_filter

    reach = (0, radius, radius, 0) if radius else None

    def blur(planes: "Floats") -> "Floats":
        found: Floats = np.clip(gaussian_filter(planes, (0, sigma, sigma, 0), mode="nearest", radius=reach), 0, 1)
        return found

    if sigma == 0:
        return pixels
    if pixels.shape[3] == 3:
        return blur(pixels)
    found = blur(premultiplied(pixels))
    return unpremultiplied(found[..., :3], found[..., 3:])
