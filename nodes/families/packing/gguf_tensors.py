"""Memory-mapped tensors of a GGUF file."""

from __future__ import annotations

from math import prod
from pathlib import Path

import torch
from torch import Tensor

from latentloom.nodes.families.packing.gguf_file import read_gguf
from latentloom.nodes.families.packing.gguf_types import BLOCKS

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
}


class GgufTensors:
    """Tensors by name: plain ones as numbers, block formats as bytes. Nothing is read before it is used."""

    def __init__(self, path: Path) -> None:
        """Raises FileError, OSError."""
        self._header = read_gguf(path)
        self._bytes = torch.from_file(str(path), shared=False, size=self._header.size, dtype=torch.uint8)

    def __call__(self, name: str) -> Tensor:
        """Return the tensor of that name."""
        tensor = self._header.tensors[name]
        found = self._bytes[tensor.start : tensor.start + tensor.nbytes]
        if tensor.paired:
            found = _half_apart(found, tensor.shape[0], tensor.paired)
        if tensor.format in BLOCKS:
            return found
        dtype = _DTYPES[tensor.format]
        aligned = found if tensor.start % dtype.itemsize == 0 else found.clone()
        return aligned.view(dtype).view(tensor.shape) if prod(tensor.shape) else torch.empty(tensor.shape, dtype=dtype)


def _half_apart(data: Tensor, rows: int, heads: int) -> Tensor:
    """Return the bytes of rows whose even ones come first in each head, in new memory; see `paired_heads`."""
    return data.view(heads, rows // heads // 2, 2, -1).transpose(1, 2).reshape(-1)
