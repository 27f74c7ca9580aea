"""Nodes that make and change masks."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from latentloom.engine import Advanced, Image, InputFile, Mask, Source, Widget, node
from latentloom.engine.errors import BadValueError, FileError
from latentloom.engine.files.pictures import as_rgb, read_picture
from latentloom.nodes.drawing.limits import MAX_SIDE

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

Channel = Literal["alpha", "red", "green", "blue", "luminance"]
MAX_REACH = 1024
Combined = Literal["union", "intersection", "difference", "exclusive", "product", "sum", "rest"]
COMBINED: Mapping[Combined, Callable[["Floats", "Floats"], "Floats"]] = {
    "union": np.maximum,
    "intersection": np.minimum,
    "difference": lambda one, other: np.minimum(one, 1 - other),
    "exclusive": lambda one, other: np.abs(one - other),
    "product": lambda one, other: one * other,
    "sum": lambda one, other: np.minimum(one + other, 1),
    "rest": lambda one, other: np.maximum(one - other, 0),
}
Border = Annotated[int, Field(ge=0, le=16384, description="Width of the fade at that side, in pixels.")]
Shape = Literal["disc", "square", "diamond"]
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)  # ITU-R BT.709


@node("LoadMask", display_name="Load mask", aliases=("LoadImageMask", "open"), category="mask")
def load_mask(
    image: Annotated[InputFile, Source("input"), Widget("mask"), Field(description="An image in the input folder.")],
    channel: Annotated[
        Channel, Field(description="Channel to read: the transparency, one colour, or the luminance.")
    ] = "luminance",
    invert: Annotated[
        bool, Field(description="Invert the mask: repaint what would be kept, and keep what would be repainted.")
    ] = False,
) -> Mask:
    """Load a mask from an image: white (with alpha: transparent) is repainted, black (opaque) is kept."""
    pixels = as_rgb(read_picture(Path(image.path)))
    if channel == "alpha" and pixels.shape[2] == 3:
        raise FileError(
            f"'{image.name}' has no alpha channel", hint="choose the channel luminance for a black and white mask"
        )
    mask = channel_of(pixels, channel)
    return Mask((1 - mask if invert else mask)[None])


def channel_of(pixels: "Floats", channel: Channel) -> "Floats":
    """Return a channel of pixels [..., C] as a mask [...]; alpha needs C = 4."""
    if channel == "alpha":
        return 1 - pixels[..., 3]
    if channel == "luminance":
        grey: Floats = np.clip(np.dot(pixels[..., :3], LUMINANCE), 0, 1)
        return grey
    return pixels[..., ("red", "green", "blue").index(channel)]


@node("MaskFromAlpha", display_name="Mask from transparency", aliases=("alpha",), category="mask")
def mask_from_alpha(image: Image) -> Mask:
    """Create a mask from the alpha channel of images: 1 (repaint) where they are transparent, 0 where opaque."""
    if image.shape[3] == 3:
        raise BadValueError("the picture has no alpha channel", expected="4 channels (RGBA)", got="3 (RGB)")
    return Mask(1 - image.numpy()[..., 3])


@node("InvertMask", display_name="Invert mask", aliases=("negate",), category="mask")
def invert_mask(mask: Mask) -> Mask:
    """Invert a mask: the repainted and the kept areas are swapped."""
    return Mask(1 - mask.numpy())


@node(
    "MaskGrow", display_name="Grow mask", aliases=("GrowMask", "expand", "dilate", "shrink", "erode"), category="mask"
)
def mask_grow(
    mask: Mask,
    pixels: Annotated[
        int, Field(ge=-MAX_REACH, le=MAX_REACH, description="Distance in pixels; negative values shrink the mask.")
    ] = 8,
    shape: Annotated[
        Shape, Field(description="How corners grow: round (disc), square, or cut off (diamond)."), Advanced()
    ] = "disc",
) -> Mask:
    """Grow or shrink the masked area by a number of pixels in every direction.

    The border of the image is not an edge: a mask that touches it does not shrink there.
    """
    if pixels == 0:
        return mask
    grown = _reached(mask.numpy(), pixels, shape) if pixels > 0 else 1 - _reached(1 - mask.numpy(), -pixels, shape)
    return Mask(grown)


def _reached(mask: "Floats", pixels: int, shape: Shape) -> "Floats":
    """Return the largest value within a shape around each pixel, by the distance to the pixels of each level."""
    from scipy import ndimage

    if shape == "square":
        return ndimage.maximum_filter(mask, (1, 2 * pixels + 1, 2 * pixels + 1), mode="constant")  # type: ignore[no-any-return]
    distance = ndimage.distance_transform_edt
    if shape == "diamond":
        distance = partial(ndimage.distance_transform_cdt, metric="taxicab")
    found = np.zeros_like(mask)
    for item, out in zip(mask, found, strict=True):
        for level in _levels(item):
            near = distance(item < level) <= pixels
            out[near] = np.maximum(out[near], level)
    return found


def _levels(item: "Floats") -> "Floats":
    """The values above 0 of one mask, at most 32 of them."""
    values = np.unique(item[item > 0])
    return values if len(values) <= 32 else np.quantile(values, np.linspace(0, 1, 32), method="nearest")


@node(
    "MaskFeather",
    display_name="Feather mask",
    aliases=("MaskBlur+", "GrowMaskWithBlur", "blur", "soften"),
    category="mask",
)
def mask_feather(
    mask: Mask,
    pixels: Annotated[int, Field(ge=0, le=MAX_REACH, description="Width of the ramp in pixels.")] = 16,
    where: Annotated[
        Literal["around", "inside", "outside"], Field(description="Position of the ramp relative to the old edge.")
    ] = "around",
) -> Mask:
    """Soften the edges of a mask with a linear ramp.

    "inside" leaves everything outside the mask at 0, "outside" leaves everything inside the mask at 1.
    """
    if pixels == 0:
        return mask
    reach = {"around": 0.0, "inside": -pixels / 2, "outside": pixels / 2}[where]
    return Mask(np.stack([_ramp(item > 0.5, pixels, reach) for item in mask.numpy()]))


def _ramp(inside: "Floats", pixels: int, shift: float) -> "Floats":
    """A linear ramp over the distance to the mask's edge, which is between pixels."""
    from scipy import ndimage

    if inside.all() or not inside.any():
        return inside.astype(np.float32)
    distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    signed = distance - np.sign(distance) * 0.5
    found: Floats = np.clip((signed + shift) / pixels + 0.5, 0, 1).astype(np.float32)
    return found


@node("MaskFadeBorders", display_name="Fade mask borders", aliases=("FeatherMask", "feather edges"), category="mask")
def mask_fade_borders(mask: Mask, left: Border = 0, top: Border = 0, right: Border = 0, bottom: Border = 0) -> Mask:
    """Fade a mask out towards the borders of the image. MaskFeather softens the edges of the mask itself."""
    height, width = mask.shape[1:]
    across = _fading(width, left) * _fading(width, right)[::-1]
    down = _fading(height, top) * _fading(height, bottom)[::-1]
    return Mask(mask.numpy() * across * down[:, None])


def _fading(length: int, pixels: int) -> "Floats":
    """Return ones, with a ramp over the first pixels that starts at 1 / pixels."""
    ramp: Floats = np.minimum(1, np.arange(1, length + 1, dtype=np.float32) / max(1, pixels))
    return ramp


@node(
    "MaskCombine",
    display_name="Combine masks",
    aliases=("MaskComposite", "union", "intersect", "subtract", "add"),
    category="mask",
)
def mask_combine(
    a: Mask,
    b: Mask,
    how: Annotated[
        Combined,
        Field(
            description="Masked area: of either mask (maximum), of both (minimum), of a without b, of exactly one. "
            "product, sum and rest (a - b) are computed from the values."
        ),
    ] = "union",
    x: Annotated[
        int | None, Field(ge=-MAX_SIDE, le=MAX_SIDE, description="Position of b in a, in pixels from the left.")
    ] = None,
    y: Annotated[
        int | None, Field(ge=-MAX_SIDE, le=MAX_SIDE, description="Position of b in a, in pixels from the top.")
    ] = None,
) -> Mask:
    """Combine two masks. A single mask is combined with every mask of the other batch.

    Without x and y the masks must have the same size. With x or y, b may have any size and is placed in a at that
    position; parts outside a are cropped, and a is unchanged around b.
    """
    one, other = a.numpy(), b.numpy()
    placed = x is not None or y is not None
    if not _go_together(one, other, placed=placed):
        raise BadValueError("the masks have different sizes", expected=str(list(one.shape)), got=str(list(other.shape)))
    if not placed:
        return Mask(COMBINED[how](one, other))
    found = np.repeat(one, max(1, len(other) // len(one)), axis=0)
    (rows, from_rows), (columns, from_columns) = (
        _overlap(start or 0, other.shape[axis], one.shape[axis]) for start, axis in ((y, 1), (x, 2))
    )
    inside = np.s_[:, rows, columns]
    found[inside] = COMBINED[how](found[inside], other[:, from_rows, from_columns])
    return Mask(found)


def _go_together(one: "Floats", other: "Floats", *, placed: bool) -> bool:
    same = placed or one.shape[1:] == other.shape[1:]
    return same and (one.shape[0] == other.shape[0] or 1 in (one.shape[0], other.shape[0]))


def _overlap(start: int, length: int, whole: int) -> tuple[slice, slice]:
    """Return the part of an axis that a piece covers, and the part of the piece that covers it."""
    first, last = max(0, start), min(whole, start + length)
    return slice(first, max(first, last)), slice(first - start, max(first, last) - start)


NODES = (load_mask, mask_from_alpha, invert_mask, mask_grow, mask_feather, mask_fade_borders, mask_combine)
