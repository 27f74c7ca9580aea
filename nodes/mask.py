"""Nodes that make and change masks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from latentloom.engine import Image, InputFile, Mask, Source, Widget, node
from latentloom.engine.errors import BadValueError, FileError
from latentloom.engine.files.pictures import as_rgb, read_picture

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

Channel = Literal["alpha", "red", "green", "blue", "luminance"]
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)  # ITU-R BT.709


@node("LoadMask", category="mask")
def load_mask(
    image: Annotated[
        InputFile, Source("input"), Widget("mask"), Field(description="A picture below the input folder.")
    ],
    channel: Annotated[
        Channel, Field(description="What is read: transparency, one colour, or brightness.")
    ] = "luminance",
    invert: Annotated[bool, Field(description="Exchange what is repainted and what is kept.")] = False,
) -> Mask:
    """Read a mask from a picture: white (or, for alpha, transparent) is repainted, black (opaque) is kept."""
    pixels = as_rgb(read_picture(Path(image.path)))
    if channel == "alpha" and pixels.shape[2] == 3:
        raise FileError(
            f"'{image.name}' has no alpha channel", hint="choose the channel luminance for a black and white mask"
        )
    mask = _read(pixels, channel)
    return Mask((1 - mask if invert else mask)[None])


def _read(pixels: "Floats", channel: Channel) -> "Floats":
    if channel == "alpha":
        return 1 - pixels[..., 3]
    if channel == "luminance":
        grey: Floats = np.clip(np.dot(pixels[..., :3], LUMINANCE), 0, 1)
        return grey
    return pixels[..., ("red", "green", "blue").index(channel)]


@node("MaskFromAlpha", category="mask")
def mask_from_alpha(image: Image) -> Mask:
    """Make a mask of what is transparent in pictures: 1 (repaint) where they are, 0 where they are opaque."""
    if image.shape[3] == 3:
        raise BadValueError("the picture has no alpha channel", expected="4 channels (RGBA)", got="3 (RGB)")
    return Mask(1 - image.numpy()[..., 3])


@node("InvertMask", category="mask")
def invert_mask(mask: Mask) -> Mask:
    """Exchange what is repainted and what is kept."""
    return Mask(1 - mask.numpy())


NODES = (load_mask, mask_from_alpha, invert_mask)
