"""Previews of unfinished pictures: decoded by a small VAE, or by a linear map from latent channels to colours.

The map gives the mean colour of a cell from the cell's channels. It is fitted by least squares when a VAE first decodes
what was sampled with previews, and kept by the sha256 of the VAE's file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from latentloom.engine import Context, Image, Latent, Model, Vae
from latentloom.engine.errors import OutOfMemoryError
from latentloom.engine.models.device import is_out_of_memory
from latentloom.nodes.diffusion.vae import decode, latents_of
from latentloom.nodes.families.latent_scale import unscaled
from latentloom.nodes.families.stable_diffusion.facts import vae_beside

if TYPE_CHECKING:
    from torch import Tensor

SIDE, PICTURES, BLOCKS = 128, 16, 4
"""Encoded for a fit: 16 pictures of 128x128 pixels with 4x4 coloured blocks, as many pixels as one of 512x512."""
RIDGE = 1e-3  # in units of the latents' variance: channels that the pictures do not move get no weight


@dataclass(frozen=True, slots=True)
class PreviewMap:
    """A linear map from latents to colours in 0..1."""

    weights: Tensor
    """float32 [C + 1, 3]; the last row is the constant."""
    deviation: float
    """Standard deviation of the latents that it was fitted to."""

    def picture(self, latent: Tensor, downscale: int) -> Image:
        """Return the picture of an unscaled latent [B, C, h, w] at half of its decoded size."""
        import torch

        cells = torch.einsum("bchw,cd->bdhw", latent.float().cpu(), self.weights[:-1]) + self.weights[-1].view(-1, 1, 1)
        size = [max(1, side * downscale // 2) for side in cells.shape[2:]]
        smooth = torch.nn.functional.interpolate(cells, size, mode="bilinear", align_corners=False)
        return Image(smooth.clamp(0, 1).movedim(1, -1).contiguous())


def preview_of(ctx: Context, model: Model) -> Callable[[Tensor], Image] | None:
    """Return what makes a preview of scaled latents [B, C, h, w]; None without previews, or if no VAE is known."""
    if not ctx.shows_previews:
        return None
    if model.info["preview"]:
        return partial(_decoded, ctx, model)
    ctx.preview_maps.wanted.add(latents_of(model))
    found = map_for(ctx, model)
    return None if found is None else partial(_mapped, found, model)


def _decoded(ctx: Context, model: Model, latent: Tensor) -> Image:
    whole = Latent(unscaled(latent, model.info), downscale=model.info["downscale"])
    return decode(ctx, vae_beside(model.model_kind, model.files, model.info), whole)


def _mapped(found: PreviewMap, model: Model, latent: Tensor) -> Image:
    return found.picture(unscaled(latent, model.info), model.info["downscale"])


def map_for(ctx: Context, model: Model) -> PreviewMap | None:
    """Return the map for a model: that of the VAE in its own file, else that of the VAE that fits best.

    A VAE fits if it has the model's kind of latents. If several do, one whose latents have the scale that the model
    expects, to within a factor of 1.4, is preferred, then the one used last.
    """
    own, best, least = model.files[0].sha256, None, math.inf
    for sha256, record in ctx.preview_maps.newest():
        found = _read(record, model)
        if found is None:
            continue
        if sha256 == own:
            return found
        distance = round(abs(math.log2(found.deviation * _scale(model.info))))
        if distance < least:
            best, least = found, distance
    return best


def _read(record: Mapping[str, Any], model: Model) -> PreviewMap | None:
    """Return the map of a record; None if it is of other latents, or no map could be fitted."""
    import torch

    if record.get("latents") != latents_of(model) or record.get("weights") is None:
        return None
    return PreviewMap(torch.tensor(record["weights"], dtype=torch.float32), float(record["deviation"]))


def _scale(info: Mapping[str, Any]) -> float:
    """Return the geometric mean of a model's scaling factors."""
    factor = info["scaling_factor"]
    factors = factor if isinstance(factor, list) else [factor]
    return math.exp(sum(math.log(abs(one)) for one in factors) / len(factors))


def learn_colours(ctx: Context, vae: Vae) -> None:
    """Fit the map of a VAE if previews need it and none was fitted before. Running out of memory skips it."""
    maps = ctx.preview_maps
    if not (ctx.shows_previews and latents_of(vae) in maps.wanted and vae.info.get("encodes", True)):
        return
    if maps.use(vae.files[0].sha256):
        return
    try:
        latents, colours = _pairs(ctx, vae)
    except (RuntimeError, MemoryError, OutOfMemoryError) as error:
        if not isinstance(error, OutOfMemoryError) and not is_out_of_memory(error):
            raise
        return
    found = fitted(latents, colours)
    more = {} if found is None else {"weights": found.weights.tolist(), "deviation": found.deviation}
    maps.put(vae.files[0].sha256, {"latents": latents_of(vae), "weights": None, **more})


def _pairs(ctx: Context, vae: Vae) -> tuple[Tensor, Tensor]:
    """Return latents [N, C] and mean colours [N, 3] of the cells of the pictures. Encodes one picture at a time."""
    import torch

    latents, colours = [], []
    with ctx.load(vae) as (model,):
        for picture in pictures():
            ctx.check()
            pixels = (picture[None] * 2 - 1).to(model.device, model.dtype)
            mean = model.encode(pixels).latent_dist.mean[0].float().cpu()
            latents.append(mean.flatten(1).T)
            colours.append(torch.nn.functional.adaptive_avg_pool2d(picture, mean.shape[1:]).flatten(1).T)
    return torch.cat(latents), torch.cat(colours)


def pictures() -> Tensor:
    """Return the pictures that maps are fitted to, float32 [16, 3, 128, 128] in 0..1: half blocks, half gradients."""
    import torch

    drawn = torch.Generator().manual_seed(0)
    blocks = torch.rand(PICTURES, 3, BLOCKS, BLOCKS, generator=drawn)
    sharp, soft = blocks.split(PICTURES // 2)
    grow = partial(torch.nn.functional.interpolate, size=(SIDE, SIDE))
    return torch.cat([grow(sharp, mode="nearest"), grow(soft, mode="bilinear", align_corners=False)])


def fitted(latents: Tensor, colours: Tensor) -> PreviewMap | None:
    """Fit colours [N, 3] to latents [N, C] by ridge regression, in float64. None if the latents are not finite."""
    import torch

    if not latents.isfinite().all():
        return None
    x, y = latents.double(), colours.double()
    centre, mean = x.mean(0), y.mean(0)
    deviation = float(x.std(0).mean().clamp_min(1e-12))
    moved = x - centre
    ridge = torch.eye(x.shape[1], dtype=x.dtype) * (RIDGE * len(x) * deviation**2)
    weights = torch.linalg.solve(moved.T @ moved + ridge, moved.T @ (y - mean))
    return PreviewMap(torch.cat([weights, (mean - centre @ weights)[None]]).float(), deviation)
