"""Nodes that set the extra input channels of inpainting models and InstructPix2Pix."""

from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from latentloom.engine import Advanced, Array, Cond, Conditioning, Context, Image, Latent, Mask, Vae, node
from latentloom.nodes.diffusion.latent_mask import CellRule, even_in_cells
from latentloom.nodes.diffusion.vae import encode
from latentloom.nodes.drawing.resize import Size, check_mask_batch, resize_mask

GREY = 0.5


class Prepared(NamedTuple):
    """What a sampler needs to paint into a picture."""

    positive: Conditioning
    negative: Conditioning
    latent: Latent


@node(
    "InpaintConditioning",
    display_name="Inpaint conditioning",
    aliases=("InpaintModelConditioning", "inpaint model", "fill"),
    category="inpaint",
    device=True,
)
def inpaint_conditioning(
    ctx: Context,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    image: Image,
    mask: Mask,
    resize: Annotated[
        CellRule,
        Field(description="How the mask is converted to latent cells, as in SetLatentMask; diffusers uses nearest."),
        Advanced(),
    ] = "area",
) -> Prepared:
    """Prepare conditioning for an inpainting model (9 input channels, or Flux Fill): the masked image and the mask.

    The returned latent is the encoded image with the mask as its noise mask; it also works with other models. A mask of
    another size is resized to the image. Sides must be multiples of 8.
    """
    fitted = resize_mask(mask.numpy(), Size(image.shape[2], image.shape[1]))
    pixels = image.numpy()[..., :3]
    check_mask_batch(pixels, fitted)
    blank = encode(ctx, vae, Image(np.where((fitted > 0.5)[..., None], np.float32(GREY), pixels)))
    latent = encode(ctx, vae, image)
    told = Mask(fitted)
    if resize != "area":
        told = Mask(even_in_cells(told.tensor(), latent.shape[2:], latent.downscale, resize))
    arrays = {"concat": Array(blank.numpy()), "concat_mask": Array(told.numpy())}
    return Prepared(
        _with(positive, arrays), _with(negative, arrays), Latent(latent.numpy(), told, downscale=latent.downscale)
    )


@node(
    "InpaintEncode",
    display_name="Inpaint: encode",
    aliases=("VAEEncodeForInpaint", "VAE encode for inpainting"),
    category="inpaint",
    device=True,
)
def inpaint_encode(
    ctx: Context,
    vae: Vae,
    image: Image,
    mask: Mask,
    grow: Annotated[
        int,
        Field(
            ge=0,
            le=64,
            description="Side of the square that grows the mask for the sampler, in pixels; 0 and 1 leave it as it is.",
        ),
    ] = 6,
    resize: Annotated[
        CellRule, Field(description="How the mask is converted to latent cells, as in SetLatentMask."), Advanced()
    ] = "area",
) -> Latent:
    """Encode an image with its masked area set to grey, and its mask, for inpainting models and a denoise of 1.

    Soft masks are rounded to 0 or 1. For the sampler, the masked area gets `grow` - 1 pixels wider and taller, half of
    them on each side; an odd pixel goes to the right and bottom. Sides must be multiples of 8.
    """
    from scipy.ndimage import maximum_filter

    hard = np.rint(resize_mask(mask.numpy(), Size(image.shape[2], image.shape[1])))
    pixels = image.numpy()[..., :3]
    check_mask_batch(pixels, hard)
    latent = encode(ctx, vae, Image(np.where((hard > 0)[..., None], np.float32(GREY), pixels)))
    told = Mask(maximum_filter(hard, (1, max(1, grow), max(1, grow)), mode="constant"))
    if resize != "area":
        told = Mask(even_in_cells(told.tensor(), latent.shape[2:], latent.downscale, resize))
    return Latent(latent.numpy(), told, downscale=latent.downscale)


def _with(conditioning: Conditioning, arrays: dict[str, Array]) -> Conditioning:
    return Conditioning([Cond(e.embedding, e.extra, {**e.arrays, **arrays}) for e in conditioning.entries])


@node(
    "InstructConditioning",
    display_name="InstructPix2Pix conditioning",
    aliases=("InstructPixToPixConditioning", "ip2p", "edit"),
    category="inpaint",
    device=True,
)
def instruct_conditioning(
    ctx: Context, positive: Conditioning, negative: Conditioning, vae: Vae, image: Image
) -> Prepared:
    """Prepare conditioning for a model with an image input: InstructPix2Pix (8 input channels), Flux Depth, Flux Canny.

    The returned latent is empty and has the size of the image. InstructGuidance sets a separate guidance scale for the
    image.
    """
    latent = encode(ctx, vae, image)
    arrays = {"concat": Array(latent.numpy())}
    empty = Latent(np.zeros(latent.shape, np.float32), downscale=latent.downscale)
    return Prepared(_with(positive, arrays), _with(negative, arrays), empty)


NODES = (inpaint_conditioning, inpaint_encode, instruct_conditioning)
