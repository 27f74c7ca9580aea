"""Nodes that draw masks."""

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from latentloom.engine import Mask, node
from latentloom.nodes.drawing.limits import check_size

if TYPE_CHECKING:
    pass

Side = Annotated[int, Field(ge=1, le=16384, description="Size in pixels.")]
Place = Annotated[
    int, Field(ge=0, le=16384, description="Distance from the upper left corner of the image, in pixels.")
]


@node("MaskRectangle", display_name="Rectangle mask", aliases=("box",), category="mask")
def mask_rectangle(
    width: Side = 512,
    height: Side = 512,
    x: Place = 0,
    y: Place = 0,
    box_width: Side = 256,
    box_height: Side = 256,
) -> Mask:
    """Draw a rectangular mask: 1 inside the rectangle, 0 around it."""
    check_size(width, height)
    found = np.zeros((1, height, width), np.float32)
    found[:, y : y + box_height, x : x + box_width] = 1
    return Mask(found)


@node("SolidMask", display_name="Solid mask", aliases=("empty mask", "full mask"), category="mask")
def solid_mask(
    width: Side = 512,
    height: Side = 512,
    value: Annotated[float, Field(ge=0, le=1, description="1 is repainted, 0 is kept.")] = 1.0,
) -> Mask:
    """Create a mask of width x height pixels with one value everywhere."""
    check_size(width, height)
    return Mask(np.full((1, height, width), value, np.float32))


NODES = (mask_rectangle, solid_mask)
