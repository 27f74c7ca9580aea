"""Nodes that convert between masks and pictures, and that scale, crop and show masks."""

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from latentloom.engine import Context, Image, Mask, Widget, node
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


@node("ImageToMask", category="mask")
def image_to_mask(
    image: Image,
    channel: Annotated[
        Literal["luminance", "red", "green", "blue"], Field(description="What is read: brightness, or one colour.")
    ] = "luminance",
) -> Mask:
    """Read masks from pictures: white is repainted, black is kept; MaskFromAlpha reads what is transparent.

    A transparent picture is read over black. What MaskToImage made is read back as it was.
    """
    return Mask(channel_of(flattened(image.numpy(), 0), channel))


@node("MaskToImage", category="mask")
def mask_to_image(mask: Mask) -> Image:
    """Make grey pictures of masks, to save them or to change them as pictures: white is repainted, black is kept."""
    return Image(np.repeat(mask.numpy()[..., None], 3, axis=3))


@node("MaskFromColour", category="mask")
def mask_from_colour(
    image: Image,
    colour: Annotated[str, Widget("colour"), Field(max_length=40, description="#rrggbb.")] = "#000000",
    tolerance: Annotated[int, Field(ge=0, le=255, description="How far each of red, green and blue may be off.")] = 0,
) -> Mask:
    """Repaint where a picture has one colour, in 256 steps a channel. Transparency does not count."""
    wanted = np.round(colour_of(colour) * 255)
    pixels = np.round(image.numpy()[..., :3] * 255)
    return Mask((np.abs(pixels - wanted) <= tolerance).all(-1).astype(np.float32))


@node("MaskThreshold", category="mask")
def mask_threshold(
    mask: Mask,
    threshold: Annotated[float, Field(ge=0, le=1, description="Above it all is repainted, the rest is kept.")] = 0.5,
) -> Mask:
    """Make the edges of a mask hard: 1 above the threshold, 0 at it and below it. At 0 all counts that is not 0."""
    return Mask((mask.numpy() > threshold).astype(np.float32))


@node("MaskScale", category="mask")
def mask_scale(
    mask: Mask,
    width: Width = 0,
    height: Height = 0,
    factor: Factor = 1,
    method: Filter = "bilinear",
    fit: Fitting = "stretch",
    multiple_of: MultipleOf = 1,
) -> Mask:
    """Make a mask larger or smaller, just as ImageScale does it to a mask that goes with its picture.

    nearest keeps hard edges; every other filter is bilinear here, because the others ring.
    """
    levels = scaled(mask.numpy()[..., None], width, height, factor, mask_method(method), fit, multiple_of)
    return Mask(levels[..., 0])


@node("MaskCrop", category="mask")
def mask_crop(mask: Mask, x: Left = 0, y: Upper = 0, width: Side = 512, height: Side = 512) -> Mask:
    """Cut a rectangle out of masks; it must lie inside them. ImageCrop cuts a picture and its mask at once."""
    return Mask(cropped(mask.numpy(), x, y, width, height))


@node("PreviewMask", category="mask", purity="sink")
def preview_mask(ctx: Context, mask: Mask, image: Image | None = None) -> ShownMask:
    """Show masks while the workflow runs, without a file: white on black, or red over the picture that they are for."""
    ctx.progress(1, 1, preview=lambda: mask_to_image(mask) if image is None else Image(_tinted(image, mask)))
    return ShownMask(mask)


def _tinted(image: Image, mask: Mask) -> "Floats":
    pixels = flattened(image.numpy(), 1)
    share = resize_mask(mask.numpy(), Size(pixels.shape[2], pixels.shape[1]))[..., None] * np.float32(0.6)
    return np.clip(pixels[: len(share)] + (TINT - pixels[: len(share)]) * share, 0, 1)


NODES = (image_to_mask, mask_to_image, mask_from_colour, mask_threshold, mask_scale, mask_crop, preview_mask)
