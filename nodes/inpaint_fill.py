"""InpaintFill: fills the masked part of a picture before inpainting."""

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from latentloom.engine import Image, Mask, Seed, Widget, node
from latentloom.nodes.drawing.blend import blend
from latentloom.nodes.drawing.blur import blurred
from latentloom.nodes.drawing.colours import colour_of
from latentloom.nodes.drawing.infill import noise_like, spread_inwards
from latentloom.nodes.drawing.resize import Size, check_mask_batch, resize_mask

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats


@node(
    "InpaintFill",
    display_name="Inpaint: fill",
    aliases=("masked content", "latent noise", "blur", "neighbours"),
    category="inpaint",
)
def inpaint_fill(
    image: Image,
    mask: Mask,
    fill: Annotated[
        Literal["neighbours", "blur", "colour", "noise"],
        Field(
            description="neighbours: spread the surrounding colours inwards. blur: the blurred image. colour: one "
            "colour. noise: noise in the colours of the image."
        ),
    ] = "neighbours",
    colour: Annotated[
        str, Widget("colour"), Field(max_length=40, description="Colour as #rrggbb, for `colour`.")
    ] = "#808080",
    sigma: Annotated[
        float, Field(ge=0, le=1000, description="Standard deviation of the blur in pixels, for `blur`.")
    ] = 16.0,
    seed: Seed = 0,
) -> Image:
    """Fill the masked area of an image, so that sampling at a denoise below 1 does not start from its old content.

    A soft mask blends. Transparent pixels become opaque where they are filled, and their hidden colour is not used.
    """
    pixels = image.numpy()
    share = resize_mask(mask.numpy(), Size(pixels.shape[2], pixels.shape[1]))
    check_mask_batch(pixels, share)
    share = np.broadcast_to(share, pixels.shape[:3])
    known = (share <= 0) * (pixels[..., 3] if pixels.shape[3] == 4 else np.float32(1))
    if fill == "colour":
        made = np.broadcast_to(colour_of(colour), (*pixels.shape[:3], 3))
    elif fill == "noise":
        made = np.stack([noise_like(*item, seed + n) for n, item in enumerate(zip(pixels, known, strict=True))])
    else:
        made = np.stack([spread_inwards(*item) for item in zip(pixels, known, strict=True)])
    if fill == "blur":
        made = _blur_over(made, pixels, sigma)
    return Image(blend(pixels, made, share[..., None]))


def _blur_over(background: "Floats", pixels: "Floats", sigma: float) -> "Floats":
    """Blur the picture and composite it over the background, which shows where the picture is transparent."""
    return blend(background, blurred(pixels, sigma), 1.0)


NODES = (inpaint_fill,)
