"""Nodes that convert between pixels and latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from latentloom.engine import Context, Image, Latent, Seed, Vae, node
from latentloom.nodes.diffusion.vae import TILES, check_decodes, check_encodes, check_sides, decode, encode
from latentloom.nodes.diffusion.vae_tiles import check_overlap, decode_tiles, encode_tiles
from latentloom.nodes.drawing.limits import check_size

if TYPE_CHECKING:
    pass

TileSide = Annotated[int, Field(ge=64, le=4096, multiple_of=8, description="Pixels of a tile's sides.")]
Overlap = Annotated[int, Field(ge=0, le=1024, multiple_of=8, description="Pixels that neighbours share at least.")]


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


@node("VAEDecode", category="vae", device=True, economies=len(TILES) - 1)
def vae_decode(ctx: Context, vae: Vae, latent: Latent) -> Image:
    """Turn latents into pictures. Where memory runs out it goes on tile by tile, as VAEDecodeTiled does."""
    tile = TILES[ctx.economy]
    return decode_tiles(ctx, vae, latent, tile, tile // 8) if tile else decode(ctx, vae, latent)


@node("VAEDecodeTiled", category="vae", device=True)
def vae_decode_tiled(ctx: Context, vae: Vae, latent: Latent, tile: TileSide = 512, overlap: Overlap = 64) -> Image:
    """Turn latents into pictures tile by tile: the memory for one tile is enough for any size.

    Seams are blended. A VAE's norms see one tile at a time, so colours differ from VAEDecode's, less with larger tiles
    (docs/large-pictures.md has figures). A latent that fits into one tile is decoded just as VAEDecode does.
    """
    check_overlap(tile, overlap)
    check_decodes(vae, latent)
    step = latent.downscale
    check_size(latent.shape[3] * step, latent.shape[2] * step, latent.shape[0])
    return decode_tiles(ctx, vae, latent, tile, overlap)


@node("VAEEncodeTiled", category="vae", device=True)
def vae_encode_tiled(ctx: Context, vae: Vae, image: Image, tile: TileSide = 512, overlap: Overlap = 64) -> Latent:
    """Turn pictures into latents tile by tile, the mean of the encoder's answer. Seams are blended.

    Width and height must be multiples of the VAE's downscale (8); transparency is ignored.
    """
    check_overlap(tile, overlap)
    step = vae.info["downscale"]
    check_encodes(vae)
    check_sides(image, step)
    mean, _ = encode_tiles(ctx, vae, image, tile, overlap)
    return Latent(mean.clone(), downscale=step)


NODES = (vae_encode, vae_decode, vae_encode_tiled, vae_decode_tiled)
