"""Nodes that put pictures next to each other: on a sheet, or edge to edge."""

import math
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from latentloom.engine import Advanced, Image, Widget, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.drawing.blend import parts
from latentloom.nodes.drawing.colours import colour_of
from latentloom.nodes.drawing.labels import font_size, ink, label_height, label_width
from latentloom.nodes.drawing.limits import check_size
from latentloom.nodes.drawing.resize import Size, resize

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

DARK, LIGHT = np.float32(0.08), np.float32(0.95)


@node(
    "ImageGrid",
    display_name="Image grid",
    aliases=(
        *("ImageGridComposite2x2", "ImageGridComposite3x3", "Create Grid Image from Batch"),
        *("contact sheet", "xy plot", "montage", "collage"),
    ),
    category="image",
)
def image_grid(
    images: Annotated[list[Image], Field(description="All images of all batches, row by row.")],
    columns: Annotated[int, Field(ge=0, le=1000, description="Images per row; 0 makes the grid nearly square.")] = 0,
    gap: Annotated[
        int, Field(ge=0, le=512, description="Margin around and between images, in pixels."), Advanced()
    ] = 8,
    background: Annotated[
        float, Field(ge=0, le=1, description="Grey level: 0 is black, 1 is white."), Advanced()
    ] = 1.0,
    labels: Annotated[
        list[str] | None, Field(description="One label for each image, written above it. An empty text draws no label.")
    ] = None,
    column_labels: Annotated[
        list[str] | None, Field(description="One heading for each column, written above the first row."), Advanced()
    ] = None,
    row_labels: Annotated[
        list[str] | None, Field(description="One heading for each row, written to its left."), Advanced()
    ] = None,
) -> Image:
    """Arrange images on one sheet, with an optional label above each, and headings of columns and rows.

    All cells have the size of the widest and the tallest image; smaller images are centred. Transparent images show the
    background. Labels are drawn in plain Latin letters; other characters become "?".
    """
    pictures = [pixels for image in images for pixels in image.numpy()]
    texts = _texts(labels, len(pictures), "picture")
    columns = min(columns, len(pictures)) or math.ceil(math.sqrt(len(pictures)))
    width, height = (max(picture.shape[side] for picture in pictures) for side in (1, 0))
    rows = [texts[start : start + columns] for start in range(0, len(texts), columns)]
    heads = [label_height(row, width) for row in rows]
    above, beside = _texts(column_labels, columns, "column"), _texts(row_labels, len(rows), "row")
    first, side = label_height(above, width), label_width(beside, width)
    size = side + columns * (width + gap) + gap, first + sum(heads) + len(rows) * (height + gap) + gap
    check_size(*size)
    sheet = np.full((size[1], size[0], 3), background, np.float32)
    lefts = [side + gap + column * (width + gap) for column in range(columns)]
    tops = [first + gap + sum(heads[: row + 1]) + row * (height + gap) for row in range(len(rows))]
    for left, text in zip(lefts, above, strict=True):
        _write(sheet[gap : gap + first, left : left + width], text, background)
    for top, text in zip(tops, beside, strict=True):
        _write_beside(sheet[top : top + height, gap // 2 : gap // 2 + side], text, background, width)
    for n, (picture, text) in enumerate(zip(pictures, texts, strict=True)):
        row, left = n // columns, lefts[n % columns]
        _write(sheet[tops[row] - heads[row] : tops[row], left : left + width], text, background)
        _place(sheet[tops[row] : tops[row] + height, left : left + width], picture)
    return Image(sheet[None])


def _texts(labels: list[str] | None, count: int, what: str) -> list[str]:
    if count == 0:
        raise BadValueError("there are no pictures for a grid", expected="at least one")
    if labels and len(labels) != count:
        raise BadValueError(f"there must be one label for each {what}", expected=str(count), got=str(len(labels)))
    return labels or [""] * count


def _write(band: "Floats", text: str, background: float, size: int | None = None) -> None:
    if text:
        colour = DARK if background > 0.4 else LIGHT
        band += (colour - band) * ink(text, band.shape[1], band.shape[0], size)[..., None]


def _write_beside(band: "Floats", text: str, background: float, width: int) -> None:
    """Write a text in the middle of the height of a band beside pictures of a width."""
    high = min(band.shape[0], label_height([text], width))
    top = (band.shape[0] - high) // 2
    _write(band[top : top + high], text, background, font_size(width))


def _place(cell: "Floats", picture: "Floats") -> None:
    """Place a picture in the middle of its cell."""
    height, width = picture.shape[:2]
    top, left = (cell.shape[0] - height) // 2, (cell.shape[1] - width) // 2
    under = cell[top : top + height, left : left + width]
    alpha = picture[..., 3:] if picture.shape[2] == 4 else np.float32(1)
    under += (picture[..., :3] - under) * alpha


@node(
    "ImageStitch",
    display_name="Images side by side",
    aliases=("ImageConcatMulti", "concatenate", "concat", "hstack", "vstack", "join"),
    category="image",
)
def image_stitch(
    image: Image,
    other: Image,
    side: Annotated[
        Literal["right", "below", "left", "above"],
        Field(description="Side of the first image where the other one is added."),
    ] = "right",
    match_size: Annotated[
        bool,
        Field(
            description="Resize the other image to the length of the common edge. If off, the shorter one gets a "
            "border."
        ),
    ] = True,
    gap: Annotated[int, Field(ge=0, le=1024, description="Gap between the images in pixels.")] = 0,
    colour: Annotated[
        str, Widget("colour"), Field(max_length=40, description="Colour of the gap and the border, as #rrggbb.")
    ] = "#ffffff",
) -> Image:
    """Join two images edge to edge. The last image of the shorter batch is repeated.

    Images of different lengths are centred along the edge. If one has transparency, the result has it too.
    """
    first, second = image.numpy(), other.numpy()
    along = 2 if side in ("below", "above") else 1  # the axis of the common edge
    if match_size:
        second = _matched(second, along, first.shape[along])
    batch, edge = (max(first.shape[axis], second.shape[axis]) for axis in (0, along))
    across = 3 - along
    check_size(*_stitched(first.shape, second.shape, along, gap), batch=batch)
    channels = 4 if 4 in (first.shape[3], second.shape[3]) else 3
    fill = np.float32([*colour_of(colour), 1.0][:channels])
    pieces = [_bordered(_repeated(pixels, batch, channels), along, edge, fill) for pixels in (first, second)]
    pieces = pieces if side in ("right", "below") else pieces[::-1]
    between = np.broadcast_to(fill, [gap if axis == across else n for axis, n in enumerate(pieces[0].shape)])
    return Image(np.concatenate([pieces[0], between, pieces[1]], axis=across))


def _matched(pixels: "Floats", along: int, length: int) -> "Floats":
    """Resize pictures [B, H, W, C] in their own shape so that one axis has a length."""
    other = max(1, round(pixels.shape[3 - along] * length / pixels.shape[along]))
    return resize(pixels, Size(length, other) if along == 2 else Size(other, length), "lanczos")


def _stitched(first: tuple[int, ...], second: tuple[int, ...], along: int, gap: int) -> tuple[int, int]:
    """Return width and height of the result."""
    edge, across = max(first[along], second[along]), first[3 - along] + second[3 - along] + gap
    return (edge, across) if along == 2 else (across, edge)


def _repeated(pixels: "Floats", batch: int, channels: int) -> "Floats":
    if pixels.shape[3] < channels:
        pixels = np.concatenate(parts(pixels), axis=3)
    return np.concatenate([pixels, np.repeat(pixels[-1:], batch - len(pixels), axis=0)])


def _bordered(pixels: "Floats", along: int, length: int, fill: "Floats") -> "Floats":
    """Place pictures in the middle of a longer edge."""
    if pixels.shape[along] == length:
        return pixels
    shape = [length if axis == along else n for axis, n in enumerate(pixels.shape)]
    made = np.broadcast_to(fill, shape).copy()
    start = (length - pixels.shape[along]) // 2
    made[(slice(None),) * along + (slice(start, start + pixels.shape[along]),)] = pixels
    return made


NODES = (image_grid, image_stitch)
