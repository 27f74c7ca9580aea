"""Loads pictures with captions as a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latentloom.engine import Context, InputFile
from latentloom.engine.errors import BadValueError, FileError, LoomError
from latentloom.engine.files.picture_sets import pictures_in, read_set
from latentloom.engine.files.pictures import read_pixels, to_bytes
from latentloom.nodes.drawing.resize import Size
from latentloom.nodes.learning.buckets import bucket_of, filling, opaque
from latentloom.nodes.learning.dataset import Dataset, Item, check_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from latentloom.engine.types.values import Floats

SHOWN = 3


def load_set(ctx: Context, folder: InputFile, caption: str, side: int, repeats: int, *, square: bool) -> Dataset:
    """Read a folder or ZIP file. Pictures without a caption get `caption`.

    Raises FileError for pictures that cannot be read, which it names, and BadValueError for too many of them.
    """
    found = read_set(Path(folder.path))
    check_bytes(len(found.captions), len(found.captions) * side * side * 3)
    if found.others:
        ctx.warn("dataset_left_out", f"{_named(found.others)} of '{folder.name}': neither a picture nor its caption")
    if found.uncaptioned and not caption:
        raise BadValueError(
            f"{len(found.uncaptioned)} of {len(found.captions)} pictures have no caption",
            expected="NAME.txt next to each picture, metadata.jsonl, or 'caption'",
            got=_named(found.uncaptioned),
        )
    pictures = _Pictures(ctx, side, square=square)
    with pictures_in(Path(folder.path)) as path_of:
        for n, name in enumerate(found.captions):
            ctx.progress(n, len(found.captions), message=name)
            pictures.read(name, path_of)
    made = pictures.done(folder.name)
    return Dataset([Item(made[name], said or caption, repeats) for name, said in found.captions.items()])


def fitted(pixels: Floats, side: int, *, square: bool) -> Floats:
    """Bring a picture [H, W, C] to the size of its bucket, or to a square."""
    size = Size(side, side) if square else bucket_of(Size(pixels.shape[1], pixels.shape[0]), side)
    return filling(opaque(pixels), size)


class _Pictures:
    """Reads pictures, and collects what is wrong with them, so that all of it is told at once."""

    def __init__(self, ctx: Context, side: int, *, square: bool) -> None:
        self._ctx, self._side, self._square = ctx, side, square
        self._made: dict[str, np.ndarray] = {}
        self._faults: dict[str, str] = {}
        self._small: list[str] = []
        self._colours: list[str] = []

    def read(self, name: str, path_of: Callable[[str], Path]) -> None:
        """Read one picture."""
        try:
            pixels, fault = read_pixels(path_of(name))
        except LoomError as error:
            self._faults[name] = error.problem.message
            return
        made = fitted(pixels, self._side, square=self._square)
        if pixels.shape[0] < made.shape[0] or pixels.shape[1] < made.shape[1]:
            self._small.append(name)
        if fault is not None:
            self._colours.append(name)
        self._made[name] = to_bytes(np.clip(made, 0, 1))

    def done(self, title: str) -> dict[str, np.ndarray]:
        """Return the pictures by name. Raises FileError if some could not be read."""
        if self._faults:
            raise FileError(
                f"{len(self._faults)} of the pictures in '{title}' cannot be read",
                got=f"{_named(self._faults)}: {next(iter(self._faults.values()))}",
                hint="remove them, or save them again",
            )
        if self._small:
            self._ctx.warn("dataset_enlarged", f"{_named(self._small)}: smaller than {self._side} pixels, and enlarged")
        if self._colours:
            self._ctx.warn("colour_profile", f"{_named(self._colours)}: the colour profile cannot be used")
        return self._made


def _named(names: object) -> str:
    """Return a count with the first names."""
    found = list(names)  # type: ignore[call-overload]
    shown = ", ".join(f"'{name}'" for name in found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")
    return f"{len(found)} file{'s' * (len(found) != 1)} ({shown})"
