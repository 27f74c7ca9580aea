"""GGUF's tensor types by number, and the block layouts of the supported types (ggml.h; MIT)."""

from typing import NamedTuple


class Block(NamedTuple):
    """The layout of a block: numbers that share scales."""

    numbers: int
    nbytes: int
    scales: tuple[int, ...] = ()  # byte offsets of its fp16 numbers


PLAIN = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I8": 1, "I16": 2, "I32": 4, "I64": 8}  # bytes per number
BLOCKS = {
    "Q4_0": Block(32, 18, (0,)),
    "Q4_1": Block(32, 20, (0, 2)),
    "Q5_0": Block(32, 22, (0,)),
    "Q5_1": Block(32, 24, (0, 2)),
    "Q8_0": Block(32, 34, (0,)),
    "Q2_K": Block(256, 84, (80, 82)),
    "Q3_K": Block(256, 110, (108,)),
    "Q4_K": Block(256, 144, (0, 2)),
    "Q5_K": Block(256, 176, (0, 2)),
    "Q6_K": Block(256, 210, (208,)),
}
TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    6: "Q5_0",
    7: "Q5_1",
    8: "Q8_0",
    9: "Q8_1",
    10: "Q2_K",
    11: "Q3_K",
    12: "Q4_K",
    13: "Q5_K",
    14: "Q6_K",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
    29: "IQ1_M",
    30: "BF16",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
    40: "NVFP4",
    41: "Q1_0",
}


def nbytes_of(format: str, shape: tuple[int, ...]) -> int | None:
    """Return the bytes of a tensor; None if its rows are not whole blocks or the format is not supported."""
    numbers = 1
    for size in shape:
        numbers *= size
    if format in PLAIN:
        return numbers * PLAIN[format]
    block = BLOCKS.get(format)
    if block is None or (shape[-1] if shape else 1) % block.numbers:
        return None
    return numbers // block.numbers * block.nbytes
