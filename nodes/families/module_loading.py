"""Loads modules from weight files: maps weights to a module and assembles it without a second copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.header import read_header
from latentloom.nodes.families.packing.gguf_file import is_gguf
from latentloom.nodes.families.packing.gguf_types import BLOCKS
from latentloom.nodes.families.packing.layout import READ, Packing, check_scale

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Piece:
    """The source of a module's weight: a tensor of a file, a part of it, or its transpose."""

    source: str
    third: int | None = None  # the index of a third of its rows
    transposed: bool = False
    rows: tuple[int, int] | None = None  # from the first number to before the second
    beside: tuple[
        str, ...
    ] = ()  # tensors that follow the source along the first axis, or with `stacked` along a new one
    stacked: int | None = None  # the place of that axis


class Weights:
    """The weights of files by name. They are memory-mapped and never read as a whole; packed ones stay packed."""

    def __init__(self, *paths: Path) -> None:
        """Raises FileError for a file that cannot be read, and for an unsupported packing format."""
        self.paths = paths
        self.taken: set[str] = set()
        self._tensors: dict[str, Callable[[str], Tensor]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._packings: dict[str, Packing] = {}
        for path in paths:
            header = read_header(path)
            read = _reader(path)
            self._tensors |= dict.fromkeys([*header.shapes, *header.layout.beside], read)
            self._shapes |= header.shapes
            self._packings |= header.layout.packings

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor, or a packed weight that is decoded when it is used.

        Raises FileError for a scale that does not fit.
        """
        packing, tensor = self._packings.get(name), self._tensors[name](name)
        return tensor if packing is None else self._packed(name, packing, tensor)

    def _packed(self, name: str, packing: Packing, numbers: Tensor) -> Tensor:
        from latentloom.nodes.families.packing.weight import packed_blocks, packed_numbers

        shape = self._shapes[name]
        if packing.dtype in BLOCKS:
            return packed_blocks(packing, numbers, shape)
        scale = self._tensors[packing.scale](packing.scale) if packing.scale else None
        if scale is not None:
            check_scale(f"'{self.paths[0].name}'", name, packing, shape, tuple(scale.shape))
        return packed_numbers(packing, numbers, scale)

    def keys(self) -> list[str]:
        """Return the names of all weights."""
        return list(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor, without reading it."""
        return self._shapes[name]

    def take(self, piece: Piece) -> Tensor:
        """Return the tensor of a piece. It is packed if its source is packed and the piece is not transposed."""
        self.taken |= {piece.source, *piece.beside}
        if piece.beside:
            return self._joined(piece)
        tensor, rows = self[piece.source], piece.rows
        if piece.third is not None:
            third = tensor.shape[0] // 3
            rows = (piece.third * third, (piece.third + 1) * third)
        if rows is not None:
            tensor = _rows(tensor, *rows)
        return tensor.T if piece.transposed else tensor

    def _joined(self, piece: Piece) -> Tensor:
        """Join several tensors in memory; packed ones are decoded."""
        import torch

        found = [self[name] for name in (piece.source, *piece.beside)]
        plain = [tensor.packed.decoded(torch.float32) if hasattr(tensor, "packed") else tensor for tensor in found]
        return torch.cat(plain) if piece.stacked is None else torch.stack(plain, piece.stacked)


def _reader(path: Path) -> Callable[[str], Tensor]:
    """Return a function that returns a file's memory-mapped tensors by name. Raises FileError."""
    from safetensors import SafetensorError, safe_open

    if is_gguf(path):
        from latentloom.nodes.families.packing.gguf_tensors import GgufTensors

        return GgufTensors(path)
    try:
        file: Any = safe_open(path, framework="pt")
    except SafetensorError as error:
        raise FileError(f"'{path.name}' is a damaged safetensors file", got=str(error)) from None
    read: Callable[[str], Tensor] = file.get_tensor
    return read


def _rows(tensor: Tensor, first: int, last: int) -> Tensor:
    packed = getattr(tensor, "packed", None)
    return tensor[first:last] if packed is None else type(tensor)(packed.rows(first, last))


def assemble(
    build: Callable[[], Any],
    pieces: Callable[[list[str]], Mapping[str, Piece]],
    weights: Weights,
    part: str,
) -> Any:
    """Build a module with `build` and weights from files, in eval mode and without gradients.

    Weights stay mapped from the file. Raises FileError for weights that are missing, have another shape or are not
    finite; `part` is the module's name in the error.
    """
    with _unfilled():
        module = build()
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    wanted = pieces(list(shapes))
    where = f"the {part} of '{weights.paths[0].name}'"
    _check_present(where, shapes, wanted, weights)
    state = {name: _placed(where, weights, wanted[name], shape) for name, shape in shapes.items()}
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


def _unfilled() -> Any:
    """A context in which `torch.empty` allocates no memory, because weights replace its result.

    Tensors that a module computes itself (positions, frequencies) are real, because no file holds them.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class Unfilled(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            more = {"device": "meta"} if function is torch.empty else {}
            return function(*args, **{**(kwargs or {}), **more})

    return Unfilled()


def _check_present(where: str, shapes: Mapping[str, Any], wanted: Mapping[str, Piece], weights: Weights) -> None:
    def lacking(name: str) -> list[str]:
        piece = wanted.get(name, Piece(name))
        return [source for source in (piece.source, *piece.beside) if source not in weights or name not in wanted]

    missing = [name for name in shapes if lacking(name)]
    if missing:
        first = lacking(missing[0])[0]
        raise FileError(
            f"{where} lacks weights",
            expected=f"{len(shapes)} weights",
            got=f"{len(shapes) - len(missing)}; the first that is missing is '{first}'",
        )


def _placed(where: str, weights: Weights, piece: Piece, shape: tuple[int, ...]) -> Tensor:
    tensor = weights.take(piece)
    if piece.source.endswith(".weight") and not tensor.is_floating_point():
        raise FileError(
            f"{where} has weights that are not floating-point numbers",
            expected=READ,
            got=f"{str(tensor.dtype).removeprefix('torch.')} in '{piece.source}'",
        )
    if tuple(tensor.shape) != shape:
        tensor = _reshaped(where, tensor, piece, shape)
    if not _finite(tensor):
        raise FileError(
            f"{where} contains numbers that are not finite",
            expected="finite weights",
            got=f"NaN or infinity in '{piece.source}'{_beside(tensor)}",
            hint="the file is damaged",
        )
    return tensor


def _finite(tensor: Tensor) -> bool:
    """Whether no number, and no scale of a packed weight, is NaN or infinite."""
    from latentloom.nodes.families.packing.scaled import finite

    packed = getattr(tensor, "packed", None)
    return finite(tensor) if packed is None else packed.decoder.finite(packed.parts)


def _beside(tensor: Tensor) -> str:
    return " or its scale" if len(tensor.packed.parts if hasattr(tensor, "packed") else ()) > 1 else ""


def _reshaped(where: str, tensor: Tensor, piece: Piece, shape: tuple[int, ...]) -> Tensor:
    """Add or leave out axes of length 1 behind the first two, or give a table that is stored flat its rows.

    A 1x1 convolution has such axes. Raises FileError for other differences in shape.
    """
    found = tuple(tensor.shape)
    longer = [[side for side in sides[2:] if side > 1] for sides in (found, shape)]
    even = min(len(found), len(shape)) >= 2 and found[:2] == shape[:2] and longer[0] == longer[1]
    if even or (len(found) == 1 and found[0] == prod(shape)):
        packed = getattr(tensor, "packed", None)
        return tensor.reshape(shape) if packed is None else type(tensor)(packed.reshaped(shape))
    raise FileError(f"{where} has a weight of a different shape, '{piece.source}'", expected=str(shape), got=str(found))
