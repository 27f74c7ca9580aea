"""Short texts for pictures, wrapped to a width and rendered as the ink coverage of each pixel."""

import math
import unicodedata
from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

    from latentloom.engine.types.values import Floats

MAX_LINES = 4
LEADING = 1.3  # line height over font size
PLAIN = str.maketrans("‘’“”–—−×", "''\"\"---x")


def font_size(width: int) -> int:
    """Return a font size in pixels that suits a picture of that width."""
    return min(64, max(12, width // 18))


def label_height(texts: list[str], width: int) -> int:
    """Return the height in pixels of the tallest label; 0 if all are empty."""
    lines = max((len(_wrapped(text, width)) for text in texts), default=0)
    return 0 if lines == 0 else round(font_size(width) * LEADING * (lines + 0.4))


def label_width(texts: list[str], width: int) -> int:
    """Return the width in pixels of labels beside pictures, at most that of a picture; 0 if all are empty."""
    font = _font(font_size(width))
    longest = max((font.getlength(line) for text in texts for line in _wrapped(text, width)), default=0.0)
    return min(width, math.ceil(longest) + font_size(width)) if longest else 0


def ink(text: str, width: int, height: int, size: int | None = None) -> "Floats":
    """Render a text to [height, width] floats, centred horizontally at the lower edge.

    `size`: the font size in pixels; None: the one that suits the width.
    """
    from PIL import Image as Pil
    from PIL import ImageDraw

    canvas, size = Pil.new("L", (width, height)), size or font_size(width)
    pen, font, step = ImageDraw.Draw(canvas), _font(size), size * LEADING
    lines = _wrapped(text, width, size)
    for n, line in enumerate(lines):
        middle = height - step * (len(lines) - n - 0.5 + 0.2)
        pen.text((width / 2, middle), line, fill=255, font=font, anchor="mm")
    return np.asarray(canvas, dtype=np.float32) / np.float32(255)


def plain(text: str) -> str:
    """Reduce a text to ASCII, which Pillow's default font always has: accents are removed, others become "?"."""
    bare = unicodedata.normalize("NFKD", text.translate(PLAIN))
    return "".join(c if c.isascii() else "?" for c in bare if not unicodedata.combining(c))


def _font(size: int) -> "FreeTypeFont | ImageFont":
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _wrapped(text: str, width: int, size: int | None = None) -> list[str]:
    """The lines of a text; a text longer than MAX_LINES ends with an ellipsis."""
    font, lines = _font(size or font_size(width)), []
    for paragraph in plain(text[:1000]).splitlines():
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if line and font.getlength(longer) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) > MAX_LINES:
        lines = [*lines[: MAX_LINES - 1], f"{lines[MAX_LINES - 1]} …"]
    return [_shortened(line, width, font) for line in lines]


def _shortened(line: str, width: int, font: "FreeTypeFont | ImageFont") -> str:
    if font.getlength(line) <= width:
        return line
    kept = bisect_right(range(len(line)), width, key=lambda length: math.ceil(font.getlength(f"{line[:length]}…")))
    return f"{line[: kept - 1].rstrip()}…" if kept else "…"
