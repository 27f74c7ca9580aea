"""Nodes that convert between pixels and latents."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from latentloom.engine import Advanced, Context, Image, Latent, Seed, Vae, node
from latentloom.nodes.diffusion.preview import learn_colours
from latentloom.nodes.diffusion.vae import TILES, check_decodes, check_encodes, check_sides, decode, encode
from latentloom.nodes.diffusion.vae_tiles import check_overlap, decode_tiles, encode_tiles
from latentloom.nodes.drawing.limits import check_size

TileSide = Annotated[int, Field(ge=64, le=4096, multiple_of=8, description="Side of a tile in pixels.")]
Overlap = Annotated[
    int, Field(ge=0, le=1024, multiple_of=8, description="Minimum overlap of neighbouring tiles in pixels.")
]


@node(
    "VAEEncode",
    display_name="VAE encode",
    aliases=("image to latent", "img2img"),
    category="vae",
    device=True,
    economies=len(TILES) - 1,
)
def vae_encode(
    ctx: Context,
    vae: Vae,
    image: Image,
    posterior: Annotated[
        Literal["mean", "sample"],
        Field(description="mean: the mean of the distribution. sample: a latent drawn with the seed."),
        Advanced(),
    ] = "mean",
    seed: Annotated[Seed, Advanced()] = 0,
) -> Latent:
    """Encode images to latents: the mean of the encoder's distribution, or a sample drawn with the seed.

    Width and height must be multiples of the VAE's downscale factor (8). Transparency is ignored. If memory runs out,
    the node continues in tiles, like VAEEncodeTiled.
    """
    return encode(ctx, vae, image, seed if posterior == "sample" else None)


@node(
    "VAEDecode",
    display_name="VAE decode",
    aliases=("latent to image",),
    category="vae",
    device=True,
    economies=len(TILES) - 1,
)
def vae_decode(ctx: Context, vae: Vae, latent: Latent) -> Image:
    """Decode latents to images. If memory runs out, the node continues in tiles, like VAEDecodeTiled."""
    learn_colours(ctx, vae)
    tile = TILES[ctx.economy]
    return decode_tiles(ctx, vae, latent, tile, tile // 8) if tile else decode(ctx, vae, latent)


@node("VAEDecodeTiled", display_name="VAE decode (tiled)", aliases=("low memory", "large"), category="vae", device=True)
def vae_decode_tiled(ctx: Context, vae: Vae, latent: Latent, tile: TileSide = 512, overlap: Overlap = 64) -> Image:
    """Decode latents to images in tiles. The memory for one tile is enough for any image size.

    Seams are blended. The VAE's normalisation layers see one tile at a time, so colours differ from VAEDecode; larger
    tiles reduce the difference (docs/large-pictures.md has figures). A latent that fits into one tile is decoded
    exactly as by VAEDecode.
    """
    check_overlap(tile, overlap)
    check_decodes(vae, latent)
    step = latent.downscale
    check_size(latent.shape[3] * step, latent.shape[2] * step, latent.shape[0])
    learn_colours(ctx, vae)
    return decode_tiles(ctx, vae, latent, tile, overlap)


@node("VAEEncodeTiled", display_name="VAE encode (tiled)", aliases=("low memory", "large"), category="vae", device=True)
def vae_encode_tiled(ctx: Context, vae: Vae, image: Image, tile: TileSide = 512, overlap: Overlap = 64) -> Latent:
    """Encode images to latents in tiles, as the mean of the encoder's distribution. Seams are blended.

    Width and height must be multiples of the VAE's downscale factor (8). Transparency is ignored.
    """
    check_overlap(tile, overlap)
    step = vae.info["downscale"]
    check_encodes(vae)
    check_sides(image, step)
    mean, _ = encode_tiles(ctx, vae, image, tile, overlap)
    return Latent(mean.clone(), downscale=step)


NODES = (vae_encode, vae_decode, vae_encode_tiled, vae_decode_tiled)
