"""Where a module's weights are in a file of another layout, learnt from diffusers' own converters.

A converter takes tensors by their names in the file and gives them by diffusers' names. It is run over row numbers in
place of weights: what comes out says which rows of which tensor each weight is made of, and no weight is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.header import Shapes
from latentloom.nodes.families.module_loading import Piece

if TYPE_CHECKING:
    from torch import Tensor

Converter = Callable[[dict[str, Any]], Mapping[str, Any]]
_TENSOR = 32  # bits of a row number; the tensor's number is above them


def converted_pieces(convert: Converter, shapes: Shapes, prefix: str = "") -> dict[str, Piece]:
    """By diffusers' name, the rows of a file's tensor. `shapes` are those below `prefix`.

    Raises FileError for a converter that puts a weight together from several places.
    """
    names = list(shapes)
    numbered = {name: _numbers(place, shape) for place, (name, shape) in enumerate(shapes.items())}
    return {
        target: _piece(target, found.flatten(), names, shapes, prefix)
        for target, found in convert(numbered).items()
        if found.numel()
    }


def _numbers(place: int, shape: tuple[int, ...]) -> Tensor:
    """A number for each row, [rows, 1, ...]."""
    import torch

    rows = torch.arange(shape[0] if shape else 1) + (place << _TENSOR)
    return rows.reshape(-1, *[1] * max(0, len(shape) - 1))


def _piece(target: str, rows: Tensor, names: list[str], shapes: Shapes, prefix: str) -> Piece:
    if not (rows.diff() == 1).all():
        raise FileError(f"'{target}' is made of several parts of the file", expected="rows that follow each other")
    first = int(rows[0])
    name, start = names[first >> _TENSOR], first & ((1 << _TENSOR) - 1)
    whole = len(rows) == (shapes[name][0] if shapes[name] else 1)
    return Piece(prefix + name, rows=None if whole else (start, start + len(rows)))
