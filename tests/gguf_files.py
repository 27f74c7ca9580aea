"""GGUF files for tests, written by the package `gguf`."""

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type

PLAIN = {torch.float32: Type.F32, torch.float16: Type.F16, torch.bfloat16: Type.BF16}


def write_gguf(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    format: str = "F32",
    architecture: str = "pig",
    numbers: Mapping[str, int] = {},
) -> None:
    """Matrices whose rows are whole blocks in a format, everything else as float32; `numbers` are of its metadata."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in numbers.items():
        writer.add_uint32(key, value)
    writer.add_array("tokenizer.ggml.tokens", ["a", "bc", "def"] * 9)
    writer.add_array("some.numbers", list(range(100)))
    kind = Type[format]
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    for name, tensor in tensors.items():
        plain = np.ascontiguousarray(tensor.float().numpy())
        if tensor.ndim == 2 and tensor.shape[1] % block == 0:
            writer.add_tensor(name, gguf.quants.quantize(plain, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, plain)
    close(writer)


def write_blocks(path: Path, blocks: Mapping[str, tuple[np.ndarray, str]]) -> None:
    """Tensors as bytes in some formats."""
    writer = gguf.GGUFWriter(path, "pig")
    for name, (raw, format) in blocks.items():
        writer.add_tensor(name, raw, raw_dtype=Type[format])
    close(writer)


def close(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def random_blocks(format: str, rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Rows of blocks with any bits, but for their scales, which are finite."""
    from latentloom.nodes.families.packing.gguf_types import BLOCKS

    block, random = BLOCKS[format], np.random.default_rng(seed)
    made = random.integers(0, 256, (rows * columns // block.numbers, block.nbytes), dtype=np.uint8)
    for start in block.scales:
        made[:, start : start + 2] = random.standard_normal((len(made), 1)).astype(np.float16).view(np.uint8)
    return made.reshape(rows, -1)
