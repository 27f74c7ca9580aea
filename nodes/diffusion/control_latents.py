"""The pictures of ControlNets that see latents instead of pixels, as those of most transformers do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from latentloom.engine import Cond, Context, Image, Latent, Model, Vae
from latentloom.nodes.diffusion.control_pictures import picture_of
from latentloom.nodes.diffusion.vae import check_vae, encode
from latentloom.nodes.families.latent_scale import scaled

if TYPE_CHECKING:
    from torch import Tensor


def control_latent(ctx: Context, model: Model, entry: Cond, number: int, latent: Latent) -> Tensor:
    """Return what the ControlNet of the entry's control `number` sees: [B, C, h, w], scaled as the model's latents are.

    An inpaint ControlNet sees the mask as a further channel: 0 where the picture is repainted, 1 elsewhere, nearest
    pixel (diffusers' pipelines for ControlNets with inpainting). Raises BadValueError for the VAE of another model.
    """
    import torch

    record = entry.extra["controls"][number]
    facts, vae = record["handle"]["info"], Vae.join(record["vae"], [])
    check_vae(vae, model)
    height, width = latent.shape[2:]
    size = (height * latent.downscale, width * latent.downscale)
    picture, hole = picture_of(entry, number, size, latent.shape[0])
    found = encode(ctx, vae, Image(picture.movedim(1, -1))).tensor()
    made = scaled(found, _factors(model.info, facts))
    return torch.cat([made, _kept(hole, (height, width), len(made))], dim=1) if facts.get("masked") else made


def _factors(info: Mapping[str, Any], facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the model's factors; some ControlNets were trained on latents that are not shifted."""
    return {**info, "shift_factor": 0} if facts.get("unshifted") else info


def _kept(hole: Tensor | None, cells: tuple[int, int], batch: int) -> Tensor:
    from torch.nn.functional import interpolate

    assert hole is not None
    return 1 - interpolate((hole > 0.5).float(), cells, mode="nearest").expand(batch, -1, -1, -1)
