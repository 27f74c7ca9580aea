"""Nodes that composite pictures with masks, and that match the colours of one picture to another."""

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from latentloom.engine import Advanced, Image, Mask, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.drawing.blend import blend
from latentloom.nodes.drawing.colours import Likeness, matched
from latentloom.nodes.drawing.limits import MAX_SIDE
from latentloom.nodes.drawing.resize import Size, resize_mask
from latentloom.nodes.mask import mask_feather

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

Offset = Annotated[
    int,
    Field(
        ge=-MAX_SIDE,
        le=MAX_SIDE,
        description="Position of the second image's upper left corner, in pixels; it may be negative.",
    ),
]


@node(
    "ImageComposite",
    display_name="Composite images",
    aliases=("ImageCompositeMasked", "paste", "overlay", "layer"),
    category="image",
)
def image_composite(
    image: Image,
    over: Image,
    mask: Annotated[
        Mask | None, Field(description="Where the second image is visible; without a mask, everywhere.")
    ] = None,
    x: Offset = 0,
    y: Offset = 0,
    feather: Annotated[
        int,
        Field(
            ge=0,
            le=1024,
            description="Width of the fade inside the edge of the mask, in pixels; 0 uses the mask as it is.",
        ),
    ] = 0,
    opacity: Annotated[float, Field(ge=0, le=1, description="Opacity of the second image.")] = 1.0,
) -> Image:
    """Paste an image onto another one at x and y, through an optional mask. Parts outside the image are cropped.

    Where the mask is 0, the first image is unchanged, bit for bit. The mask belongs to the second image and is resized
    to it. A single image or mask is used for every item of a batch. Compositing is source-over (W3C).
    """
    height, width = image.shape[1:3]
    share = np.ones((1, *over.shape[1:3]), np.float32)
    if mask is not None:
        share = resize_mask(mask.numpy(), Size(over.shape[2], over.shape[1]))
    _check_batches(image, over, share)
    share = _placed(share[..., None], width, height, x, y)[..., 0]
    if feather:
        share = mask_feather(Mask(share), feather, "inside").numpy()
    return Image(
        blend(image.numpy(), _placed(over.numpy(), width, height, x, y), share[..., None] * np.float32(opacity))
    )


def _check_batches(image: Image, over: Image, share: "Floats") -> None:
    lengths = {len(image), len(over), share.shape[0]} - {1}
    if len(lengths) > 1:
        raise BadValueError(
            "the batches have different lengths", got=f"pictures {len(image)} and {len(over)}, masks {share.shape[0]}"
        )


def _placed(pixels: "Floats", width: int, height: int, x: int, y: int) -> "Floats":
    """Place [B, H, W, C] on an empty canvas of a size; returned unchanged if it fills the canvas."""
    batch, tall, wide, channels = pixels.shape
    if (x, y, wide, tall) == (0, 0, width, height):
        return pixels
    sheet = np.zeros((batch, height, width, channels), np.float32)
    left, top, right, bottom = max(0, x), max(0, y), min(width, x + wide), min(height, y + tall)
    if left < right and top < bottom:
        sheet[:, top:bottom, left:right] = pixels[:, top - y : bottom - y, left - x : right - x]
    return sheet


@node(
    "MatchColours",
    display_name="Match colours",
    aliases=("colour correction", "color match", "histogram"),
    category="image",
)
def match_colours(
    image: Image,
    reference: Image,
    mask: Annotated[
        Mask | None, Field(description="Area to exclude from the comparison, such as the repainted part.")
    ] = None,
    likeness: Annotated[
        Likeness,
        Field(
            description="mean: match the means. spread: also the standard deviation of each channel. covariance: also "
            "the correlation between channels."
        ),
        Advanced(),
    ] = "spread",
    amount: Annotated[
        float, Field(ge=0, le=1, description="Strength of the change; 0 leaves the colours unchanged.")
    ] = 1.0,
) -> Image:
    """Match the colours of images to a reference image, for example after a VAE or an upscaler has shifted them.

    "spread" is Reinhard et al. 2001 on RGB, "covariance" the linear transport of Pitié & Kokaram 2007. The mask is
    resized to each image. Transparency is kept, and transparent pixels are not compared.
    """
    left_out = np.zeros((1, 1, 1), np.float32) if mask is None else mask.numpy()
    _check_batches(image, reference, left_out)
    ours, theirs = image.numpy(), reference.numpy()
    made = [
        matched(
            item,
            theirs[n % len(theirs)],
            *(_kept(left_out[n % len(left_out)], part.shape) for part in (item, theirs[0])),
            likeness,
        )
        for n, item in enumerate(ours)
    ]
    changed = ours.copy()
    changed[..., :3] += (np.stack(made) - ours[..., :3]) * np.float32(amount)
    return Image(changed.clip(0, 1))


def _kept(mask: "Floats", shape: tuple[int, ...]) -> "Floats":
    """Return the weight of each pixel of a picture [H, W, C]."""
    return 1 - resize_mask(mask[None], Size(shape[1], shape[0]))[0]


NODES = (image_composite, match_colours)
