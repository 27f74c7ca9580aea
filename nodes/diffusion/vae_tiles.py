"""Encodes and decodes with a VAE tile by tile: the memory for one tile suffices for any size. Seams are blended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latentloom.engine import Context, Image, Latent, Vae
from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.seamless import axes_of, circular
from latentloom.nodes.diffusion.vae_overflow import without_overflow

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.nodes.diffusion.tiling import Tile


def check_overlap(tile: int, overlap: int) -> None:
    """Raise BadValueError for tiles that overlap by more than half."""
    if overlap > tile // 2:
        raise BadValueError("the tiles overlap too far", expected=f"at most {tile // 2}, half a tile", got=str(overlap))


def decode_tiles(ctx: Context, vae: Vae, latent: Latent, tile: int, overlap: int) -> Image:
    """Decode latents to pictures; tile and overlap are in pixels."""
    import torch

    from latentloom.nodes.diffusion.tiling import tiled, tiles

    step, axes, whole = latent.downscale, axes_of(vae.patches), latent.shape[2:]
    total = len(tiles(*whole, tile // step, overlap // step, axes)) * latent.shape[0]

    def decoded(vae: Vae) -> Tensor:
        done = 0
        with ctx.load(vae) as (model,), circular([model]) as ring:

            def one_tile(x: Tensor, _: Tile) -> Tensor:
                nonlocal done
                done += 1
                ctx.progress(done, total)
                with ring.on(axes.within(x.shape[2:], whole)):
                    found: Tensor = model.decode(x.to(model.device, model.dtype)).sample.float().cpu()
                return found

            items = [tiled(one_tile, one[None], tile // step, overlap // step, step, axes) for one in latent.tensor()]
        return torch.cat(items)

    return Image((without_overflow(ctx, vae, decoded) / 2 + 0.5).clamp(0, 1).movedim(1, -1))


def encode_tiles(ctx: Context, vae: Vae, image: Image, tile: int, overlap: int) -> tuple[Tensor, Tensor]:
    """Return the encoder's mean and standard deviation [B, C, h, w]; tile and overlap are in pixels."""
    import torch

    from latentloom.nodes.diffusion.tiling import tiled

    step, axes = vae.info["downscale"], axes_of(vae.patches)

    def encoded(vae: Vae) -> Tensor:
        with ctx.load(vae) as (model,), circular([model]) as ring:

            def one_tile(_: Tensor, place: Tile) -> Tensor:
                ctx.check()
                part = place.scaled(step).of(pixels)
                with ring.on(axes.within(part.shape[2:], pixels.shape[2:])):
                    found = model.encode(part.to(model.device, model.dtype)).latent_dist
                return torch.cat([found.mean, found.std], dim=1).float().cpu()

            items = []
            for one in image.tensor():
                pixels = one[None, ..., :3].movedim(-1, 1) * 2 - 1
                cells = torch.empty(1, 1, *(side // step for side in pixels.shape[2:]))
                items.append(tiled(one_tile, cells, tile // step, overlap // step, axes=axes))
        return torch.cat(items)

    mean, std = without_overflow(ctx, vae, encoded).chunk(2, dim=1)
    return mean, std
