"""Resizing of float pictures, channel by channel, without rounding to 8 bits."""

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from latentloom.engine.errors import BadValueError
from latentloom.nodes.drawing.limits import check_size

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

Method = Literal["lanczos", "bicubic", "bilinear", "area", "nearest"]
Fit = Literal["stretch", "fit", "fill", "pad"]

_FILTERS = {"nearest": "NEAREST", "area": "BOX", "bilinear": "BILINEAR", "bicubic": "BICUBIC", "lanczos": "LANCZOS"}


class Region(NamedTuple):
    """A part of a picture in pixels; the coordinates may be fractional."""

    left: float
    top: float
    right: float
    bottom: float


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int


def resize(pixels: "Floats", size: Size, method: Method, region: Region | None = None) -> "Floats":
    """Resize [B, H, W, C] pixels, or a region of them. All filters except nearest average when they shrink.

    Colour is weighted with its alpha, so the colour of a transparent pixel does not bleed into its neighbours.
    """
    check_size(*size, batch=pixels.shape[0])
    if region is None and size == (pixels.shape[2], pixels.shape[1]):
        return pixels
    if pixels.shape[3] != 4 or method == "nearest":
        return _filtered(pixels, size, method, region)
    found = _filtered(premultiplied(pixels), size, method, region)
    return unpremultiplied(found[..., :3], found[..., 3:])


def resize_mask(mask: "Floats", size: Size, method: Method = "bilinear") -> "Floats":
    """Resize a mask [B, H, W]. "nearest" keeps hard edges; every other filter is replaced by "bilinear".

    "bilinear" does not ring: a pixel surrounded by 0 stays 0.
    """
    return resize(mask[..., None], size, mask_method(method))[..., 0]


def check_mask_batch(pixels: "Floats", mask: "Floats") -> None:
    """Raise BadValueError if a mask has neither one item nor as many as the pictures."""
    if mask.shape[0] not in (1, pixels.shape[0]):
        raise BadValueError(
            "the mask has a different batch size than the picture",
            expected=f"1 or {pixels.shape[0]}",
            got=str(mask.shape[0]),
        )


def mask_method(method: Method) -> Method:
    """Return the filter for the mask of a picture; see `resize_mask`."""
    return "nearest" if method == "nearest" else "bilinear"


def premultiplied(pixels: "Floats") -> "Floats":
    """Multiply the colour of [..., 4] pixels by their alpha."""
    return np.concatenate([pixels[..., :3] * pixels[..., 3:], pixels[..., 3:]], axis=-1)


def unpremultiplied(colour: "Floats", alpha: "Floats") -> "Floats":
    """Return [..., 4] pixels from premultiplied colour and alpha; black where alpha is 0."""
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
    """Round the sides to the nearest multiples of a number, at least one multiple each."""
    return Size(*(max(1, round(side / multiple)) * multiple for side in (width, height)))


def fitted(pixels: "Floats", box: Size, method: Method, fit: Fit, multiple: int) -> "Floats":
    """Resize [B, H, W, C] pixels to fit a box.

    "stretch" ignores the aspect ratio; the others keep it. "fit" stays inside the box, "fill" crops to the box, and
    "pad" adds borders (transparent ones for pictures with alpha).
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


def scaled(
    pixels: "Floats", width: int, height: int, factor: float, method: Method, fit: Fit, multiple: int
) -> "Floats":
    """Resize [B, H, W, C] pixels to a width and height. A side of 0 follows from the other side, or from the factor.

    Raises BadValueError if both a size and a factor are given.
    """
    if (width or height) and factor != 1:
        raise BadValueError("a size and a factor cannot be combined", got=f"{width}x{height} and factor {factor:g}")
    if width and height:
        return fitted(pixels, rounded(width, height, multiple), method, fit, multiple)
    old_height, old_width = pixels.shape[1:3]
    scale = width / old_width if width else height / old_height if height else factor
    return resize(pixels, rounded(old_width * scale, old_height * scale, multiple), method)


def cropped(pixels: "Floats", x: int, y: int, width: int, height: int) -> "Floats":
    """Return a rectangle of [B, H, W, ...] pixels. Raises BadValueError if it is not inside the picture."""
    if x + width > pixels.shape[2] or y + height > pixels.shape[1]:
        raise BadValueError(
            "the rectangle lies outside the picture",
            expected=f"inside {pixels.shape[2]}x{pixels.shape[1]}",
            got=f"{width}x{height} at {x},{y}",
        )
    return pixels[:, y : y + height, x : x + width]


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
