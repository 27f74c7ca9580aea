"""From weights in a file to a module: what goes where, and the module put together without a second copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentloom.engine.errors import FileError

if TYPE_CHECKING:
    from torch import Tensor


SCALES = (".scale_weight", ".weight_scale", ".weight_scale_2", ".comfy_quant", ".weight.absmax", ".SCB")
"""What stands beside a packed weight: scaled fp8 and int8 of ComfyUI, nvfp4, and bitsandbytes."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Where a weight of a module comes from: a tensor of a file, or a part or another form of it."""

    source: str
    third: int | None = None  # which third of its rows
    transposed: bool = False
    rows: tuple[int, int] | None = None  # from the first on, up to the second


class Weights:
    """The tensors of safetensors files, by name, mapped into memory and never read as a whole."""

    def __init__(self, *paths: Path) -> None:
        """Raises FileError for a file that safetensors refuses."""
        from safetensors import SafetensorError, safe_open

        self.paths = paths
        self.taken: set[str] = set()
        self._files = {}
        for path in paths:
            try:
                file = safe_open(path, framework="pt")
            except SafetensorError as error:
                raise FileError(f"'{path.name}' is a damaged safetensors file", got=str(error)) from None
            self._files |= dict.fromkeys(file.keys(), file)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def __getitem__(self, name: str) -> Tensor:
        return self._files[name].get_tensor(name)

    def keys(self) -> list[str]:
        """The names of all tensors."""
        return list(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        return tuple(self._files[name].get_slice(name).get_shape())

    def take(self, piece: Piece) -> Tensor:
        """The tensor that a piece means."""
        self.taken.add(piece.source)
        tensor = self[piece.source]
        if piece.third is not None:
            tensor = tensor.chunk(3)[piece.third]
        if piece.rows is not None:
            tensor = tensor[slice(*piece.rows)]
        return tensor.T if piece.transposed else tensor


def assemble(
    build: Callable[[], Any],
    pieces: Callable[[list[str]], Mapping[str, Piece]],
    weights: Weights,
    part: str,
) -> Any:
    """The module that `build` makes, with weights from files, in eval mode and without gradients.

    Weights stay where they are, in the file. Raises FileError for weights that are missing, have another shape or are
    not finite; `part` names the module in it.
    """
    with _unfilled():
        module = build()
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    wanted = pieces(list(shapes))
    where = f"the {part} of '{weights.paths[0].name}'"
    _check_present(where, shapes, wanted, weights)
    _check_packed(where, wanted, weights)
    state = {name: _placed(where, weights, wanted[name], shape) for name, shape in shapes.items()}
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


def _unfilled() -> Any:
    """A context in which memory that waits for weights is none, while what a module computes for itself (positions,
    frequencies) is real: no file holds it.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class Unfilled(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            more = {"device": "meta"} if function is torch.empty else {}
            return function(*args, **{**(kwargs or {}), **more})

    return Unfilled()


def _check_present(where: str, shapes: Mapping[str, Any], wanted: Mapping[str, Piece], weights: Weights) -> None:
    missing = [name for name in shapes if name not in wanted or wanted[name].source not in weights]
    if missing:
        first = wanted[missing[0]].source if missing[0] in wanted else missing[0]
        raise FileError(
            f"{where} lacks weights",
            expected=f"{len(shapes)} weights",
            got=f"{len(shapes) - len(missing)}; the first that is missing is '{first}'",
        )


def _check_packed(where: str, wanted: Mapping[str, Piece], weights: Weights) -> None:
    """Raise FileError for weights that count only together with scales, as quantised files have them."""
    sources = {piece.source.removesuffix(".weight") for piece in wanted.values() if piece.source.endswith(".weight")}
    scales = [name for source in sources for end in SCALES if (name := source + end) in weights]
    if scales:
        raise FileError(
            f"{where} is packed, with scales that Latentloom does not read",
            expected="bf16, fp16, fp32, or fp8 without scales",
            got=f"{len(scales)} tensors of scales, e.g. '{min(scales)}'",
        )


def _placed(where: str, weights: Weights, piece: Piece, shape: tuple[int, ...]) -> Tensor:
    tensor = weights.take(piece)
    if piece.source.endswith(".weight") and not tensor.is_floating_point():
        raise FileError(
            f"{where} has weights that are no floating-point numbers",
            expected="bf16, fp16, fp32, or fp8 without scales",
            got=f"{str(tensor.dtype).removeprefix('torch.')} in '{piece.source}'",
        )
    if tuple(tensor.shape) != shape:
        tensor = _reshaped(where, tensor, piece, shape)
    if not _finite(tensor):
        raise FileError(
            f"{where} holds numbers that are not finite",
            expected="finite weights",
            got=f"NaN or infinity in '{piece.source}'",
            hint="the file is damaged",
        )
    return tensor


def _finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite; those of one byte are told by their bits (Micikevicius et al. 2022)."""
    import torch

    first_bad = {torch.float8_e4m3fn: 0x7F, torch.float8_e5m2: 0x7C}.get(tensor.dtype)
    if first_bad is not None:
        parts = tensor.view(torch.uint8).flatten().split(2**22)
        return all(int((part & 0x7F).max()) < first_bad for part in parts)
    low, high = torch.aminmax(tensor)
    return bool(torch.isfinite(low) and torch.isfinite(high))


def _reshaped(where: str, tensor: Tensor, piece: Piece, shape: tuple[int, ...]) -> Tensor:
    """A 1x1 convolution as a linear layer and the other way; nothing else changes shape."""
    found = tuple(tensor.shape)
    if sorted((len(found), len(shape))) == [2, 4] and found[:2] == shape[:2] and tensor.numel() == shape[0] * shape[1]:
        return tensor.reshape(shape)
    raise FileError(f"{where} has a weight of another shape, '{piece.source}'", expected=str(shape), got=str(found))
