"""Blend modes as the W3C's "Compositing and Blending Level 1" defines them."""

from typing import TYPE_CHECKING, Literal

import numpy as np

from latentloom.nodes.drawing.resize import unpremultiplied

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

Mode = Literal["normal", "multiply", "screen", "overlay", "difference"]


def blend(a: "Floats", b: "Floats", amount: float, mode: Mode) -> "Floats":
    """b over a, mixed into a by amount. [B, H, W, C]; a picture without alpha counts as opaque."""
    t = np.float32(amount)
    if a.shape[3] == b.shape[3] == 3:
        return np.clip(a + (_mixed(a, b, mode) - a) * t, 0, 1)
    colour_a, alpha_a = _parts(a)
    colour_b, alpha_b = _parts(b)
    colour_b = (1 - alpha_a) * colour_b + alpha_a * _mixed(colour_a, colour_b, mode)
    alpha = alpha_a * (1 - t) + alpha_b * t
    return unpremultiplied(colour_a * alpha_a * (1 - t) + colour_b * alpha_b * t, alpha)


def _parts(pixels: "Floats") -> "tuple[Floats, Floats]":
    alpha = pixels[..., 3:] if pixels.shape[3] == 4 else np.ones((*pixels.shape[:3], 1), np.float32)
    return pixels[..., :3], alpha


def _mixed(a: "Floats", b: "Floats", mode: Mode) -> "Floats":
    if mode == "multiply":
        return a * b
    if mode == "screen":
        return a + b - a * b
    if mode == "overlay":
        return np.where(a <= 0.5, 2 * a * b, 1 - 2 * (1 - a) * (1 - b))
    return np.abs(a - b) if mode == "difference" else b
