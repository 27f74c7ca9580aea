"""Blending of pictures as defined in the W3C's "Compositing and Blending Level 1" (2024)."""

from typing import TYPE_CHECKING, Literal

import numpy as np

from latentloom.nodes.drawing.resize import unpremultiplied

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

Mode = Literal["normal", "multiply", "screen", "overlay", "difference"]


def blend(a: "Floats", b: "Floats", amount: "float | Floats", mode: Mode = "normal") -> "Floats":
    """Blend the source b with the backdrop a, [B, H, W, C] (section 10), then composite source-over (9.1.4).

    `amount`, a number or [B, H, W, 1] in 0..1, is b's opacity: it scales b's alpha. A picture without alpha is opaque.
    The result has a's channels. It equals a bit for bit where b has no opacity.
    """
    opacity = np.asarray(amount, np.float32)
    colour_a, alpha_a = parts(a)
    colour_b, alpha_b = parts(b)
    if a.shape[3] == b.shape[3] == 3:
        mixed = np.clip(a + (_mixed(a, b, mode) - a) * opacity, 0, 1)
        return np.where(opacity > 0, mixed, a)
    source = (1 - alpha_a) * colour_b + alpha_a * _mixed(colour_a, colour_b, mode)
    shown = alpha_b * opacity
    alpha = shown + alpha_a * (1 - shown)
    found = unpremultiplied(source * shown + colour_a * alpha_a * (1 - shown), np.clip(alpha, 0, 1))
    return np.where(shown > 0, found[..., : a.shape[3]], a)


def flattened(pixels: "Floats", background: float) -> "Floats":
    """Composite a picture over a grey background of value `background`; returns [B, H, W, 3]."""
    if pixels.shape[3] == 3:
        return pixels
    return np.clip(background + (pixels[..., :3] - background) * pixels[..., 3:], 0, 1, dtype=np.float32)


def parts(pixels: "Floats") -> "tuple[Floats, Floats]":
    """Return colour [B, H, W, 3] and alpha [B, H, W, 1]."""
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
