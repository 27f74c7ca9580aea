"""Gaussian blur of float pictures."""

from typing import TYPE_CHECKING

import numpy as np

from latentloom.nodes.drawing.resize import premultiplied, unpremultiplied

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats


def blurred(pixels: "Floats", sigma: float) -> "Floats":
    """[B, H, W, C] pixels, blurred; sigma is in pixels, and the edge goes on beyond the picture.

    Colour is weighted with its alpha, so that what a transparent pixel hides is not seen anywhere.
    """
    from scipy.ndimage import gaussian_filter

    def blur(planes: "Floats") -> "Floats":
        found: Floats = np.clip(gaussian_filter(planes, (0, sigma, sigma, 0), mode="nearest"), 0, 1)
        return found

    if sigma == 0:
        return pixels
    if pixels.shape[3] == 3:
        return blur(pixels)
    found = blur(premultiplied(pixels))
    return unpremultiplied(found[..., :3], found[..., 3:])
