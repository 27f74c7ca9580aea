"""Nodes between pixels and latents."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from latentloom.engine import Context, Image, Latent, Seed, Vae, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.seamless import circular
from latentloom.nodes.diffusion.vae_tiles import decode_tiles, encode_tiles

if TYPE_CHECKING:
    from torch import Tensor

TILES = (0, 512, 256)  # pixels, by economy; 0: all at once


@node("VAEEncode", category="vae", device=True, economies=len(TILES) - 1)
def vae_encode(
    ctx: Context,
    vae: Vae,
    image: Image,
    posterior: Annotated[
        Literal["mean", "sample"], Field(description="The most likely latent, or one drawn with the seed.")
    ] = "mean",
    seed: Seed = 0,
) -> Latent:
    """Turn pictures into latents: the mean of the encoder's answer, or a sample of it that the seed draws.

    Width and height must be multiples of the VAE's downscale (8); transparency is ignored. Where memory runs out it
    goes on tile by tile, as VAEEncodeTiled does.
    """
    return encode(ctx, vae, image, seed if posterior == "sample" else None)


def encode(ctx: Context, vae: Vae, image: Image, seed: int | None = None) -> Latent:
    """The latents of pictures: the encoder's mean, or with a seed a sample. Raises BadValueError for sides that do
    not fit.
    """
    step = vae.info["downscale"]
    check_sides(image, step)
    tile = TILES[ctx.economy]
    mean, std = encode_tiles(ctx, vae, image, tile, tile // 8) if tile else _encoded(ctx, vae, image)
    samples = mean.clone() if seed is None else mean + std * _noise(tuple(mean.shape), seed)
    return Latent(samples, downscale=step)


def _encoded(ctx: Context, vae: Vae, image: Image) -> tuple[Tensor, Tensor]:
    pixels = image.tensor()[..., :3].movedim(-1, 1) * 2 - 1
    with ctx.load(vae) as (model,):
        found = model.encode(pixels.to(model.device, model.dtype)).latent_dist
        return found.mean.float().cpu(), found.std.float().cpu()


def check_sides(image: Image, step: int) -> None:
    """Raise BadValueError for pictures whose sides are not multiples of a VAE's downscale."""
    height, width = image.shape[1:3]
    if height % step or width % step:
        raise BadValueError(
            f"the picture's sides are not multiples of {step}",
            expected=f"for example {width // step * step}x{height // step * step}",
            got=f"{width}x{height}",
            hint="put an ImageScale or ImageCrop node in front",
        )


def _noise(shape: tuple[int, ...], seed: int) -> Tensor:
    from latentloom.nodes.diffusion.noise import first_noise

    return first_noise(shape, seed)


@node("VAEDecode", category="vae", device=True, economies=len(TILES) - 1)
def vae_decode(ctx: Context, vae: Vae, latent: Latent) -> Image:
    """Turn latents into pictures. Where memory runs out it goes on tile by tile, as VAEDecodeTiled does."""
    tile = TILES[ctx.economy]
    seamless = any(patch.kind == "seamless" for patch in vae.patches)  # a tile's edge is not the picture's
    return decode_tiles(ctx, vae, latent, tile, tile // 8) if tile and not seamless else decode(ctx, vae, latent)


def decode(ctx: Context, vae: Vae, latent: Latent) -> Image:
    """The pictures of latents."""
    with ctx.load(vae) as (model,), ExitStack() as hooks:
        for patch in vae.patches:
            if patch.kind == "seamless":
                hooks.enter_context(circular(model, **patch.parameters))
        pixels = model.decode(latent.tensor().to(model.device, model.dtype)).sample
    return Image((pixels.float().cpu() / 2 + 0.5).clamp(0, 1).movedim(1, -1))


NODES = (vae_encode, vae_decode)
