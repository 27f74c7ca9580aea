"""What is learnt from, made once before the loop: latents of pictures and the conditions of their captions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentloom.engine import Clip, Cond, Conditioning, Context, Image, Latent, Model, Vae
from latentloom.nodes.diffusion.conditions import check_conditioning
from latentloom.nodes.diffusion.prediction import stacked
from latentloom.nodes.diffusion.vae import check_vae, encode
from latentloom.nodes.families.denoiser import Denoiser, Told
from latentloom.nodes.families.latent_scale import scaled
from latentloom.nodes.learning.dataset import Dataset
from latentloom.nodes.text.entry import entry_of

AT_ONCE = 8  # pictures that are encoded together


@dataclass(frozen=True, slots=True)
class Pictures:
    """Scaled latents [1, C, h, w] of pictures, with their captions and repeats."""

    latents: tuple[Tensor, ...]
    captions: tuple[str, ...]
    repeats: tuple[int, ...]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the latents."""
        return [tuple(latent.shape) for latent in self.latents]


def encoded(ctx: Context, vae: Vae, model: Model, dataset: Dataset) -> Pictures:
    """Encode the pictures of a data set. Raises BadValueError if the VAE does not fit the model."""
    check_vae(vae, model)
    made: dict[int, Tensor] = {}
    groups: dict[tuple[int, ...], list[int]] = {}
    for n, item in enumerate(dataset.items):
        groups.setdefault(item.pixels.shape, []).append(n)
    for group in groups.values():
        for start in range(0, len(group), AT_ONCE):
            ctx.progress(len(made), len(dataset), message="encoding the pictures")
            chosen = group[start : start + AT_ONCE]
            pixels = np.stack([dataset.items[n].pixels for n in chosen]).astype(np.float32) / np.float32(255)
            latents = scaled(encode(ctx, vae, Image(pixels)).tensor(), model.info)
            made |= {n: latent[None].clone() for n, latent in zip(chosen, latents, strict=True)}
    items = dataset.items
    captions, repeats = tuple(item.caption for item in items), tuple(item.repeats for item in items)
    return Pictures(tuple(made[n] for n in range(len(items))), captions, repeats)


def read(ctx: Context, clip: Clip, texts: Iterable[str]) -> dict[str, Cond]:
    """Encode texts as they are, without a grammar."""
    with ctx.load(clip) as (reader,):
        return {text: entry_of(clip, reader.read(text, "plain")) for text in dict.fromkeys(texts)}


@dataclass(slots=True)
class Conditions:
    """The inputs of the network for texts. Entries are given, or read anew at each step while the encoder learns."""

    model: Model
    denoiser: Denoiser
    put: Callable[[Tensor], Tensor]
    entry: Callable[[str], Cond]
    known: dict[tuple[str, tuple[int, ...]], Mapping[str, Tensor]] | None = field(default_factory=dict)
    """None: an entry changes from step to step."""

    def of(self, texts: Sequence[str], latents: Tensor) -> Mapping[str, Tensor]:
        """Return the inputs for latents [B, C, h, w], one text for each."""
        shape = tuple(latents.shape[1:])
        found = stacked([self._one(text, shape) for text in texts], 1)
        assert found is not None, "texts of one encoder have one shape"
        return found

    def _one(self, text: str, shape: tuple[int, ...]) -> Mapping[str, Tensor]:
        if self.known is not None and (text, shape) in self.known:
            return self.known[text, shape]
        entry, downscale = self.entry(text), self.model.info["downscale"]
        told = Told(self.model.info, (1, *shape), downscale, self.put, lambda mask: mask)
        made = self.denoiser.tells(entry, told)
        if self.known is not None:
            check_conditioning(self.model, Latent(torch.zeros(1, *shape), downscale=downscale), Conditioning([entry]))
            self.known[text, shape] = made
        return made


def no_residuals(*_: Any, **__: Any) -> dict[str, Any]:
    """Return what no ControlNet adds."""
    return {}
