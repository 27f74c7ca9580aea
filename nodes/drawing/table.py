"""A table as a picture: a heading, a line for each row, and a note below."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latentloom.nodes.drawing.sheet import GREY, INK, RULE, Sheet, text_width

if TYPE_CHECKING:
    from latentloom.engine.types.values import Floats

ROW, MARGIN, GAP = 24, 16, 28
SIZE = 14


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one row, and the colour of its text."""

    cells: tuple[str, ...]
    colour: str = INK


def table(heading: Sequence[str], rows: Sequence[Row], note: str) -> "Floats":
    """Draw a table as wide as its texts; returns [1, H, W, 3] pixels."""
    columns = [[heading[n], *(row.cells[n] for row in rows)] for n in range(len(heading))]
    widths = [max(text_width(cell, SIZE) for cell in column) for column in columns]
    inner = max(sum(widths) + GAP * (len(widths) - 1), text_width(note, 12))
    sheet = Sheet(round(inner) + 2 * MARGIN, ROW * (len(rows) + 2) + 2 * MARGIN)
    lines = [Row(tuple(heading), GREY), *rows]
    for n, line in enumerate(lines):
        if n % 2 == 0 and n > 0:
            sheet.box(MARGIN / 2, MARGIN + n * ROW, inner + MARGIN, ROW, "#f4f6f8")
        left = float(MARGIN)
        for cell, width in zip(line.cells, widths, strict=True):
            sheet.text((left, MARGIN + (n + 0.5) * ROW), cell, SIZE, line.colour)
            left += width + GAP
    sheet.line([(MARGIN / 2, MARGIN + ROW), (inner + MARGIN * 1.5, MARGIN + ROW)], RULE, 1.5)
    sheet.text((MARGIN, MARGIN + (len(lines) + 0.5) * ROW), note, 12, GREY)
    return sheet.pixels()


def as_text(heading: Sequence[str], rows: Sequence[Row], note: str) -> str:
    """Return the same table as plain text, with columns aligned by spaces."""
    lines = [tuple(heading), *(row.cells for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(heading))]
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*texts, note])
