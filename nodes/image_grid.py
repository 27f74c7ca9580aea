"""ImageGrid: many pictures on one sheet."""

import math
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from latentloom.engine import Image, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.drawing.labels import ink, label_height
from latentloom.nodes.drawing.limits import check_size

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

DARK, LIGHT = np.float32(0.08), np.float32(0.95)


@node("ImageGrid", category="image")
def image_grid(
    images: Annotated[list[Image], Field(description="All images of all batches, row by row.")],
    columns: Annotated[int, Field(ge=0, le=1000, description="Images per row; 0 makes the grid nearly square.")] = 0,
    gap: Annotated[int, Field(ge=0, le=512, description="Margin around and between images, in pixels.")] = 8,
    background: Annotated[float, Field(ge=0, le=1, description="Grey level: 0 is black, 1 is white.")] = 1.0,
    labels: Annotated[
        list[str] | None, Field(description="One label for each image, written above it. An empty text draws no label.")
    ] = None,
) -> Image:
    """Arrange images on one sheet, with an optional label above each.

    All cells have the size of the widest and the tallest image; smaller images are centred. Transparent images show the
    background. Labels are drawn in plain Latin letters; other characters become "?".
    """
    pictures = [pixels for image in images for pixels in image.numpy()]
    texts = _texts(labels, len(pictures))
    columns = min(columns, len(pictures)) or math.ceil(math.sqrt(len(pictures)))
    width, height = (max(picture.shape[side] for picture in pictures) for side in (1, 0))
    rows = [texts[start : start + columns] for start in range(0, len(texts), columns)]
    heads = [label_height(row, width) for row in rows]
    size = columns * (width + gap) + gap, sum(heads) + len(rows) * (height + gap) + gap
    check_size(*size)
    sheet = np.full((size[1], size[0], 3), background, np.float32)
    for n, (picture, text) in enumerate(zip(pictures, texts, strict=True)):
        row, left = n // columns, gap + n % columns * (width + gap)
        top = gap + sum(heads[: row + 1]) + row * (height + gap)
        _write(sheet[top - heads[row] : top, left : left + width], text, background)
        _place(sheet[top : top + height, left : left + width], picture)
    return Image(sheet[None])


def _texts(labels: list[str] | None, count: int) -> list[str]:
    if count == 0:
        raise BadValueError("there are no pictures for a grid", expected="at least one")
    if labels and len(labels) != count:
        raise BadValueError("there must be one label for each picture", expected=str(count), got=str(len(labels)))
    return labels or [""] * count


def _write(band: "Floats", text: str, background: float) -> None:
    if text:
        colour = DARK if background > 0.4 else LIGHT
        band += (colour - band) * ink(text, band.shape[1], band.shape[0])[..., None]


def _place(cell: "Floats", picture: "Floats") -> None:
    """Place a picture in the middle of its cell."""
    height, width = picture.shape[:2]
    top, left = (cell.shape[0] - height) // 2, (cell.shape[1] - width) // 2
    under = cell[top : top + height, left : left + width]
    alpha = picture[..., 3:] if picture.shape[2] == 4 else np.float32(1)
    under += (picture[..., :3] - under) * alpha


NODES = (image_grid,)
