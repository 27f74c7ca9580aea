"""Nodes that measure pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
from pydantic import Field

from latentloom.engine import Context, Image, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.drawing.colour_difference import mean_delta_e
from latentloom.nodes.drawing.similarity import WINDOW, psnr, ssim
from latentloom.nodes.drawing.table import Row, as_text

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

HEADING = ("picture", "PSNR", "SSIM", "delta E")


class ComparedPictures(NamedTuple):
    """Means over the compared pictures, a table with a row for each of them, and their differences."""

    psnr: float
    ssim: float
    delta_e: float
    table: str
    difference: Image


@node(
    "ComparePictures",
    display_name="Compare pictures",
    aliases=("PSNR", "SSIM", "CIEDE2000", "difference", "similarity", "metrics"),
    category="measure",
)
def compare_pictures(
    ctx: Context,
    image: Image,
    reference: Annotated[Image, Field(description="What the images are compared with: one for all, or one for each.")],
    gain: Annotated[float, Field(ge=1, le=255, description="Factor that makes small differences visible.")] = 1.0,
) -> ComparedPictures:
    """Measure how far images are from reference images of the same size, and show where.

    `psnr` is the peak signal-to-noise ratio in dB; it is 100 for identical pictures. `ssim` is the structural
    similarity (Wang et al. 2004) of the luma, 1 for identical pictures. `delta_e` is the mean colour difference
    CIEDE2000; about 1 is just visible. Transparent pictures are compared on white. `difference` is the absolute
    difference multiplied by `gain`.
    """
    _check_sizes(image, reference)
    ours, theirs = np.broadcast_arrays(_on_white(image), _on_white(reference))
    found = []
    for n, (first, second) in enumerate(zip(ours, theirs, strict=True), 1):
        found.append((psnr(first, second), ssim(first, second, ctx.check), mean_delta_e(first, second, ctx.check)))
        ctx.progress(n, len(ours))
    means = [float(mean) for mean in np.mean(found, axis=0)]
    rows = [_row(str(n), figures) for n, figures in enumerate(found, 1)]
    text = as_text(HEADING, rows, "PSNR in dB; delta E is the mean CIEDE2000")
    difference = (np.abs(ours - theirs) * np.float32(gain)).clip(0, 1)
    return ComparedPictures(*means, text, Image(difference))


def _check_sizes(image: Image, reference: Image) -> None:
    """Raise BadValueError for batches or sizes that differ, and for pictures smaller than the window of SSIM."""
    size, wanted = (f"{picture.shape[2]}x{picture.shape[1]}" for picture in (image, reference))
    if size != wanted:
        raise BadValueError("the pictures have different sizes", expected=wanted, got=size)
    if min(image.shape[1:3]) < WINDOW:
        expected = f"at least {WINDOW} pixels a side"
        raise BadValueError("the pictures are too small to be compared", expected=expected, got=size)
    if 0 in (len(image), len(reference)):
        raise BadValueError("there are no pictures to compare", expected="at least one", got="none")
    if len({len(image), len(reference)} - {1}) > 1:
        counts = f"{len(image)} and {len(reference)}"
        raise BadValueError("the batches have different lengths", expected="one reference, or one for each", got=counts)


def _on_white(image: Image) -> Floats:
    """Return [B, H, W, 3] pixels, with transparent pictures on a white ground."""
    pixels = image.numpy()
    if pixels.shape[3] == 3:
        return pixels
    alpha = pixels[..., 3:]
    return pixels[..., :3] * alpha + (1 - alpha)


def _row(name: str, figures: tuple[float, float, float]) -> Row:
    psnr, ssim, delta_e = figures
    return Row((name, f"{psnr:.2f}", f"{ssim:.4f}", f"{delta_e:.2f}"))


NODES = (compare_pictures,)
