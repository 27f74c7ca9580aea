"""Fills the unknown part of a picture with colours."""

from typing import TYPE_CHECKING

import numpy as np

from latentloom.nodes.drawing.resize import Size, resize

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

GREY = np.float32(0.5)
MAX_SEED = 2**64


def spread_inwards(pixels: "Floats", known: "Floats") -> "Floats":
    """Fill the unknown part (0 in `known` [H, W]) of a picture from its surroundings; returns colour [H, W, 3].

    The result is grey if nothing is known. Pull-push (Gortler et al. 1996, "The Lumigraph", section 3.4): means of the
    known pixels are computed on coarser and coarser grids, then each finer grid takes missing values from the coarser.
    """
    levels = [(pixels[..., :3] * known[..., None], known)]
    while max(levels[-1][1].shape) > 1:
        levels.append(_halved(*levels[-1]))
    weighted, weight = levels[-1]
    colour = weighted + GREY * (1 - weight)[..., None]
    for weighted, weight in reversed(levels[:-1]):
        height, width = weight.shape
        coarse = resize(colour[None], Size(width, height), "bilinear")[0]
        colour = weighted + coarse * (1 - weight)[..., None]
    return np.clip(colour, 0, 1)


def _halved(weighted: "Floats", weight: "Floats") -> "tuple[Floats, Floats]":
    """The means of the known pixels in each 2 x 2 block, times their weight; one fully known pixel gives weight 1."""
    edges = [(0, side % 2) for side in weight.shape]
    total = _sums(np.pad(weight, edges))
    mean = _sums(np.pad(weighted, [*edges, (0, 0)])) / np.maximum(total, 1e-6)[..., None]
    full = np.minimum(total, 1)
    return mean * full[..., None], full


def _sums(values: "Floats") -> "Floats":
    height, width = values.shape[:2]
    found: Floats = values.reshape(height // 2, 2, width // 2, 2, *values.shape[2:]).sum((1, 3))
    return found


def noise_like(pixels: "Floats", known: "Floats", seed: int) -> "Floats":
    """Return noise [H, W, 3] with the mean and the standard deviation of each channel of the known pixels."""
    colours, weights = pixels[..., :3].reshape(-1, 3), known.ravel()
    mean, deviation = np.full(3, GREY), np.full(3, np.float32(0.25))
    if weights.sum() > 0:
        mean = np.average(colours, axis=0, weights=weights)
        deviation = np.sqrt(np.average((colours - mean) ** 2, axis=0, weights=weights))
    draw = np.random.Generator(np.random.Philox(seed % MAX_SEED)).standard_normal(pixels[..., :3].shape, np.float32)
    found: Floats = np.clip(mean + deviation * draw, 0, 1).astype(np.float32)
    return found


def hidden_filled(pixels: "Floats") -> "Floats":
    """Return the colour [B, H, W, 3] of pictures; fully transparent pixels get the colours around them."""
    if pixels.shape[3] == 3:
        return pixels
    return np.stack([spread_inwards(item, (item[..., 3] > 0).astype(np.float32)) for item in pixels])
