"""A white sheet for figures: lines, dots, boxes and texts in pixels, smoothed by supersampling."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from latentloom.nodes.drawing.labels import plain

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

    from latentloom.engine.types.values import Floats

FINE = 4  # drawn pixels per pixel and axis
INK, GREY, RULE = "#24292f", "#6e7781", "#dfe3e8"
Point = tuple[float, float]
Align = Literal["left", "middle", "right"]


class Sheet:
    """A figure to draw on. Coordinates are pixels from the upper left corner, and may be fractional."""

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image as Pil
        from PIL import ImageDraw

        self._size = width, height
        self._canvas = Pil.new("RGB", (width * FINE, height * FINE), "white")
        self._pen = ImageDraw.Draw(self._canvas)

    def line(self, points: Sequence[Point], colour: str, width: float = 1) -> None:
        """Draw a line through points."""
        self._pen.line(_fine(points), fill=colour, width=round(width * FINE), joint="curve")

    def dot(self, at: Point, radius: float, colour: str) -> None:
        """Draw a filled circle."""
        x, y = at
        self._pen.ellipse(_fine([(x - radius, y - radius), (x + radius, y + radius)]), fill=colour)

    def box(self, left: float, top: float, width: float, height: float, colour: str) -> None:
        """Draw a filled rectangle."""
        (x0, y0), (x1, y1) = _fine([(left, top), (left + width, top + height)])
        self._pen.rectangle((x0, y0, x1 - 1, y1 - 1), fill=colour)

    def text(self, at: Point, text: str, size: int = 13, colour: str = INK, align: Align = "left") -> None:
        """Draw one line of text; `at` is at the middle of its height, and at its left end, middle or right end."""
        anchor = {"left": "lm", "middle": "mm", "right": "rm"}[align]
        self._pen.text(*_fine([at]), plain(text), fill=colour, font=_font(size * FINE), anchor=anchor)

    def pixels(self) -> "Floats":
        """Return the figure as [1, height, width, 3] floats."""
        from PIL import Image as Pil

        small = self._canvas.resize(self._size, Pil.Resampling.BOX)
        return np.asarray(small, dtype=np.float32)[None] / np.float32(255)


def text_width(text: str, size: int = 13) -> float:
    """Return the width of a text in pixels."""
    return _font(size * FINE).getlength(plain(text)) / FINE


def _font(size: int) -> "FreeTypeFont | ImageFont":
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _fine(points: Sequence[Point]) -> list[Point]:
    return [(x * FINE, y * FINE) for x, y in points]
