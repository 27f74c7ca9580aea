"""Gaussian blur of float pictures."""

from typing import TYPE_CHECKING

import numpy as np

from latentloom.nodes.drawing.resize import premultiplied, unpremultiplied

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats


def blurred(pixels: "Floats", sigma: float, radius: int = 0) -> "Floats":
    """[B, H, W, C] pixels, blurred; sigma is in pixels, and the edge goes on beyond the picture.

    The blur is cut off at `radius` pixels; 0 stands for four times sigma.

    Colour is weighted with its alpha, so that what a transparent pixel hides is not seen anywhere.
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
