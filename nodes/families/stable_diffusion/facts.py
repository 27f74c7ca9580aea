"""The facts that handles carry of a checkpoint's parts, so that nodes need not load them."""

from collections.abc import Mapping, Sequence
from typing import Any

from latentloom.engine import FileIdentity, Vae
from latentloom.nodes.families.stable_diffusion.configs import UNetShape

BETAS = (0.00085, 0.012, 1000)
SMALL_BYTES = 16 * 2**20  # a VAE below this size decodes a preview faster than a step
TITLES = {"sd1": "SD 1.x", "sd2": "SD 2.x", "sdxl": "SDXL", "refiner": "SDXL refiner"}
PARTS = {"unet": "UNet", "clip": "text encoder", "vae": "VAE"}
FAMILIES = {"l": "sd1", "h": "sd2", "g": "refiner", "lg": "sdxl"}  # by the names of text encoders


def unet_facts(
    shape: UNetShape,
    prediction: str,
    *,
    zero_snr: bool,
    size: int,
    preview: bool,
    downscale: int = 8,
    scaling_factor: float | None = None,
    betas: Sequence[float] = BETAS,
) -> dict[str, Any]:
    """Return the facts of a UNet for sampling; docs/models.md explains each."""
    return {
        "family": shape.family,
        "prediction": prediction,
        "zero_snr": zero_snr,
        "betas": list(betas),
        "channels": shape.out,
        "in_channels": shape.channels,
        "size": size,
        "downscale": downscale,
        "scaling_factor": scaling_factor or (0.13025 if shape.vector else 0.18215),
        "context": shape.context,
        "pooled": shape.pooled,
        "time_ids": shape.time_ids,
        "preview": preview,
    }


def vae_facts(downscale: int, channels: int, *, encodes: bool = True) -> dict[str, Any]:
    """Return the facts of a VAE; `encodes` is False for a decoder alone."""
    return {"downscale": downscale, "channels": channels, **({} if encodes else {"encodes": False})}


def about(facts: Mapping[str, Any]) -> str:
    """Return a short description of a file with these facts."""
    family = facts.get("unet", facts.get("clip", {})).get("family", "")
    parts = [title for part, title in PARTS.items() if part in facts]
    what = "checkpoint" if len(parts) == len(PARTS) else " and ".join(parts)
    return f"{TITLES[family]} {what}" if family else what


def clip_facts(names: Sequence[str], widths: Sequence[int], pooled: int) -> Mapping[str, Any]:
    """Return the facts of text encoders; `width` is that of their joint embedding."""
    family = FAMILIES.get("".join(names), "sdxl")
    return {"family": family, "encoders": list(names), "width": sum(widths), "pooled": pooled}


def vae_beside(kind: str, files: Sequence[FileIdentity], info: Mapping[str, Any]) -> Vae:
    """Return the VAE of the checkpoint from which a model with these files and facts was loaded."""
    return Vae(kind, files, {"component": "vae", "downscale": info["downscale"], "channels": info["channels"]})
