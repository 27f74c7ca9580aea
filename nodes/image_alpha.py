"""Nodes that separate the transparency of pictures from their colour, and join both."""

import numpy as np

from latentloom.engine import Image, Mask, node
from latentloom.nodes.drawing.resize import Size, check_mask_batch, resize_mask
from latentloom.nodes.image import ImageAndMask


@node(
    "SplitAlpha",
    display_name="Split off transparency",
    aliases=("SplitImageWithAlpha", "alpha", "RGBA"),
    category="image",
)
def split_alpha(image: Image) -> ImageAndMask:
    """Split images into their colours and a mask that is 1 where they are transparent.

    The colours of transparent pixels become visible. The mask of opaque images is 0 everywhere.
    """
    pixels = image.numpy()
    mask = 1 - pixels[..., 3] if pixels.shape[3] == 4 else np.zeros(pixels.shape[:3], np.float32)
    return ImageAndMask(Image(pixels[..., :3]), Mask(mask))


@node(
    "JoinAlpha",
    display_name="Add transparency",
    aliases=("JoinImageWithAlpha", "alpha", "cut out", "RGBA"),
    category="image",
)
def join_alpha(image: Image, mask: Mask) -> Image:
    """Make images transparent where a mask is 1. The mask is resized to the images and replaces their alpha channel."""
    pixels = image.numpy()[..., :3]
    fitted = resize_mask(mask.numpy(), Size(image.shape[2], image.shape[1]))
    check_mask_batch(pixels, fitted)
    alpha = np.broadcast_to(1 - fitted, pixels.shape[:3])
    return Image(np.concatenate([pixels, alpha[..., None]], axis=3))


NODES = (split_alpha, join_alpha)
