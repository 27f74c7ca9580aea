"""Resizing of float pictures, channel by channel, so that nothing is rounded to 8 bits on the way."""

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from latentloom.nodes.drawing.limits import check_size

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

Method = Literal["lanczos", "bicubic", "bilinear", "area", "nearest"]
Fit = Literal["stretch", "fit", "fill", "pad"]

_FILTERS = {"nearest": "NEAREST", "area": "BOX", "bilinear": "BILINEAR", "bicubic": "BICUBIC", "lanczos": "LANCZOS"}


class Region(NamedTuple):
    """A part of a picture in pixels, which may begin and end between two of them."""

    left: float
    top: float
    right: float
    bottom: float


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int


def resize(pixels: "Floats", size: Size, method: Method, region: Region | None = None) -> "Floats":
    """[B, H, W, C] pixels, or a region of them, at another size. Every filter but nearest averages when it shrinks.

    Colour is weighted with its alpha, so that what a transparent pixel hides does not bleed into its neighbours.
    """
    check_size(*size, batch=pixels.shape[0])
    if region is None and size == (pixels.shape[2], pixels.shape[1]):
        return pixels
    if pixels.shape[3] == 3 or method == "nearest":
        return _filtered(pixels, size, method, region)
    alpha = pixels[..., 3:]
    found = _filtered(np.concatenate([pixels[..., :3] * alpha, alpha], axis=3), size, method, region)
    return unpremultiplied(found[..., :3], found[..., 3:])


def unpremultiplied(colour: "Floats", alpha: "Floats") -> "Floats":
    """[..., 4] pixels from colour that was multiplied with its alpha; black where alpha is 0."""
    bare = np.divide(colour, alpha, out=np.zeros_like(colour), where=alpha > 0)
    return np.concatenate([np.clip(bare, 0, 1), alpha], axis=-1)


def _filtered(pixels: "Floats", size: Size, method: Method, region: Region | None) -> "Floats":
    from PIL import Image as Pil

    out = np.empty((pixels.shape[0], size.height, size.width, pixels.shape[3]), np.float32)
    for item, made in zip(pixels, out, strict=True):
        for channel in range(item.shape[2]):
            plane = Pil.fromarray(np.ascontiguousarray(item[..., channel]))
            made[..., channel] = np.asarray(plane.resize(size, Pil.Resampling[_FILTERS[method]], box=region))
    return np.clip(out, 0, 1, out=out)


def rounded(width: float, height: float, multiple: int) -> Size:
    """The nearest size whose sides are multiples of a number, at least one of them a side."""
    return Size(*(max(1, round(side / multiple)) * multiple for side in (width, height)))


def fitted(pixels: "Floats", box: Size, method: Method, fit: Fit, multiple: int) -> "Floats":
    """[B, H, W, C] pixels made to fit a box: "stretch" ignores the shape, "fit" keeps it and stays inside the box,
    "fill" keeps it and cuts off what sticks out, "pad" keeps it and adds borders (transparent ones with alpha).
    """
    height, width = pixels.shape[1:3]
    if fit == "stretch":
        return resize(pixels, box, method)
    if fit == "fill":
        scale = max(box.width / width, box.height / height)
        return resize(pixels, box, method, _centred(width, height, box.width / scale, box.height / scale))
    scale = min(box.width / width, box.height / height)
    if fit == "fit":
        return resize(pixels, rounded(width * scale, height * scale, multiple), method)
    return _padded(resize(pixels, rounded(width * scale, height * scale, 1), method), box)


def _centred(width: int, height: int, wide: float, high: float) -> Region:
    left, top = max(0.0, (width - wide) / 2), max(0.0, (height - high) / 2)
    return Region(left, top, min(width, left + wide), min(height, top + high))


def _padded(pixels: "Floats", box: Size) -> "Floats":
    check_size(*box, batch=pixels.shape[0])
    batch, height, width, channels = pixels.shape
    out = np.zeros((batch, box.height, box.width, channels), np.float32)
    left, top = (box.width - width) // 2, (box.height - height) // 2
    out[:, top : top + height, left : left + width] = pixels
    return out
