"""Reference pictures of a conditioning: further tokens of a transformer, each picture at its own size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from latentloom.nodes.families.denoiser import Told
from latentloom.nodes.families.latent_scale import scaled
from latentloom.nodes.families.tokens import whole

if TYPE_CHECKING:
    from torch import Tensor

    from latentloom.engine.types.values import Cond

PREFIX = "reference."


def told_references(entry: Cond, told: Told) -> dict[str, Tensor]:
    """Return the scaled latents of an entry's reference pictures by name, [B, 1, C, h, w]: no maps of the picture."""
    names = sorted(name for name in entry.arrays if name.startswith(PREFIX))
    return {name: told.put(scaled(entry.arrays[name].tensor(), told.info).unsqueeze(1)) for name in names}


def references(condition: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the reference pictures of a condition in their order, [B, C, h, w], padded to whole tokens."""
    return [whole(condition[name][:, 0]) for name in condition if name.startswith(PREFIX)]
