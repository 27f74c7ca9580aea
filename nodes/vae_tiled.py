"""Nodes for pictures that are too large for one pass: tiled VAE and tiled diffusion."""

from typing import Annotated

from pydantic import Field

from latentloom.engine import Context, Image, Latent, Model, Patch, Vae, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.vae_tiles import decode_tiles, encode_tiles
from latentloom.nodes.drawing.limits import check_size
from latentloom.nodes.vae import check_sides

TileSide = Annotated[int, Field(ge=64, le=4096, multiple_of=8, description="Pixels of a tile's sides.")]
Overlap = Annotated[int, Field(ge=0, le=1024, multiple_of=8, description="Pixels that neighbours share at least.")]


def check_overlap(tile: int, overlap: int) -> None:
    """Raise BadValueError for tiles that overlap by more than half."""
    if overlap > tile // 2:
        raise BadValueError("the tiles overlap too far", expected=f"at most {tile // 2}, half a tile", got=str(overlap))


@node("VAEDecodeTiled", category="vae", device=True)
def vae_decode_tiled(ctx: Context, vae: Vae, latent: Latent, tile: TileSide = 512, overlap: Overlap = 64) -> Image:
    """Turn latents into pictures tile by tile: the memory for one tile is enough for any size.

    Seams are blended. A VAE's norms see one tile at a time, so colours differ from VAEDecode's, less with larger tiles
    (docs/large-pictures.md has figures). A latent that fits into one tile is decoded just as VAEDecode does.
    """
    check_overlap(tile, overlap)
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
    check_sides(image, step)
    mean, _ = encode_tiles(ctx, vae, image, tile, overlap)
    return Latent(mean.clone(), downscale=step)


@node("TiledDiffusion", category="guidance")
def tiled_diffusion(model: Model, tile: TileSide = 512, overlap: Overlap = 128) -> Model:
    """Let the model look at a large picture tile by tile at each step, as MultiDiffusion does (Bar-Tal et al. 2023).

    For a second pass over an enlarged picture, with a denoise of 0.2 to 0.5: details come from tiles of the size that
    the model knows, and seams are blended at every step.
    """
    check_overlap(tile, overlap)
    return model.patched(Patch("tiled_diffusion", {"tile": tile, "overlap": overlap}))


NODES = (vae_decode_tiled, vae_encode_tiled, tiled_diffusion)
