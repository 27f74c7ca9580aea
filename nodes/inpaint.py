"""Nodes that crop and pad pictures for inpainting, and paste the result back."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from latentloom.engine import Advanced, Image, Mask, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.drawing.blend import blend
from latentloom.nodes.drawing.limits import check_size
from latentloom.nodes.drawing.resize import Size, check_mask_batch, resize, resize_mask
from latentloom.nodes.mask import mask_feather

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

Border = Annotated[int, Field(ge=0, le=8192, multiple_of=8, description="Pixels to add on that side.")]
Side = Annotated[
    int, Field(ge=8, le=16384, multiple_of=8, description="Size of the cropped part after resizing, in pixels.")
]
Region = Annotated[dict[str, Any], Field(description="Position of the part in the image, from InpaintCrop.")]
GREY = 0.5


class Padded(NamedTuple):
    """A larger picture, and a mask of what is new in it."""

    image: Image
    mask: Mask


class Cropped(NamedTuple):
    """The part around a mask, and where it was."""

    image: Image
    mask: Mask
    region: dict[str, Any]


class Span(NamedTuple):
    """A range of pixels along one axis: the part inside the picture, and its extent beyond both edges."""

    start: int
    length: int
    before: int = 0
    after: int = 0


@node(
    "OutpaintPad",
    display_name="Outpaint: pad",
    aliases=("ImagePadForOutpaint", "extend", "expand", "uncrop", "canvas"),
    category="inpaint",
)
def outpaint_pad(
    image: Image,
    left: Border = 0,
    top: Border = 0,
    right: Border = 0,
    bottom: Border = 0,
    feather: Annotated[
        int, Field(ge=0, le=1024, description="Width of the fade into the original image, in pixels.")
    ] = 16,
    fill: Annotated[
        Literal["edge", "grey"],
        Field(description="Initial content of the new area: the edge pixels of the image repeated, or grey."),
    ] = "edge",
    mask: Annotated[Mask | None, Field(description="Additional area of the original image to repaint.")] = None,
    curve: Annotated[
        Literal["ramp", "square"],
        Field(description="Shape of the fade: linear, or by the square of the distance as in ComfyUI."),
        Advanced(),
    ] = "ramp",
) -> Padded:
    """Extend images at their sides for outpainting, with a mask of the new area.

    The mask is 1 in the new area and falls to 0 over `feather` pixels of the original image, along the extended sides.
    """
    pixels = image.numpy()
    borders = ((0, 0), (top, bottom), (left, right))
    check_size(pixels.shape[2] + left + right, pixels.shape[1] + top + bottom, pixels.shape[0])
    made = np.pad(pixels, (*borders, (0, 0)), mode="edge")
    new = np.pad(np.zeros((1, *pixels.shape[1:3]), np.float32), borders, constant_values=1)
    if fill == "grey":
        made = np.where(new[..., None] > 0, np.float32([GREY] * 3 + [1])[: pixels.shape[3]], made)
    soft = mask_feather(Mask(new), feather, "outside") if curve == "ramp" else _squared(new, borders[1:], feather)
    if mask is None:
        return Padded(Image(made), soft)
    old = resize_mask(mask.numpy(), Size(pixels.shape[2], pixels.shape[1]))
    check_mask_batch(pixels, old)
    return Padded(Image(made), Mask(np.maximum(soft.numpy(), np.pad(old, borders))))


def _squared(new: "Floats", borders: tuple[tuple[int, int], ...], feather: int) -> Mask:
    """Return a mask [1, H, W] that falls off with the square of the distance to the nearest side that was enlarged.

    In a picture whose height or width is not above twice `feather`, nothing fades.
    """
    sides = [new.shape[axis] - sum(borders[axis - 1]) for axis in (1, 2)]
    if feather == 0 or 2 * feather >= min(sides):
        return Mask(new)
    near = [np.full(side, np.inf) for side in sides]
    for distance, side, (before, after) in zip(near, sides, borders, strict=True):
        if before:
            distance[:] = np.arange(side)
        if after:
            distance[:] = np.minimum(distance, np.arange(side, 0, -1))
    share = np.clip((feather - np.minimum(near[0][:, None], near[1][None, :])) / feather, 0, 1)
    (top, _), (left, _) = borders
    made = new.copy()
    made[0, top : top + sides[0], left : left + sides[1]] = share**2
    return Mask(made)


@node(
    "InpaintCrop",
    display_name="Inpaint: crop",
    aliases=("InpaintCropImproved", "detailer", "inpaint only masked", "face", "zoom"),
    category="inpaint",
)
def inpaint_crop(
    image: Image,
    mask: Mask,
    width: Side = 512,
    height: Side = 512,
    context: Annotated[int, Field(ge=0, le=4096, description="Margin of context around the mask, in pixels.")] = 64,
    soft: Annotated[
        Literal["picture", "latent"],
        Field(
            description="Where a soft mask is applied. picture: when InpaintStitch pastes the part back, so the model "
            "repaints the whole masked area. latent: during sampling, as DifferentialDiffusion needs it."
        ),
        Advanced(),
    ] = "picture",
) -> Cropped:
    """Crop the area around a mask and resize it to the size that a model works best at. InpaintStitch pastes it back.

    The crop extends `context` pixels beyond the mask, is widened to the aspect ratio of width x height, and is resized.
    If the image is too small for that shape, its edge is repeated. A mask of another size is resized to the image.
    """
    pixels = image.numpy()
    fitted = resize_mask(mask.numpy(), Size(pixels.shape[2], pixels.shape[1]))
    check_mask_batch(pixels, fitted)
    across, down = _spans(fitted, context, width / height)
    size = Size(width, height)
    check_size(*(span.before + span.length + span.after for span in (across, down)), batch=pixels.shape[0])
    small = resize(_cut(pixels, across, down, "edge"), size, "lanczos")
    part = resize_mask(_cut(fitted, across, down, "constant"), size)
    region = {"x": across.start, "y": down.start, "width": across.length, "height": down.length, "soft": soft}
    beyond = {"left": across.before, "right": across.after, "top": down.before, "bottom": down.after}
    return Cropped(
        Image(small),
        Mask(part if soft == "latent" else (part > 0).astype(np.float32)),
        {**region, **{side: pixels for side, pixels in beyond.items() if pixels}},
    )


def _spans(mask: "Floats", context: int, shape: float) -> tuple[Span, Span]:
    """Return the spans to crop, across and down: the mask and its surroundings at an aspect ratio (width / height)."""
    rows, columns = (np.flatnonzero((mask > 0).any((0, axis))) for axis in (2, 1))
    if not len(rows):
        raise BadValueError("the mask is empty", expected="a part to repaint", got="none")
    across, down = (
        _span(int(found[0]) - context, int(found[-1]) + 1 + context, limit)
        for found, limit in ((columns, mask.shape[2]), (rows, mask.shape[1]))
    )
    wide, high = across.length, down.length
    across = _widened(across, max(wide, round(high * shape)), mask.shape[2])
    return across, _widened(down, max(high, round(wide / shape)), mask.shape[1])


def _span(start: int, end: int, limit: int) -> Span:
    """Make a span that is clipped to 0..limit."""
    first, last = max(0, start), min(limit, end)
    return Span(first, last - first)


def _widened(span: Span, wanted: int, limit: int) -> Span:
    """Extend a span around its middle to the wanted length: first within 0..limit, then beyond it on both sides."""
    long = min(wanted, limit)
    start = max(0, min(span.start - (long - span.length) // 2, limit - long))
    before = (wanted - long) // 2
    return Span(start, long, before, wanted - long - before)


def _cut(pixels: "Floats", across: Span, down: Span, beyond: Literal["edge", "constant"]) -> "Floats":
    inside = pixels[:, down.start : down.start + down.length, across.start : across.start + across.length]
    borders = [(0, 0), (down.before, down.after), (across.before, across.after)]
    return np.pad(inside, borders + [(0, 0)] * (pixels.ndim - 3), mode=beyond)


@node(
    "InpaintStitch",
    display_name="Inpaint: stitch",
    aliases=("InpaintStitchImproved", "detailer", "paste back", "uncrop"),
    category="inpaint",
)
def inpaint_stitch(image: Image, part: Image, mask: Mask, region: Region) -> Image:
    """Paste a repainted part back into the image that InpaintCrop cut it from, where that image's mask is not 0.

    `region` comes from InpaintCrop. Outside the mask the image is unchanged, bit for bit. A soft mask is blended here,
    unless InpaintCrop left that to the sampler, so it is never applied twice. Transparent areas become opaque where
    they are repainted.
    """
    pixels = image.numpy().copy()
    fitted = resize_mask(mask.numpy(), Size(pixels.shape[2], pixels.shape[1]))
    across, down = _checked(region, pixels)
    if part.shape[0] not in (1, pixels.shape[0]) or fitted.shape[0] not in (1, pixels.shape[0]):
        raise BadValueError(
            "the part has a different batch size than the picture",
            expected=f"1 or {pixels.shape[0]}",
            got=str(part.shape[0]),
        )
    whole = Size(*(span.before + span.length + span.after for span in (across, down)))
    large = resize(part.numpy(), whole, "lanczos")
    large = large[:, down.before : down.before + down.length, across.before : across.before + across.length]
    where = np.s_[:, down.start : down.start + down.length, across.start : across.start + across.length]
    share = fitted[where][..., None]
    if region.get("soft") != "picture":  # otherwise the sampler has already blended the part with the picture
        share = (share > 0).astype(np.float32)
    pixels[where] = blend(pixels[where], large, share)
    return Image(pixels)


def _checked(region: dict[str, Any], pixels: "Floats") -> tuple[Span, Span]:
    """Return the spans of a region across and down. Raises BadValueError if it is not inside the picture."""
    named = [region.get(name) for name in ("x", "y", "width", "height")]
    named += [region.get(name, 0) for name in ("left", "right", "top", "bottom")]
    whole = all(type(value) is int and 0 <= value <= 2**16 for value in named)
    if not whole or named[0] + named[2] > pixels.shape[2] or named[1] + named[3] > pixels.shape[1] or 0 in named[2:4]:
        raise BadValueError(
            "the region lies outside the picture",
            expected=f"x, y, width and height within {pixels.shape[2]}x{pixels.shape[1]}",
            got=str(region)[:100],
        )
    x, y, width, height, left, right, top, bottom = (int(value) for value in named)
    return Span(x, width, left, right), Span(y, height, top, bottom)


NODES = (outpaint_pad, inpaint_crop, inpaint_stitch)
