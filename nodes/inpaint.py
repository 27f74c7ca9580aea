"""Nodes for inpainting, outpainting and instructions: what they paint on, and how it goes back."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from latentloom.engine import Array, Cond, Conditioning, Context, Image, Latent, Mask, Vae, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.vae import encode
from latentloom.nodes.drawing.limits import check_size
from latentloom.nodes.drawing.resize import Size, resize
from latentloom.nodes.mask import mask_feather

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

Border = Annotated[int, Field(ge=0, le=8192, multiple_of=8, description="Pixels to add on that side.")]
Side = Annotated[int, Field(ge=8, le=16384, multiple_of=8, description="Pixels of the part that is painted on.")]
Region = Annotated[dict[str, Any], Field(description="x, y, width and height of the part, from InpaintCrop.")]
GREY = 0.5


class Padded(NamedTuple):
    """A larger picture, and a mask of what is new in it."""

    image: Image
    mask: Mask


class Prepared(NamedTuple):
    """What a sampler needs to paint into a picture."""

    positive: Conditioning
    negative: Conditioning
    latent: Latent


class Cropped(NamedTuple):
    """The part around a mask, and where it was."""

    image: Image
    mask: Mask
    region: dict[str, Any]


@node("OutpaintPad", category="inpaint")
def outpaint_pad(
    image: Image,
    left: Border = 0,
    top: Border = 0,
    right: Border = 0,
    bottom: Border = 0,
    feather: Annotated[int, Field(ge=0, le=1024, description="How far repainting reaches into the picture.")] = 16,
    fill: Annotated[
        Literal["edge", "grey"], Field(description="What stands in the new part: the picture's edge, or grey.")
    ] = "edge",
) -> Padded:
    """Enlarge a picture on its sides for outpainting, with a mask of what is new.

    The mask is 1 in the new part and falls to 0 over `feather` pixels of the old one, at its sides that were enlarged.
    """
    pixels = image.numpy()
    borders = ((0, 0), (top, bottom), (left, right))
    check_size(pixels.shape[2] + left + right, pixels.shape[1] + top + bottom, pixels.shape[0])
    if fill == "edge":
        made = np.pad(pixels, (*borders, (0, 0)), mode="edge")
    else:
        made = np.pad(pixels, (*borders, (0, 0)), constant_values=GREY)
    mask = np.pad(np.zeros((1, *pixels.shape[1:3]), np.float32), borders, constant_values=1)
    return Padded(Image(made), mask_feather(Mask(mask), feather, "outside"))


@node("InpaintConditioning", category="inpaint", device=True)
def inpaint_conditioning(
    ctx: Context, positive: Conditioning, negative: Conditioning, vae: Vae, image: Image, mask: Mask
) -> Prepared:
    """Prepare an inpainting model of 9 channels: it sees the picture without the masked part, and the mask.

    The latent is the picture with the mask; other models may be given that latent too. A mask of another size is
    resized to the picture. Sides must be multiples of 8.
    """
    size = Size(image.shape[2], image.shape[1])
    fitted = _fitted(mask, size)
    hidden = (fitted > 0.5)[..., None]
    pixels = image.numpy()[..., :3]
    _check_batch(pixels, fitted)
    blank = encode(ctx, vae, Image(np.where(hidden, np.float32(GREY), pixels)))
    arrays = {"concat": Array(blank.numpy()), "concat_mask": Array(fitted)}
    latent = encode(ctx, vae, image)
    return Prepared(
        _with(positive, arrays),
        _with(negative, arrays),
        Latent(latent.numpy(), Mask(fitted), downscale=latent.downscale),
    )


def _check_batch(pixels: "Floats", mask: "Floats") -> None:
    if mask.shape[0] not in (1, pixels.shape[0]):
        raise BadValueError(
            "the mask has another number of items than the picture",
            expected=f"1 or {pixels.shape[0]}",
            got=str(mask.shape[0]),
        )


def _fitted(mask: Mask, size: Size) -> "Floats":
    """A mask at a picture's size."""
    return resize(mask.numpy()[..., None].repeat(3, 3), size, "bilinear")[..., 0]


def _with(conditioning: Conditioning, arrays: dict[str, Array]) -> Conditioning:
    return Conditioning([Cond(e.embedding, e.extra, {**e.arrays, **arrays}) for e in conditioning.entries])


@node("InstructConditioning", category="inpaint", device=True)
def instruct_conditioning(
    ctx: Context, positive: Conditioning, negative: Conditioning, vae: Vae, image: Image
) -> Prepared:
    """Prepare an InstructPix2Pix model of 8 channels: it sees the picture that the instruction is about.

    The latent is an empty one of the picture's size. InstructGuidance gives the picture a scale of its own.
    """
    latent = encode(ctx, vae, image)
    arrays = {"concat": Array(latent.numpy())}
    empty = Latent(np.zeros(latent.shape, np.float32), downscale=latent.downscale)
    return Prepared(_with(positive, arrays), _with(negative, arrays), empty)


@node("InpaintCrop", category="inpaint")
def inpaint_crop(
    image: Image,
    mask: Mask,
    width: Side = 512,
    height: Side = 512,
    context: Annotated[int, Field(ge=0, le=4096, description="Pixels of the surroundings to be seen.")] = 64,
) -> Cropped:
    """Cut out what a mask is about, at the size that a model paints best; InpaintStitch puts it back.

    The part reaches `context` pixels beyond the mask, then grows to the shape of width x height as far as the picture
    lets it, and is resized. A mask of another size is resized to the picture.
    """
    pixels = image.numpy()
    fitted = _fitted(mask, Size(pixels.shape[2], pixels.shape[1]))
    _check_batch(pixels, fitted)
    rows, columns = (np.flatnonzero((fitted > 0).any((0, axis))) for axis in (2, 1))
    if not len(rows):
        raise BadValueError("the mask is empty", expected="a part to repaint", got="none")
    left, wide = _span(int(columns[0]) - context, int(columns[-1]) + 1 + context, pixels.shape[2])
    top, high = _span(int(rows[0]) - context, int(rows[-1]) + 1 + context, pixels.shape[1])
    left, wide = _widened(left, wide, round(high * width / height), pixels.shape[2])
    top, high = _widened(top, high, round(wide * height / width), pixels.shape[1])
    part = np.s_[:, top : top + high, left : left + wide]
    size = Size(width, height)
    small = resize(np.ascontiguousarray(pixels[part]), size, "lanczos")
    return Cropped(
        Image(small),
        Mask(_fitted(Mask(np.ascontiguousarray(fitted[part])), size)),
        {"x": left, "y": top, "width": wide, "height": high},
    )


def _span(start: int, end: int, limit: int) -> tuple[int, int]:
    """Start and length of a span, cut to 0..limit."""
    first, last = max(0, start), min(limit, end)
    return first, last - first


def _widened(start: int, length: int, wanted: int, limit: int) -> tuple[int, int]:
    """A span made as long as wanted, about its middle, as far as 0..limit lets it."""
    if wanted <= length:
        return start, length
    long = min(wanted, limit)
    return max(0, min(start - (long - length) // 2, limit - long)), long


@node("InpaintStitch", category="inpaint")
def inpaint_stitch(image: Image, part: Image, mask: Mask, region: Region) -> Image:
    """Put a painted part back into the picture that InpaintCrop cut it from, where that picture's mask is.

    `region` is InpaintCrop's. Outside of the mask the picture stays as it is, bit for bit.
    """
    pixels = image.numpy().copy()
    fitted = _fitted(mask, Size(pixels.shape[2], pixels.shape[1]))
    x, y, width, height = _checked(region, pixels)
    if part.shape[0] not in (1, pixels.shape[0]) or fitted.shape[0] not in (1, pixels.shape[0]):
        raise BadValueError(
            "the part has another number of items than the picture",
            expected=f"1 or {pixels.shape[0]}",
            got=str(part.shape[0]),
        )
    large = resize(part.numpy()[..., :3], Size(width, height), "lanczos")
    where = np.s_[:, y : y + height, x : x + width]
    share = fitted[where][..., None]
    old = pixels[where][..., :3]
    pixels[where][..., :3] = np.where(share > 0, old + (large - old) * share, old)
    return Image(pixels.clip(0, 1))


def _checked(region: dict[str, Any], pixels: "Floats") -> tuple[int, int, int, int]:
    found = [region.get(name) for name in ("x", "y", "width", "height")]
    whole = all(type(value) is int and value >= 0 for value in found)
    if not whole or found[0] + found[2] > pixels.shape[2] or found[1] + found[3] > pixels.shape[1] or 0 in found[2:]:
        raise BadValueError(
            "the region does not lie in the picture",
            expected=f"x, y, width and height within {pixels.shape[2]}x{pixels.shape[1]}",
            got=str(region)[:100],
        )
    x, y, width, height = (int(value) for value in found)
    return x, y, width, height


NODES = (
    outpaint_pad,
    inpaint_conditioning,
    instruct_conditioning,
    inpaint_crop,
    inpaint_stitch,
)
