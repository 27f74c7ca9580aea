"""Nodes that make and change latents."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from latentloom.engine import Advanced, Latent, Mask, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.directions import resize_by_direction
from latentloom.nodes.diffusion.latent_mask import CellRule, even_in_cells
from latentloom.nodes.drawing.limits import check_size

Pixels = Annotated[int, Field(ge=8, le=16384, multiple_of=8, description="In pixels of the decoded image.")]
PixelsOr0 = Annotated[
    int, Field(ge=0, le=16384, multiple_of=8, description="In pixels of the decoded image; 0 keeps the aspect ratio.")
]
Method = Annotated[
    Literal["nearest", "bilinear", "bicubic", "area", "bislerp"],
    Field(
        description="Interpolation between latent cells. bislerp turns the vectors of cells from one to the "
        "next, which keeps their length and so more contrast than bilinear."
    ),
]


@node(
    "EmptyLatent",
    display_name="Empty latent",
    aliases=(
        "EmptyLatentImage",
        "EmptyFlux2LatentImage",
        "EmptySD3LatentImage",
        "size",
        "width",
        "height",
        "batch",
        "txt2img",
    ),
    category="latents",
)
def empty_latent(
    width: Pixels = 512,
    height: Pixels = 512,
    batch: Annotated[int, Field(ge=1, le=1024, description="Number of images in the batch.")] = 1,
) -> Latent:
    """Create an empty latent for images of width x height pixels, the start of text-to-image."""
    check_size(width, height, batch)
    return Latent(np.zeros((batch, 4, height // 8, width // 8), np.float32))


@node(
    "LatentUpscale",
    display_name="Resize latent",
    aliases=("LatentUpscaleBy", "upscale", "hires fix", "scale"),
    category="latents",
)
def latent_upscale(
    latent: Latent,
    width: PixelsOr0 = 1024,
    height: PixelsOr0 = 1024,
    method: Annotated[Method, Advanced()] = "bilinear",
    factor: Annotated[float, Field(ge=0.01, le=8, description="Scale factor; used if width and height are 0.")] = 1,
) -> Latent:
    """Resize a latent to width x height pixels, or by a factor, for a second pass at a larger size.

    If one side is 0, it follows from the aspect ratio. If both are 0, `factor` is used.
    """
    import torch

    size = _cells(latent, width, height, factor)
    check_size(size[1] * latent.downscale, size[0] * latent.downscale, latent.shape[0])
    if method == "bislerp":
        samples = resize_by_direction(latent.tensor(), *size)
        return Latent(samples, latent.noise_mask, downscale=latent.downscale)
    smooth, mode = method in ("bilinear", "bicubic"), {"nearest": "nearest-exact"}.get(method, method)  # no half shift
    samples = torch.nn.functional.interpolate(
        latent.tensor(), size, mode=mode, **({"align_corners": False} if smooth else {})
    )
    return Latent(samples, latent.noise_mask, downscale=latent.downscale)


def _cells(latent: Latent, width: int, height: int, factor: float) -> tuple[int, int]:
    """Return height and width in cells. Raises BadValueError if both a size and a factor are given."""
    if (width or height) and factor != 1:
        raise BadValueError("a size and a factor cannot be combined", got=f"{width}x{height} and factor {factor:g}")
    high, wide = latent.shape[2:]
    step = latent.downscale
    if not (width or height):
        return max(1, round(high * factor)), max(1, round(wide * factor))
    width, height = width or round(height * wide / high), height or round(width * high / wide)
    return max(1, height // step), max(1, width // step)


@node(
    "LatentBlend", display_name="Blend latents", aliases=("LatentInterpolate", "mix", "interpolate"), category="latents"
)
def latent_blend(
    a: Latent,
    b: Latent,
    amount: Annotated[float, Field(ge=0, le=1, description="Interpolation weight: 0 is a alone, 1 is b alone.")] = 0.5,
) -> Latent:
    """Interpolate between two latents of the same size: 0 is a, 1 is b.

    A single latent is blended with every item of the other batch.
    """
    if a.shape[1:] != b.shape[1:] or (a.shape[0] != b.shape[0] and 1 not in (a.shape[0], b.shape[0])):
        raise BadValueError("the latents have different sizes", expected=str(list(a.shape)), got=str(list(b.shape)))
    return Latent(a.numpy() + (b.numpy() - a.numpy()) * np.float32(amount), a.noise_mask, downscale=a.downscale)


@node(
    "SetLatentMask",
    display_name="Set latent mask",
    aliases=("SetLatentNoiseMask", "inpaint", "noise mask"),
    category="latents",
)
def set_latent_mask(
    latent: Latent,
    mask: Mask,
    resize: Annotated[
        CellRule,
        Field(
            description="How the mask is converted to latent cells. area: the masked fraction of a cell. cover: every "
            "cell that the mask touches. bilinear: as in ComfyUI. nearest: as in diffusers."
        ),
        Advanced(),
    ] = "area",
) -> Latent:
    """Set the noise mask of a latent: the sampler repaints only where it is 1. The mask is resized to fit.

    With "cover", every latent cell that the mask touches is repainted; ImageComposite with the same mask then restores
    the image around the mask.
    """
    if mask.shape[0] not in (1, latent.shape[0]):
        raise BadValueError(
            "the mask has a different batch size than the latent",
            expected=f"1 or {latent.shape[0]}",
            got=str(mask.shape[0]),
        )
    if resize != "area":
        mask = Mask(even_in_cells(mask.tensor(), latent.shape[2:], latent.downscale, resize))
    return Latent(latent.numpy(), mask, downscale=latent.downscale)


NODES = (empty_latent, latent_upscale, latent_blend, set_latent_mask)
