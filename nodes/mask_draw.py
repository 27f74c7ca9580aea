"""Nodes that draw masks, and change where they are: grow, feather, combine."""

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from latentloom.engine import Mask, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.drawing.limits import check_size

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

Side = Annotated[int, Field(ge=1, le=16384, description="Pixels.")]
Place = Annotated[int, Field(ge=0, le=16384, description="Pixels from the upper left corner.")]
MAX_REACH = 1024


@node("MaskRectangle", category="mask")
def mask_rectangle(
    width: Side = 512,
    height: Side = 512,
    x: Place = 0,
    y: Place = 0,
    box_width: Side = 256,
    box_height: Side = 256,
) -> Mask:
    """Draw a mask of width x height pixels: 1 in a rectangle, 0 around it."""
    check_size(width, height)
    found = np.zeros((1, height, width), np.float32)
    found[:, y : y + box_height, x : x + box_width] = 1
    return Mask(found)


@node("MaskGrow", category="mask")
def mask_grow(
    mask: Mask,
    pixels: Annotated[
        int, Field(ge=-MAX_REACH, le=MAX_REACH, description="How far the edges move; below 0 the mask shrinks.")
    ] = 8,
) -> Mask:
    """Grow (or shrink) what is repainted by some pixels in every direction. Beyond the picture nothing is masked."""
    if pixels == 0:
        return mask
    return Mask(_reached(mask.numpy(), pixels) if pixels > 0 else 1 - _reached(1 - mask.numpy(), -pixels))


def _reached(mask: "Floats", pixels: int) -> "Floats":
    """The largest value within a disc around each pixel: sharp masks by distance, soft ones level by level."""
    from scipy import ndimage

    found = np.zeros_like(mask)
    for item, out in zip(mask, found, strict=True):
        for level in _levels(item):
            near = ndimage.distance_transform_edt(item < level) <= pixels
            out[near] = np.maximum(out[near], level)
    return found


def _levels(item: "Floats") -> "Floats":
    """The values above 0 of one mask, at most 32 of them."""
    values = np.unique(item[item > 0])
    return values if len(values) <= 32 else np.quantile(values, np.linspace(0, 1, 32), method="nearest")


@node("MaskFeather", category="mask")
def mask_feather(
    mask: Mask,
    pixels: Annotated[int, Field(ge=0, le=MAX_REACH, description="How wide the soft edge is.")] = 16,
    where: Annotated[
        Literal["around", "inside", "outside"], Field(description="On which side of the old edge the soft one lies.")
    ] = "around",
) -> Mask:
    """Make the edges of a mask soft: a ramp of some pixels.

    "inside" repaints nothing that was kept, "outside" keeps nothing that was repainted.
    """
    if pixels == 0:
        return mask
    reach = {"around": 0.0, "inside": -pixels / 2, "outside": pixels / 2}[where]
    return Mask(np.stack([_ramp(item > 0.5, pixels, reach) for item in mask.numpy()]))


def _ramp(inside: "Floats", pixels: int, shift: float) -> "Floats":
    """A linear ramp over the distance to the edge, which runs between the pixels."""
    from scipy import ndimage

    if inside.all() or not inside.any():
        return inside.astype(np.float32)
    distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    signed = distance - np.sign(distance) * 0.5
    found: Floats = np.clip((signed + shift) / pixels + 0.5, 0, 1).astype(np.float32)
    return found


@node("MaskCombine", category="mask")
def mask_combine(
    a: Mask,
    b: Mask,
    how: Annotated[
        Literal["union", "intersection", "difference", "exclusive"],
        Field(description="Repaint where either is, where both are, where a is without b, where only one is."),
    ] = "union",
) -> Mask:
    """Put two masks of the same size together. A mask of one item goes with each item of the other."""
    one, other = a.numpy(), b.numpy()
    if one.shape[1:] != other.shape[1:] or (one.shape[0] != other.shape[0] and 1 not in (one.shape[0], other.shape[0])):
        raise BadValueError("the masks have different sizes", expected=str(list(one.shape)), got=str(list(other.shape)))
    if how == "union":
        return Mask(np.maximum(one, other))
    if how == "intersection":
        return Mask(np.minimum(one, other))
    if how == "difference":
        return Mask(np.minimum(one, 1 - other))
    return Mask(np.abs(one - other))


NODES = (mask_rectangle, mask_grow, mask_feather, mask_combine)
