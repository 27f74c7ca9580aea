"""Nodes that composite and crop latents."""

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from latentloom.engine import Latent, Mask, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.drawing.resize import Size, cropped, resize_mask

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

Place = Annotated[int, Field(ge=0, le=16384, multiple_of=8, description="In pixels of the decoded image.")]
Side = Annotated[int, Field(ge=8, le=16384, multiple_of=8, description="In pixels of the decoded image.")]


@node(
    "LatentComposite", display_name="Composite latents", aliases=("LatentCompositeMasked", "paste"), category="latents"
)
def latent_composite(
    latent: Latent,
    over: Latent,
    x: Place = 0,
    y: Place = 0,
    feather: Annotated[
        int,
        Field(
            ge=0,
            le=1024,
            multiple_of=8,
            description="Width of the fade at edges that lie inside the first latent, in pixels of the decoded image.",
        ),
    ] = 0,
    mask: Annotated[
        Mask | None, Field(description="Where the second latent is used; without a mask, everywhere.")
    ] = None,
) -> Latent:
    """Paste a latent onto another one at x and y. Parts outside are cropped. The first latent's noise mask is kept.

    `mask` belongs to the second latent and is resized to it. A single item is used for every item of a batch.
    """
    if latent.shape[1] != over.shape[1] or latent.downscale != over.downscale:
        raise BadValueError("the latents come from different model families", got=f"{latent.shape} and {over.shape}")
    step = latent.downscale
    left, top = x // step, y // step
    ours = latent.numpy()
    theirs = over.numpy()[:, :, : max(0, ours.shape[2] - top), : max(0, ours.shape[3] - left)]
    if 0 in theirs.shape:
        return latent
    share = _share(theirs.shape[2:], ours.shape[2:], left, top, feather // step)
    if mask is not None:
        fitted = resize_mask(mask.numpy(), Size(over.shape[3], over.shape[2]))
        share = share * fitted[:, None, : theirs.shape[2], : theirs.shape[3]]
    count = max(len(ours), len(theirs), len(share))
    if any(len(part) not in (1, count) for part in (ours, theirs, share)):
        raise BadValueError("the batches have different lengths", got=f"{len(ours)}, {len(theirs)} and {len(share)}")
    made = np.repeat(ours, count // len(ours), axis=0)
    inside = np.s_[:, :, top : top + theirs.shape[2], left : left + theirs.shape[3]]
    made[inside] = theirs * share + made[inside] * (1 - share)
    return Latent(made, latent.noise_mask, downscale=step)


def _share(size: tuple[int, ...], whole: tuple[int, ...], left: int, top: int, feather: int) -> "Floats":
    """Return weights [1, 1, h, w]: 1, with ramps at the edges that are not edges of the other latent."""
    (high, wide), (all_high, all_wide) = size, whole
    down = _ramp(high, feather, first=top > 0, last=top + high < all_high)
    across = _ramp(wide, feather, first=left > 0, last=left + wide < all_wide)
    found: Floats = (down[:, None] * across)[None, None]
    return found


def _ramp(length: int, feather: int, *, first: bool, last: bool) -> "Floats":
    rising = np.minimum(1, np.arange(1, length + 1, dtype=np.float32) / max(1, feather))
    found: Floats = (rising if first else np.ones_like(rising)) * (rising[::-1] if last else np.ones_like(rising))
    return found


@node("LatentCrop", display_name="Crop latent", aliases=("cut",), category="latents")
def latent_crop(latent: Latent, width: Side = 512, height: Side = 512, x: Place = 0, y: Place = 0) -> Latent:
    """Crop latents and their noise masks, in pixels of the decoded image. The rectangle must lie inside."""
    step = latent.downscale
    cells = tuple(value // step for value in (x, y, width, height))
    samples = np.moveaxis(cropped(np.moveaxis(latent.numpy(), 1, 3), *cells), 3, 1)
    mask = latent.noise_mask
    if mask is not None:
        whole = resize_mask(mask.numpy(), Size(latent.shape[3] * step, latent.shape[2] * step))
        mask = Mask(cropped(whole, x, y, width, height))
    return Latent(samples, mask, downscale=step)


NODES = (latent_composite, latent_crop)
