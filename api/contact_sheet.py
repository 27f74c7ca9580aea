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
    """A picture, the text below it, and the digital source type that it is labelled with."""

    text: str
    picture: Image
    origin: SourceType | None


def contact_sheet(cells: Sequence[Cell], columns: int, registry: Registry) -> bytes:
    """Return pictures with texts in a grid, as PNG; with 0 columns, about as many as rows. Raises BadValueError."""
    grid = registry.nodes["ImageGrid"].definition().function
    sheet = grid(images=[cell.picture for cell in cells], columns=columns, labels=[cell.text for cell in cells])
    return encode(PictureToSave(sheet.numpy()[0]), {}, packet(joint([cell.origin for cell in cells])))


def label_of(inputs: Mapping[str, Any]) -> str:
    """Return the values of one run as text."""
    return ", ".join(f"{name} {value}" for name, value in inputs.items())


def is_picture(name: str | PurePath) -> bool:
    """Whether a saved file can stand on a sheet."""
    return PurePath(name).suffix.lower() in SUFFIXES


def cell_of(text: str, path: Path) -> Cell:
    """Return a cell with the picture in a file. Raises FileError."""
    picture = read_picture(path)
    pixels = np.asarray(picture.convert("RGB"), np.float32)[None] / np.float32(255)
    return Cell(text, Image(pixels), label_in(picture).origin)
