"""Nodes that set the extra input channels of inpainting models and InstructPix2Pix."""

from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from latentloom.engine import Array, Cond, Conditioning, Context, Image, Latent, Mask, Vae, node
from latentloom.nodes.diffusion.latent_mask import CellRule, even_in_cells
from latentloom.nodes.diffusion.vae import encode
from latentloom.nodes.drawing.resize import Size, check_mask_batch, resize_mask

GREY = 0.5


class Prepared(NamedTuple):
    """What a sampler needs to paint into a picture."""

    positive: Conditioning
    negative: Conditioning
    latent: Latent


@node("InpaintConditioning", category="inpaint", device=True)
def inpaint_conditioning(
    ctx: Context,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    image: Image,
    mask: Mask,
    resize: Annotated[
        CellRule, Field(description="How the mask's pixels become cells, as in SetLatentMask; diffusers takes nearest.")
    ] = "area",
) -> Prepared:
    """Prepare an inpainting model (9 channels, Flux Fill): it sees the picture without the masked part, and the mask.

    The latent is the picture with the mask; other models may be given that latent too. A mask of another size is
    resized to the picture. Sides must be multiples of 8.
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


@node("InpaintEncode", category="inpaint", device=True)
def inpaint_encode(
    ctx: Context,
    vae: Vae,
    image: Image,
    mask: Mask,
    grow: Annotated[int, Field(ge=0, le=64, description="How wide a square of the mask grows for the sampler.")] = 6,
    resize: Annotated[CellRule, Field(description="How the mask's pixels become cells, as in SetLatentMask.")] = "area",
) -> Latent:
    """Encode a picture whose masked part is grey, for inpainting models and a denoise of 1, with the mask.

    Soft masks become hard at 0.5. The sampler repaints `grow` - 1 pixels more from side to side, half of them at each;
    an odd one lies on the right and below. Sides must be multiples of 8.
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


@node("InstructConditioning", category="inpaint", device=True)
def instruct_conditioning(
    ctx: Context, positive: Conditioning, negative: Conditioning, vae: Vae, image: Image
) -> Prepared:
    """Prepare a model that sees a picture beside the noise: an InstructPix2Pix of 8 channels, Flux Depth and Canny.

    The latent is an empty one of the picture's size. InstructGuidance gives the picture a scale of its own.
    """
    latent = encode(ctx, vae, image)
    arrays = {"concat": Array(latent.numpy())}
    empty = Latent(np.zeros(latent.shape, np.float32), downscale=latent.downscale)
    return Prepared(_with(positive, arrays), _with(negative, arrays), empty)


NODES = (inpaint_conditioning, inpaint_encode, instruct_conditioning)
