"""Augmentation: changed copies of pictures, which a model should learn alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from latentloom.engine.files.pictures import to_bytes
from latentloom.nodes.drawing.resize import Region, Size, resize
from latentloom.nodes.learning.dataset import Dataset, Item

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]


def augmented(dataset: Dataset, copies: int, crop: float, colour: float, seed: int, *, flip: bool) -> Dataset:
    """Return a data set with `copies` changed copies of each picture behind it, all drawn from the seed.

    `flip`: each copy is mirrored with probability 1/2; the first one always is. `crop`: the largest share of each side
    that is cut off before the rest is resized. `colour`: the largest change of brightness, contrast and saturation.
    """
    made = []
    for n, item in enumerate(dataset.items):
        made.append(item)
        for copy in range(copies):
            rng = np.random.default_rng([seed, n, copy])
            pixels = item.pixels.astype(np.float32) / np.float32(255)
            turned = flip and (copy == 0 or rng.random() < 0.5)
            pixels = _recoloured(_cropped(pixels[:, ::-1] if turned else pixels, crop, rng), colour, rng)
            made.append(Item(to_bytes(np.clip(pixels, 0, 1)), item.caption, item.repeats))
    return Dataset(made)


def _cropped(pixels: Floats, most: float, rng: np.random.Generator) -> Floats:
    if not most:
        return pixels
    height, width = pixels.shape[:2]
    share = 1 - rng.uniform(0, most)
    left, top = rng.uniform(0, width * (1 - share)), rng.uniform(0, height * (1 - share))
    region = Region(left, top, left + width * share, top + height * share)
    return resize(np.ascontiguousarray(pixels)[None], Size(width, height), "lanczos", region)[0]


def _recoloured(pixels: Floats, most: float, rng: np.random.Generator) -> Floats:
    """Change brightness, then contrast around mid-grey, then saturation around the luminance (Rec. 709)."""
    brightness, contrast, saturation = (np.float32(1 + rng.uniform(-most, most)) for _ in range(3))
    pixels = (pixels * brightness - np.float32(0.5)) * contrast + np.float32(0.5)
    grey = pixels @ np.float32([0.2126, 0.7152, 0.0722])
    return grey[..., None] + (pixels - grey[..., None]) * saturation
