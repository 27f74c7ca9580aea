"""Darkens the corners of pictures: a complete plugin in one module."""

from typing import Annotated

import numpy as np
from pydantic import Field

from latentloom.engine import Image, node
from latentloom.engine.types.registry import Registration
from latentloom.plugins import hookimpl


@node("Vignette", category="image")
def vignette(
    image: Image,
    strength: Annotated[float, Field(ge=0, le=1, description="0 changes nothing, 1 makes the corners black.")] = 0.5,
) -> Image:
    """Darken images towards their corners. Transparency is kept."""
    y, x = np.linspace(-1, 1, image.shape[1]), np.linspace(-1, 1, image.shape[2])
    distance = (y[:, None] ** 2 + x[None, :] ** 2) / 2  # 0 in the middle, 1 in a corner
    pixels = image.numpy().copy()
    pixels[..., :3] *= (1 - strength * distance)[..., None]
    return Image(pixels)


@hookimpl
def register(registry: Registration) -> None:
    """Register the node `vignette/Vignette`."""
    registry.node(vignette)
