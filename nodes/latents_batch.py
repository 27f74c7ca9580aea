"""Nodes that join latents to a batch and select items of a batch."""

from typing import Annotated

import numpy as np
from pydantic import Field

from latentloom.engine import Latent, Mask, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.drawing.batch import Count, First, Times, picked
from latentloom.nodes.drawing.limits import check_latent


@node("JoinLatents", display_name="Batch of latents", aliases=("LatentBatch", "combine"), category="latents")
def join_latents(
    latents: Annotated[list[Latent], Field(description="Latents of the same size, in order.")],
) -> Latent:
    """Join latents into one batch, so that they are sampled together. A latent's mask applies to its own items only."""
    if not latents:
        raise BadValueError("there are no latents to join", expected="at least one")
    shapes = {(*latent.shape[1:], latent.downscale) for latent in latents}
    if len(shapes) > 1:
        raise BadValueError(
            "the latents have different sizes", got=", ".join(str(list(shape[:3])) for shape in sorted(shapes))
        )
    check_latent(latents[0], sum(latent.shape[0] for latent in latents))
    samples = np.concatenate([latent.numpy() for latent in latents])
    return Latent(samples, _joined_mask(latents), downscale=latents[0].downscale)


def _joined_mask(latents: list[Latent]) -> Mask | None:
    """Join the masks of all items at one size; items without a mask are fully repainted. None if no item has one."""
    sizes = {latent.noise_mask.shape[1:] for latent in latents if latent.noise_mask is not None}
    if not sizes:
        return None
    if len(sizes) > 1:
        raise BadValueError("the latents' masks have different sizes", got=", ".join(map(str, sorted(sizes))))
    (size,) = sizes
    masks = [
        np.ones((1, *size), np.float32) if latent.noise_mask is None else latent.noise_mask.numpy()
        for latent in latents
    ]
    return Mask(
        np.concatenate(
            [np.broadcast_to(mask, (latent.shape[0], *size)) for mask, latent in zip(masks, latents, strict=True)]
        )
    )


@node(
    "PickLatents",
    display_name="Pick latents of a batch",
    aliases=("LatentFromBatch", "select", "index"),
    category="latents",
)
def pick_latents(latents: Latent, first: First = 0, count: Count = 1) -> Latent:
    """Select consecutive items from a batch of latents, with their masks."""
    mask = latents.noise_mask
    if mask is not None and mask.shape[0] > 1:
        mask = Mask(picked(mask.numpy(), first, count))
    return Latent(picked(latents.numpy(), first, count), mask, downscale=latents.downscale)


@node(
    "RepeatLatent",
    display_name="Repeat latent",
    aliases=("RepeatLatentBatch", "batch", "duplicate"),
    category="latents",
)
def repeat_latent(latent: Latent, times: Times = 2) -> Latent:
    """Repeat a latent to form a larger batch, for several variations of one image.

    With noise_rule per_item, each item gets its own noise.
    """
    check_latent(latent, latent.shape[0] * times)
    mask = latent.noise_mask
    if mask is not None and mask.shape[0] > 1:
        mask = Mask(np.tile(mask.numpy(), (times, 1, 1)))
    return Latent(np.tile(latent.numpy(), (times, 1, 1, 1)), mask, downscale=latent.downscale)


NODES = (join_latents, pick_latents, repeat_latent)
