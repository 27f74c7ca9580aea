"""Nodes that read, save, show and change pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from latentloom.engine import Context, Image, InputFile, Mask, Source, node
from latentloom.engine.errors import BadValueError
from latentloom.engine.files.encoding import Form, PictureToSave
from latentloom.engine.files.pictures import read_pixels
from latentloom.nodes.drawing.blend import Mode, blend
from latentloom.nodes.drawing.resize import Size, cropped, mask_method, resize_mask, scaled
from latentloom.nodes.drawing.size_inputs import (
    Factor,
    Filter,
    Fitting,
    GoesAlong,
    Height,
    Left,
    MultipleOf,
    Side,
    Upper,
    Width,
)

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

Picture = Annotated[InputFile, Source("input")]


class LoadedImage(NamedTuple):
    """A picture and the mask of its transparent part."""

    image: Image
    mask: Mask


class ImageAndMask(NamedTuple):
    """Pictures and their mask, which is 0 everywhere if none was given."""

    image: Image
    mask: Mask


class ShownImages(NamedTuple):
    """The pictures that a sink was given."""

    images: Image


@node("LoadImage", category="image")
def load_image(
    ctx: Context,
    image: Annotated[Picture, Field(description="A picture below the input folder; of an animation, the first frame.")],
    alpha: Annotated[
        Literal["keep", "drop"],
        Field(description="Whether the picture stays transparent; without, the colours below show. The mask has it."),
    ] = "keep",
) -> LoadedImage:
    """Read a picture, turned as its EXIF says, with its alpha channel if it has one.

    Colours of 8 or 16 bits come in as sRGB: an ICC profile in the file is applied. The mask is 1 where the picture is
    transparent, to be repainted, and 0 everywhere for a picture without alpha.
    """
    pixels, fault = read_pixels(Path(image.path))
    if fault is not None:
        ctx.warn("colour_profile", f"the colour profile of '{image.name}' is not used: {fault}")
    mask = 1 - pixels[..., 3] if pixels.shape[2] == 4 else np.zeros(pixels.shape[:2], np.float32)
    return LoadedImage(Image((pixels if alpha == "keep" else pixels[..., :3])[None]), Mask(mask[None]))


@node("SaveImage", category="image", purity="sink")
def save_image(
    ctx: Context,
    images: Image,
    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=200,
            description="Name below the output folder. {name} is the workflow's, {node} this node's, {seed} the "
            "picture's, {item} its place in the batch, {date} today, {counter} a free number; / makes a folder.",
        ),
    ] = "{name}-{counter}",
    format: Annotated[Form, Field(description="The kind of file. JPEG has no transparency: white lies below.")] = "png",
    quality: Annotated[int, Field(ge=1, le=100, description="For jpeg, webp and avif: larger files look better.")] = 90,
) -> ShownImages:
    """Save every picture of a batch, with the workflow that made it inside. No file is ever overwritten.

    Files are in sRGB and say so by a profile. 16 bits keep finer steps than a screen shows, for further work.
    """
    for item, pixels in enumerate(images.numpy()):
        ctx.save("image", PictureToSave(pixels, format, quality), name, item=item)
        ctx.progress(item + 1, len(images))
    return ShownImages(images)


@node("PreviewImage", category="image", purity="sink")
def preview_image(ctx: Context, images: Image) -> ShownImages:
    """Show pictures while the workflow runs, without a file."""
    ctx.progress(1, 1, preview=lambda: images)
    return ShownImages(images)


@node("ImageScale", category="image")
def image_scale(
    image: Image,
    width: Width = 0,
    height: Height = 0,
    factor: Factor = 1,
    method: Filter = "lanczos",
    fit: Fitting = "stretch",
    multiple_of: MultipleOf = 1,
    mask: GoesAlong = None,
) -> ImageAndMask:
    """Make pictures larger or smaller, and a mask with them. The result has at most 16384 pixels a side."""
    options = width, height, factor
    pixels = scaled(image.numpy(), *options, method, fit, multiple_of)
    levels = scaled(_mask_of(image, mask)[..., None], *options, mask_method(method), fit, multiple_of)
    return ImageAndMask(Image(pixels), Mask(levels[..., 0]))


def _mask_of(image: Image, mask: Mask | None) -> "Floats":
    """Return the mask at its picture's size; zeros if there is no mask."""
    _, height, width, _ = image.shape
    if mask is None:
        return np.zeros((1, height, width), np.float32)
    return resize_mask(mask.numpy(), Size(width, height))


@node("ImageBlend", category="image")
def image_blend(
    a: Image,
    b: Image,
    amount: Annotated[float, Field(ge=0, le=1, description="0 is a alone, 1 is b laid over a.")] = 0.5,
    mode: Annotated[Mode, Field(description="How b lies over a.")] = "normal",
) -> Image:
    """Lay a picture over another one of the same size. A single picture goes with each one of a batch.

    `amount` is b's opacity; what is transparent in b shows a (W3C Compositing and Blending Level 1).
    """
    if a.shape[1:3] != b.shape[1:3]:
        raise BadValueError(
            "the pictures have different sizes",
            got=f"{_size(a)} and {_size(b)}",
            hint="put an ImageScale or ImageCrop node in front of one",
        )
    if a.shape[0] != b.shape[0] and 1 not in (a.shape[0], b.shape[0]):
        raise BadValueError("the batches have different lengths", got=f"{len(a)} and {len(b)}")
    return Image(blend(a.numpy(), b.numpy(), amount, mode))


@node("ImageCrop", category="image")
def image_crop(
    image: Image, x: Left = 0, y: Upper = 0, width: Side = 512, height: Side = 512, mask: GoesAlong = None
) -> ImageAndMask:
    """Cut a rectangle out of pictures, and out of a mask with them; it must lie inside the pictures."""
    box = x, y, width, height
    return ImageAndMask(Image(cropped(image.numpy(), *box)), Mask(cropped(_mask_of(image, mask), *box)))


def _size(image: Image) -> str:
    return f"{image.shape[2]}x{image.shape[1]}"


NODES = (load_image, save_image, preview_image, image_scale, image_blend, image_crop)
