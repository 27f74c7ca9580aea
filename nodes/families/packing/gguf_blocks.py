"""GGUF blocks: decoders for the formats used in files of denoisers and text encoders.

A row is a sequence of blocks of 32 or 256 numbers, each block with its own scales (ggml, `ggml-quants.c`; MIT). All
computations use float32, in the order of ggml's reference code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentloom.nodes.families.packing.gguf_types import BLOCKS


@dataclass(frozen=True, slots=True)
class Blocks:
    """Rows of blocks as bytes, [rows, bytes of a row]."""

    format: str

    def rows(self, parts: Sequence[Tensor], first: int, last: int, dtype: torch.dtype) -> Tensor:  # noqa: ARG002
        """Decode to float32; see `Decoder.rows`."""
        blocks = parts[0][first:last].reshape(-1, BLOCKS[self.format].nbytes)
        return _DECODERS[self.format](blocks).view(last - first, -1)

    def sliced(self, parts: Sequence[Tensor], first: int, last: int) -> tuple[Tensor, ...]:
        """See `Decoder.sliced`."""
        return (parts[0][first:last],)

    def finite(self, parts: Sequence[Tensor]) -> bool:
        """Whether all block scales are finite; the integers of a block always are."""
        block = BLOCKS[self.format]
        for piece in parts[0].reshape(-1, block.nbytes).split(2**18):
            for start in block.scales:
                if not bool(_halves(piece, start).isfinite().all()):
                    return False
        return True


def _halves(blocks: Tensor, start: int) -> Tensor:
    """Read one fp16 number of each block, as float32 [blocks, 1]."""
    return blocks[:, start : start + 2].contiguous().view(torch.float16).float()


def _nibbles(packed: Tensor) -> Tensor:
    """[n, bytes] -> [n, 2 * bytes]: the low nibbles of all bytes, then the high nibbles."""
    return torch.cat((packed & 0x0F, packed >> 4), dim=1)


def _bits(packed: Tensor, shifts: Sequence[int]) -> Tensor:
    """Shift [n, bytes] to the right by each of `shifts`: [n, shifts, bytes]."""
    return packed.unsqueeze(1) >> torch.tensor(shifts, dtype=torch.uint8, device=packed.device).view(1, -1, 1)


def _q8_0(blocks: Tensor) -> Tensor:
    return _halves(blocks, 0) * blocks[:, 2:].view(torch.int8).float()


def _q4_0(blocks: Tensor) -> Tensor:
    return _halves(blocks, 0) * (_nibbles(blocks[:, 2:]).view(torch.int8) - 8).float()


def _q4_1(blocks: Tensor) -> Tensor:
    return _halves(blocks, 0) * _nibbles(blocks[:, 4:]).float() + _halves(blocks, 2)


def _fifths(packed: Tensor) -> Tensor:
    """The fifth bit of each of 32 numbers, from 4 bytes: [n, 32] of 0 and 16."""
    return (_bits(packed, range(8)).transpose(1, 2).reshape(-1, 32) & 1) << 4


def _q5_0(blocks: Tensor) -> Tensor:
    numbers = _nibbles(blocks[:, 6:]) | _fifths(blocks[:, 2:6])
    return _halves(blocks, 0) * (numbers.view(torch.int8) - 16).float()


def _q5_1(blocks: Tensor) -> Tensor:
    numbers = _nibbles(blocks[:, 8:]) | _fifths(blocks[:, 4:8])
    return _halves(blocks, 0) * numbers.float() + _halves(blocks, 2)


def _scales_and_minima(packed: Tensor) -> tuple[Tensor, Tensor]:
    """Eight scales and eight minima of 6 bits each, from 12 bytes: each [n, 8]."""
    low, middle, high = packed.view(-1, 3, 4).unbind(1)
    scales = torch.cat((low & 0x3F, (high & 0x0F) | ((low >> 2) & 0x30)), dim=1)
    minima = torch.cat((middle & 0x3F, (high >> 4) | ((middle >> 2) & 0x30)), dim=1)
    return scales, minima


def _eighths(blocks: Tensor, numbers: Tensor) -> Tensor:
    """Multiply numbers [n, 8, 32] by the scale of their sub-block and subtract its minimum."""
    scales, minima = _scales_and_minima(blocks[:, 4:16])
    scale, minimum = _halves(blocks, 0) * scales.float(), _halves(blocks, 2) * minima.float()
    return scale.unsqueeze(2) * numbers.float() - minimum.unsqueeze(2)


def _halves_of_32(packed: Tensor) -> Tensor:
    """Unpack 128 bytes to 256 numbers of 4 bits, [n, 8, 32]: for each 32 bytes the low nibbles, then the high ones."""
    groups = packed.reshape(-1, 4, 1, 32)
    return torch.cat((groups & 0x0F, groups >> 4), dim=2).view(-1, 8, 32)


def _q4_k(blocks: Tensor) -> Tensor:
    return _eighths(blocks, _halves_of_32(blocks[:, 16:]))


def _q5_k(blocks: Tensor) -> Tensor:
    fifths = (_bits(blocks[:, 16:48], range(8)) & 1) << 4
    return _eighths(blocks, _halves_of_32(blocks[:, 48:]) | fifths)


def _q6_k(blocks: Tensor) -> Tensor:
    low = _bits(blocks[:, :128].reshape(-1, 64), (0, 4)).view(-1, 8, 32) & 0x0F
    high = (_bits(blocks[:, 128:192].reshape(-1, 32), (0, 2, 4, 6)).view(-1, 8, 32) & 0x03) << 4
    numbers = ((low | high).view(torch.int8) - 32).view(-1, 16, 16)
    scale = _halves(blocks, 208) * blocks[:, 192:208].view(torch.int8).float()
    return scale.unsqueeze(2) * numbers.float()


def _two_bits(packed: Tensor) -> Tensor:
    """Unpack 64 bytes to 256 numbers of 2 bits, [n, 16, 16]."""
    return (_bits(packed.reshape(-1, 32), (0, 2, 4, 6)) & 0x03).reshape(-1, 16, 16)


def _q2_k(blocks: Tensor) -> Tensor:
    scales = blocks[:, :16]
    scale = _halves(blocks, 80) * (scales & 0x0F).float()
    minimum = _halves(blocks, 82) * (scales >> 4).float()
    return scale.unsqueeze(2) * _two_bits(blocks[:, 16:80]).float() - minimum.unsqueeze(2)


def _q3_k(blocks: Tensor) -> Tensor:
    packed = blocks[:, 96:108]
    low = torch.cat((packed[:, :8] & 0x0F, packed[:, :8] >> 4), dim=1)
    high = (_bits(packed[:, 8:], (0, 2, 4, 6)).reshape(-1, 16) & 0x03) << 4
    scale = _halves(blocks, 108) * ((low | high).view(torch.int8) - 32).float()
    third = (_bits(blocks[:, :32], range(8)).reshape(-1, 16, 16) & 1) ^ 1
    numbers = _two_bits(blocks[:, 32:96]).view(torch.int8) - (third << 2).view(torch.int8)
    return scale.unsqueeze(2) * numbers.float()


_DECODERS: dict[str, Callable[[Tensor], Tensor]] = {
    "Q8_0": _q8_0,
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
}
