"""Prints tables: fitted to the screen on a terminal, otherwise aligned and never truncated."""

import sys
from collections.abc import Sequence

from latentloom.cli.errors import plain


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows with column names on stdout."""
    clean = [[plain(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _on_terminal(columns, clean)
        return
    widths = [max(len(row[n]) for row in [columns, *clean]) for n in range(len(columns))]
    for row in [columns, *clean]:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")


def _on_terminal(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def print_lines(lines: Sequence[str]) -> None:
    """Print lines on stdout."""
    sys.stdout.write("".join(f"{plain(line)}\n" for line in lines))


def size_text(count: int) -> str:
    """Return bytes as readable text: 1.5 GiB."""
    number, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if number < 1024:
            break
        number, unit = number / 1024, larger
    return f"{count} B" if unit == "B" else f"{number:.1f} {unit}"
