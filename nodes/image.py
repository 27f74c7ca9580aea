"""Nodes that read, save, show and change pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from latentloom.engine import Advanced, Context, Image, InputFile, Mask, Source, node
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


@node(
    "LoadImage", display_name="Load image", aliases=("open", "picture", "upload", "input", "img2img"), category="image"
)
def load_image(
    ctx: Context,
    image: Annotated[Picture, Field(description="An image in the input folder; for an animation, the first frame.")],
    alpha: Annotated[
        Literal["keep", "drop"],
        Field(
            description="keep: the image keeps its alpha channel. drop: only its colours. The mask has the transparency"
            " in both cases."
        ),
        Advanced(),
    ] = "keep",
) -> LoadedImage:
    """Load an image with its alpha channel, if it has one, rotated according to its EXIF orientation.

    8-bit and 16-bit colours are converted to sRGB; an ICC profile in the file is applied. The mask is 1 (repaint) where
    the image is transparent. It is 0 everywhere for an image without alpha.
    """
    pixels, fault = read_pixels(Path(image.path))
    if fault is not None:
        ctx.warn("colour_profile", f"the colour profile of '{image.name}' is not used: {fault}")
    mask = 1 - pixels[..., 3] if pixels.shape[2] == 4 else np.zeros(pixels.shape[:2], np.float32)
    return LoadedImage(Image((pixels if alpha == "keep" else pixels[..., :3])[None]), Mask(mask[None]))


@node(
    "SaveImage",
    display_name="Save image",
    aliases=(
        "SaveImageWebsocket",
        "SaveImageAdvanced",
        "output",
        "write",
        "export",
        "png",
        "jpeg",
        "webp",
        "avif",
        "file",
    ),
    category="image",
    purity="sink",
)
def save_image(
    ctx: Context,
    images: Image,
    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=200,
            description="File name in the output folder. {name}: name of the workflow; {node}: id of this node; {seed}:"
            " seed of the image; {item}: index in the batch; {date}: today's date; {counter}: the next free"
            " number; {cfg} and the like: value of the workflow's input of that name. A / creates a folder.",
        ),
    ] = "{name}-{counter}",
    format: Annotated[
        Form, Field(description="File format. JPEG has no transparency; it shows the image on white.")
    ] = "png",
    quality: Annotated[
        int,
        Field(ge=1, le=100, description="Quality of jpeg, webp and avif; higher values give larger files."),
        Advanced(),
    ] = 90,
) -> ShownImages:
    """Save every image of a batch, with the workflow embedded in the file. Existing files are never overwritten.

    Files are in sRGB and have an sRGB profile. 16-bit files keep finer gradations than a screen shows, for further
    editing.
    """
    for item, pixels in enumerate(images.numpy()):
        ctx.save("image", PictureToSave(pixels, format, quality), name, item=item)
        ctx.progress(item + 1, len(images))
    return ShownImages(images)


@node(
    "PreviewImage",
    display_name="Preview image",
    aliases=("ImageCompare", "Image Comparer (rgthree)", "show", "view", "look"),
    category="image",
    purity="sink",
)
def preview_image(ctx: Context, images: Image) -> ShownImages:
    """Show images while the workflow runs. No file is saved."""
    ctx.progress(1, 1, preview=lambda: images)
    return ShownImages(images)


@node(
    "ImageScale",
    display_name="Resize image",
    aliases=(
        "ImageScaleBy",
        "ImageResize+",
        "ImageResizeKJ",
        "ImageResizeKJv2",
        "scale",
        "upscale",
        "downscale",
        "fit",
        "resample",
    ),
    category="image",
)
def image_scale(
    image: Image,
    width: Width = 0,
    height: Height = 0,
    factor: Factor = 1,
    method: Filter = "lanczos",
    fit: Annotated[Fitting, Advanced()] = "stretch",
    multiple_of: Annotated[MultipleOf, Advanced()] = 1,
    mask: GoesAlong = None,
) -> ImageAndMask:
    """Resize images, and a mask with them. Each side of the result has at most 16384 pixels."""
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


@node(
    "ImageBlend",
    display_name="Blend images",
    aliases=("mix", "multiply", "screen", "overlay", "opacity"),
    category="image",
)
def image_blend(
    a: Image,
    b: Image,
    amount: Annotated[
        float, Field(ge=0, le=1, description="Opacity of b: 0 shows only a, 1 lays b over a at full opacity.")
    ] = 0.5,
    mode: Annotated[Mode, Field(description="Blend mode of b over a.")] = "normal",
) -> Image:
    """Blend two images of the same size. A single image is blended with every image of the other batch.

    `amount` is the opacity of b; where b is transparent, a shows through (W3C Compositing and Blending Level 1).
    """
    if a.shape[1:3] != b.shape[1:3]:
        raise BadValueError(
            "the pictures have different sizes",
            got=f"{_size(a)} and {_size(b)}",
            hint="resize or crop one of them with ImageScale or ImageCrop",
        )
    if a.shape[0] != b.shape[0] and 1 not in (a.shape[0], b.shape[0]):
        raise BadValueError("the batches have different lengths", got=f"{len(a)} and {len(b)}")
    return Image(blend(a.numpy(), b.numpy(), amount, mode))


@node("ImageCrop", display_name="Crop image", aliases=("ImageCropV2", "cut", "trim"), category="image")
def image_crop(
    image: Image, x: Left = 0, y: Upper = 0, width: Side = 512, height: Side = 512, mask: GoesAlong = None
) -> ImageAndMask:
    """Crop images, and a mask with them. The rectangle must lie inside the image."""
    box = x, y, width, height
    return ImageAndMask(Image(cropped(image.numpy(), *box)), Mask(cropped(_mask_of(image, mask), *box)))


def _size(image: Image) -> str:
    return f"{image.shape[2]}x{image.shape[1]}"


NODES = (load_image, save_image, preview_image, image_scale, image_blend, image_crop)
