"""Nodes that read, save, show and change pictures."""

from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from latentloom.engine import Context, Image, InputFile, Mask, Source, node
from latentloom.engine.errors import BadValueError
from latentloom.engine.files.pictures import as_rgb, read_picture
from latentloom.nodes.drawing.blend import Mode, blend
from latentloom.nodes.drawing.limits import MAX_SIDE
from latentloom.nodes.drawing.resize import Fit, Method, fitted, resize, rounded

Picture = Annotated[InputFile, Source("input")]


class LoadedImage(NamedTuple):
    """A picture and what it leaves open."""

    image: Image
    mask: Mask


class ShownImages(NamedTuple):
    """The pictures that a sink was given."""

    images: Image


@node("LoadImage", category="image")
def load_image(
    image: Annotated[Picture, Field(description="A picture below the input folder; of an animation, the first frame.")],
) -> LoadedImage:
    """Read a picture, turned as its EXIF says, with its alpha channel if it has one.

    The mask is 1 where the picture is transparent, to be repainted, and 0 everywhere for a picture without alpha.
    """
    pixels = as_rgb(read_picture(Path(image.path)))
    mask = 1 - pixels[..., 3] if pixels.shape[2] == 4 else np.zeros(pixels.shape[:2], np.float32)
    return LoadedImage(Image(pixels[None]), Mask(mask[None]))


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
) -> ShownImages:
    """Save every picture of a batch as a PNG that carries the workflow that made it. No file is ever overwritten."""
    for item, pixels in enumerate(images.numpy()):
        ctx.save("image", pixels, name, item=item)
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
    width: Annotated[
        int, Field(ge=0, le=MAX_SIDE, description="Pixels; 0 follows from the height, or the factor.")
    ] = 0,
    height: Annotated[
        int, Field(ge=0, le=MAX_SIDE, description="Pixels; 0 follows from the width, or the factor.")
    ] = 0,
    factor: Annotated[
        float, Field(ge=0.01, le=64, description="How many times as large, without width and height.")
    ] = 1,
    method: Annotated[
        Method, Field(description="The filter; lanczos is the sharpest, nearest keeps hard pixels.")
    ] = "lanczos",
    fit: Annotated[
        Fit,
        Field(
            description="With width and height: stretch to them, fit inside them, fill them and cut off what sticks "
            "out, or pad with black (transparent) borders."
        ),
    ] = "stretch",
    multiple_of: Annotated[
        int, Field(ge=1, le=512, description="Round both sides to multiples of this; a VAE wants 8.")
    ] = 1,
) -> Image:
    """Make pictures larger or smaller. The result has at most 16384 pixels a side."""
    old_height, old_width = image.shape[1:3]
    if (width or height) and factor != 1:
        raise BadValueError("a size and a factor exclude each other", got=f"{width}x{height} and factor {factor:g}")
    if width and height:
        return Image(fitted(image.numpy(), rounded(width, height, multiple_of), method, fit, multiple_of))
    scale = width / old_width if width else height / old_height if height else factor
    return Image(resize(image.numpy(), rounded(old_width * scale, old_height * scale, multiple_of), method))


@node("ImageBlend", category="image")
def image_blend(
    a: Image,
    b: Image,
    amount: Annotated[float, Field(ge=0, le=1, description="0 is a alone, 1 is b laid over a.")] = 0.5,
    mode: Annotated[Mode, Field(description="How b lies over a.")] = "normal",
) -> Image:
    """Mix two pictures of the same size. A single picture mixes with each one of a batch."""
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
    image: Image,
    x: Annotated[int, Field(ge=0, le=MAX_SIDE, description="Left edge, in pixels from the left.")] = 0,
    y: Annotated[int, Field(ge=0, le=MAX_SIDE, description="Upper edge, in pixels from the top.")] = 0,
    width: Annotated[int, Field(ge=1, le=MAX_SIDE, description="Pixels.")] = 512,
    height: Annotated[int, Field(ge=1, le=MAX_SIDE, description="Pixels.")] = 512,
) -> Image:
    """Cut a rectangle out of pictures; it must lie inside them."""
    if x + width > image.shape[2] or y + height > image.shape[1]:
        raise BadValueError(
            "the rectangle lies outside of the picture",
            expected=f"inside {_size(image)}",
            got=f"{width}x{height} at {x},{y}",
        )
    return Image(image.numpy()[:, y : y + height, x : x + width])


def _size(image: Image) -> str:
    return f"{image.shape[2]}x{image.shape[1]}"


NODES = (load_image, save_image, preview_image, image_scale, image_blend, image_crop)
