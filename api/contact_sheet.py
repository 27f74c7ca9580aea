"""Contact sheets: the pictures of several runs on one picture, with labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from latentloom.engine.files.encoding import PictureToSave, encode
from latentloom.engine.files.labels import SourceType, joint, label_in, packet
from latentloom.engine.files.pictures import read_picture
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.values import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif")


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """A picture, the inputs of its run, and the digital source type that it is labelled with."""

    inputs: Mapping[str, Any]
    picture: Image
    origin: SourceType | None


def contact_sheet(cells: Sequence[Cell], columns: int, registry: Registry) -> bytes:
    """Return pictures in a grid, as PNG; with 0 columns, about as many as rows. Raises BadValueError.

    The values of the inputs stand at the head of columns and rows if they change along them, else above each picture.
    """
    grid = registry.nodes["ImageGrid"].definition().function
    texts = headings([cell.inputs for cell in cells], columns) or {"labels": [label_of(cell.inputs) for cell in cells]}
    sheet = grid(images=[cell.picture for cell in cells], columns=columns, **texts)
    return encode(PictureToSave(sheet.numpy()[0]), {}, packet(joint([cell.origin for cell in cells])))


def headings(runs: Sequence[Mapping[str, Any]], columns: int) -> dict[str, list[str]] | None:
    """Return the labels of the columns and rows of a full table of runs; None if an input changes along neither."""
    if columns < 2 or len(runs) <= columns or len(runs) % columns:
        return None
    top, left = runs[:columns], runs[::columns]
    across = {name for name in top[0] if any(run.get(name) != top[0][name] for run in top)}
    for n, run in enumerate(runs):
        column, row = top[n % columns], left[n // columns]
        if run.keys() != top[0].keys() or any(run[name] != (column if name in across else row)[name] for name in run):
            return None
    return {
        "column_labels": [label_of({name: run[name] for name in run if name in across}) for run in top],
        "row_labels": [label_of({name: run[name] for name in run if name not in across}) for run in left],
    }


def label_of(inputs: Mapping[str, Any]) -> str:
    """Return the values of one run as text."""
    return ", ".join(f"{name} {value}" for name, value in inputs.items())


def is_picture(name: str | PurePath) -> bool:
    """Whether a saved file can stand on a sheet."""
    return PurePath(name).suffix.lower() in SUFFIXES


def cell_of(inputs: Mapping[str, Any], path: Path) -> Cell:
    """Return a cell with the picture in a file. Raises FileError."""
    picture = read_picture(path)
    pixels = np.asarray(picture.convert("RGB"), np.float32)[None] / np.float32(255)
    return Cell(inputs, Image(pixels), label_in(picture).origin)
