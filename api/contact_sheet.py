"""Contact sheets: the pictures of several runs on one picture, with labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from latentloom.engine.files.pictures import encode_png, read_picture
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.values import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif")


def contact_sheet(pictures: Sequence[tuple[str, Image]], columns: int, registry: Registry) -> bytes:
    """Return labelled pictures in a grid, as PNG; with 0 columns, about as many as rows. Raises BadValueError."""
    grid = registry.nodes["ImageGrid"].definition().function
    sheet = grid(images=[picture for _, picture in pictures], columns=columns, labels=[label for label, _ in pictures])
    return encode_png(sheet.numpy()[0])


def label_of(inputs: Mapping[str, Any]) -> str:
    """Return the values of one run as text."""
    return ", ".join(f"{name} {value}" for name, value in inputs.items())


def is_picture(name: str | PurePath) -> bool:
    """Whether a saved file can stand on a sheet."""
    return PurePath(name).suffix.lower() in SUFFIXES


def picture_in(path: Path) -> Image:
    """Return the picture in a file. Raises FileError."""
    return Image(np.asarray(read_picture(path).convert("RGB"), np.float32)[None] / np.float32(255))
