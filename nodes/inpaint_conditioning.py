"""Nodes that tell a model of further channels what it paints into: inpainting models and InstructPix2Pix."""

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
    """Prepare an inpainting model of 9 channels: it sees the picture without the masked part, and the mask.

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


def _with(conditioning: Conditioning, arrays: dict[str, Array]) -> Conditioning:
    return Conditioning([Cond(e.embedding, e.extra, {**e.arrays, **arrays}) for e in conditioning.entries])


@node("InstructConditioning", category="inpaint", device=True)
def instruct_conditioning(
    ctx: Context, positive: Conditioning, negative: Conditioning, vae: Vae, image: Image
) -> Prepared:
    """Prepare an InstructPix2Pix model of 8 channels: it sees the picture that the instruction is about.

    The latent is an empty one of the picture's size. InstructGuidance gives the picture a scale of its own.
    """
    latent = encode(ctx, vae, image)
    arrays = {"concat": Array(latent.numpy())}
    empty = Latent(np.zeros(latent.shape, np.float32), downscale=latent.downscale)
    return Prepared(_with(positive, arrays), _with(negative, arrays), empty)


NODES = (inpaint_conditioning, instruct_conditioning)
