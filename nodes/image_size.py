"""Nodes for picture sizes: reading the size, and scaling to a size that is not given as width and height in pixels."""

from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from latentloom.engine import Advanced, Image, Mask, Widget, node
from latentloom.nodes.drawing.colours import colour_of
from latentloom.nodes.drawing.limits import check_size
from latentloom.nodes.drawing.size_inputs import Filter, GoesAlong, MultipleOf, Side
from latentloom.nodes.image import ImageAndMask, image_scale

MEGAPIXEL = 1024 * 1024


class PictureSize(NamedTuple):
    """Width and height in pixels, and how many pictures there are."""

    width: int
    height: int
    count: int


@node(
    "ImageSize",
    display_name="Image size",
    aliases=("GetImageSize", "GetImageSizeAndCount", "GetImageSize+", "width", "height", "resolution", "dimensions"),
    category="image",
)
def image_size(image: Image) -> PictureSize:
    """Return the width, the height and the number of images."""
    return PictureSize(image.shape[2], image.shape[1], len(image))


@node("MaskSize", display_name="Mask size", aliases=("width", "height"), category="image")
def mask_size(mask: Mask) -> PictureSize:
    """Return the width, the height and the number of masks."""
    return PictureSize(mask.shape[2], mask.shape[1], mask.shape[0])


@node(
    "ImageScaleToMegapixels",
    display_name="Resize image to megapixels",
    aliases=("ImageScaleToTotalPixels", "scale", "total pixels"),
    category="image",
)
def image_scale_to_megapixels(
    image: Image,
    megapixels: Annotated[
        float, Field(ge=0.01, le=256, description="Size of the result in units of 1024x1024 pixels. SD 1.x needs 0.25.")
    ] = 1.0,
    method: Filter = "lanczos",
    multiple_of: Annotated[MultipleOf, Advanced()] = 1,
    mask: GoesAlong = None,
) -> ImageAndMask:
    """Resize images to the number of megapixels that a model works best at, and a mask with them.

    The aspect ratio is kept.
    """
    height, width = image.shape[1:3]
    scale = (megapixels * MEGAPIXEL / (width * height)) ** 0.5
    return _to(image, width * scale, height * scale, method, multiple_of, mask)


@node(
    "ImageScaleToSide",
    display_name="Resize image to a side",
    aliases=(
        "ImageScaleToMaxDimension",
        "ResizeImageMaskNode",
        "ResizeImagesByLongerEdge",
        "scale",
        "longest edge",
        "shorter",
    ),
    category="image",
)
def image_scale_to_side(
    image: Image,
    side: Side = 1024,
    which: Annotated[Literal["longer", "shorter"], Field(description="The side that gets this length.")] = "longer",
    method: Filter = "lanczos",
    multiple_of: Annotated[MultipleOf, Advanced()] = 1,
    mask: GoesAlong = None,
) -> ImageAndMask:
    """Resize images so that the longer or the shorter side has a given length, and a mask with them.

    The aspect ratio is kept.
    """
    height, width = image.shape[1:3]
    scale = side / (max if which == "longer" else min)(width, height)
    return _to(image, width * scale, height * scale, method, multiple_of, mask)


def _to(image: Image, width: float, height: float, method: Filter, multiple_of: int, mask: Mask | None) -> ImageAndMask:
    sides = (max(1, round(side)) for side in (width, height))
    return image_scale(image, *sides, method=method, multiple_of=multiple_of, mask=mask)


@node(
    "ColourImage",
    display_name="Colour image",
    aliases=("EmptyImage", "solid colour", "blank", "color"),
    category="image",
)
def colour_image(
    width: Side = 512,
    height: Side = 512,
    colour: Annotated[str, Widget("colour"), Field(max_length=40, description="Colour as #rrggbb.")] = "#000000",
    count: Annotated[int, Field(ge=1, le=1024, description="Number of images.")] = 1,
) -> Image:
    """Create images of one solid colour."""
    check_size(width, height, batch=count)
    return Image(np.broadcast_to(colour_of(colour), (count, height, width, 3)).copy())


NODES = (image_size, mask_size, image_scale_to_megapixels, image_scale_to_side, colour_image)
