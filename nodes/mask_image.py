"""Nodes that convert between masks and pictures, and that scale, crop and show masks."""

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from latentloom.engine import Advanced, Context, Image, Mask, Widget, node
from latentloom.nodes.drawing.blend import flattened
from latentloom.nodes.drawing.colours import colour_of
from latentloom.nodes.drawing.resize import Size, cropped, mask_method, resize_mask, scaled
from latentloom.nodes.drawing.size_inputs import (
    Factor,
    Filter,
    Fitting,
    Height,
    Left,
    MultipleOf,
    Side,
    Upper,
    Width,
)
from latentloom.nodes.mask import channel_of

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

TINT = np.array([1, 0.15, 0.1], np.float32)


class ShownMask(NamedTuple):
    """The mask that a sink was given."""

    mask: Mask


@node("ImageToMask", display_name="Image to mask", aliases=("channel", "luminance"), category="mask")
def image_to_mask(
    image: Image,
    channel: Annotated[
        Literal["luminance", "red", "green", "blue"],
        Field(description="Channel to read: the luminance, or one colour."),
    ] = "luminance",
) -> Mask:
    """Convert images to masks: white is repainted, black is kept. MaskFromAlpha reads the transparency instead.

    Transparent images are read over black. The output of MaskToImage is read back unchanged.
    """
    return Mask(channel_of(flattened(image.numpy(), 0), channel))


@node("MaskToImage", display_name="Mask to image", aliases=("convert",), category="mask")
def mask_to_image(mask: Mask) -> Image:
    """Convert masks to greyscale images, to save or edit them: white is repainted, black is kept."""
    return Image(np.repeat(mask.numpy()[..., None], 3, axis=3))


@node(
    "MaskFromColour",
    display_name="Mask from a colour",
    aliases=("ImageColorToMask", "color", "chroma key"),
    category="mask",
)
def mask_from_colour(
    image: Image,
    colour: Annotated[str, Widget("colour"), Field(max_length=40, description="Colour as #rrggbb.")] = "#000000",
    tolerance: Annotated[
        int,
        Field(ge=0, le=255, description="Allowed difference in each of red, green and blue, in levels of 0 to 255."),
    ] = 0,
) -> Mask:
    """Create a mask of all pixels that have one colour, compared in 8 bits per channel. Alpha is ignored."""
    wanted = np.round(colour_of(colour) * 255)
    pixels = np.round(image.numpy()[..., :3] * 255)
    return Mask((np.abs(pixels - wanted) <= tolerance).all(-1).astype(np.float32))


@node("MaskThreshold", display_name="Threshold mask", aliases=("ThresholdMask", "binary", "cut off"), category="mask")
def mask_threshold(
    mask: Mask,
    threshold: Annotated[float, Field(ge=0, le=1, description="Values above it become 1, all others 0.")] = 0.5,
) -> Mask:
    """Make a mask binary: 1 above the threshold, 0 at or below it. A threshold of 0 keeps every value above 0."""
    return Mask((mask.numpy() > threshold).astype(np.float32))


@node("MaskScale", display_name="Resize mask", aliases=("scale",), category="mask")
def mask_scale(
    mask: Mask,
    width: Width = 0,
    height: Height = 0,
    factor: Factor = 1,
    method: Annotated[Filter, Advanced()] = "bilinear",
    fit: Annotated[Fitting, Advanced()] = "stretch",
    multiple_of: Annotated[MultipleOf, Advanced()] = 1,
) -> Mask:
    """Resize a mask in the same way as ImageScale resizes the mask of an image.

    nearest keeps hard edges. All other filters are bilinear for masks, because sharper filters cause ringing.
    """
    levels = scaled(mask.numpy()[..., None], width, height, factor, mask_method(method), fit, multiple_of)
    return Mask(levels[..., 0])


@node("MaskCrop", display_name="Crop mask", aliases=("CropMask", "cut"), category="mask")
def mask_crop(mask: Mask, x: Left = 0, y: Upper = 0, width: Side = 512, height: Side = 512) -> Mask:
    """Crop masks. The rectangle must lie inside the mask. ImageCrop crops an image and its mask together."""
    return Mask(cropped(mask.numpy(), x, y, width, height))


@node(
    "PreviewMask", display_name="Preview mask", aliases=("MaskPreview", "show", "view"), category="mask", purity="sink"
)
def preview_mask(ctx: Context, mask: Mask, image: Image | None = None) -> ShownMask:
    """Show masks while the workflow runs: white on black, or red over an image. No file is saved."""
    ctx.progress(1, 1, preview=lambda: mask_to_image(mask) if image is None else Image(_tinted(image, mask)))
    return ShownMask(mask)


def _tinted(image: Image, mask: Mask) -> "Floats":
    pixels = flattened(image.numpy(), 1)
    share = resize_mask(mask.numpy(), Size(pixels.shape[2], pixels.shape[1]))[..., None] * np.float32(0.6)
    return np.clip(pixels[: len(share)] + (TINT - pixels[: len(share)]) * share, 0, 1)


NODES = (image_to_mask, mask_to_image, mask_from_colour, mask_threshold, mask_scale, mask_crop, preview_mask)
