"""Computes with a VAE, and again in float32 if it overflows in float16, as the original VAE of SDXL does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from latentloom.engine import Context, Patch, Vae

if TYPE_CHECKING:
    from torch import Tensor


def without_overflow(ctx: Context, vae: Vae, compute: Callable[[Vae], Tensor]) -> Tensor:
    """Return `compute(vae)`. If it is not finite and the VAE uses float16, return the result in float32, and warn."""
    found = compute(vae)
    if found.isfinite().all() or not _narrow(ctx, vae):
        return found
    wide = compute(vae.patched(Patch("precision", {"dtype": "fp32"})))
    if wide.isfinite().all():
        ctx.borrower.warn_once(
            "vae_overflow",
            f"the VAE '{vae.files[0].name}' overflows in fp16 and was computed again in fp32; "
            "VAEPrecision (fp32 or bf16) before it saves the first attempt",
        )
    return wide


def _narrow(ctx: Context, vae: Vae) -> bool:
    import torch

    with ctx.load(vae) as (model,):
        return bool(model.dtype == torch.float16)
