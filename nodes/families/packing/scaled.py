"""Decoders for fp8 and int8 with scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

DTYPES = {
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I8": torch.int8,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
}
_E4M3_BIAS = 2.0**120  # between the exponents of e4m3 (bias 7) and bfloat16 (bias 127)


@dataclass(frozen=True, slots=True)
class Scaled:
    """Numbers [rows, ...], mostly of one byte, with an optional scale: [] for all numbers, or [rows] for each row.

    With `rotated`, groups of that many columns were multiplied by a regular Hadamard matrix before rounding (ConvRot,
    comfy-kitchen). The same matrix reverses it.
    """

    rotated: int = 0

    def rows(self, parts: Sequence[Tensor], first: int, last: int, dtype: torch.dtype) -> Tensor:
        """See `Decoder.rows`. Rotation of integers is exact, so the result does not depend on the order of sums."""
        packed = parts[0][first:last].flatten(1)
        if dtype is torch.bfloat16 and _is_direct(packed, *parts[1:]):
            return _bfloat16(packed, *parts[1:])
        numbers = _numbers(packed)
        if self.rotated:
            numbers = unrotated(numbers, self.rotated)
        if len(parts) == 1:
            return numbers
        scale = parts[1].float()
        return numbers.mul_(scale[first:last, None] if scale.ndim else scale)

    def sliced(self, parts: Sequence[Tensor], first: int, last: int) -> tuple[Tensor, ...]:
        """See `Decoder.sliced`."""
        scales = [scale[first:last] if scale.ndim else scale for scale in parts[1:]]
        return (parts[0][first:last], *scales)

    def finite(self, parts: Sequence[Tensor]) -> bool:
        """Whether all numbers and scales are finite."""
        return all(map(finite, parts))


def _numbers(packed: Tensor) -> Tensor:
    """Convert numbers to float32, in new memory.

    e4m3 is converted by way of bfloat16's bits, because torch's own conversion is ten times slower on a CPU.
    """
    if packed.dtype is torch.float8_e4m3fn:
        return _small(packed).float().mul_(_E4M3_BIAS)
    if packed.dtype is torch.float8_e5m2:
        return packed.view(torch.uint8).to(torch.int16).bitwise_left_shift_(8).view(torch.float16).float()
    return packed.to(torch.float32, copy=True)


def _is_direct(packed: Tensor, *scales: Tensor) -> bool:
    """Whether `_bfloat16` applies. Other devices would round the scale to bfloat16, or wait for its value."""
    host = packed.device.type == "cpu" and packed.dtype is torch.float8_e4m3fn
    return host and not any(scale.ndim for scale in scales)


def _bfloat16(packed: Tensor, scale: Tensor | None = None) -> Tensor:
    """Convert e4m3 to bfloat16 with one scale: torch multiplies in float32 and rounds once, without a float32 copy."""
    factors = [_E4M3_BIAS] if scale is None else [_E4M3_BIAS, float(scale)]
    if scale is not None and abs(float(scale)) < 1:  # their product is finite
        factors = [_E4M3_BIAS * float(scale)]
    numbers = _small(packed)
    for factor in factors:
        numbers = numbers.mul_(factor)
    return numbers


def _small(packed: Tensor) -> Tensor:
    """Convert e4m3 to bfloat16 in new memory, divided by `_E4M3_BIAS`: the bits of both are in the same order."""
    signed = packed.view(torch.int8).to(torch.int16)
    return signed.bitwise_left_shift_(4).bitwise_and_(-0x8000 | 0x07F0).view(torch.bfloat16)


def unrotated(numbers: Tensor, group: int) -> Tensor:
    """Multiply each group of columns of [rows, columns] by the regular Hadamard matrix of its size, a power of 4.

    The matrix is a Kronecker product, so two small matrices suffice: one within parts of a group, one across parts.
    """
    low = 4 ** (round(log(group, 4)) // 2)
    parts = (numbers.reshape(-1, low) @ hadamard(low, numbers.device)).view(-1, group // low, low)
    return torch.matmul(hadamard(group // low, numbers.device), parts).view(numbers.shape)


def hadamard(size: int, device: torch.device | None = None) -> Tensor:
    """Return the regular Hadamard matrix of size 4^n, divided by its size's root: symmetric, and its own inverse."""
    four = 0.5 - torch.eye(4).flip(1)
    made = torch.ones(1, 1)
    for _ in range(round(log(size, 4))):
        made = torch.kron(made, four)
    return made.to(device)


def finite(numbers: Tensor) -> bool:
    """Whether all numbers are finite; one-byte formats are checked by their bits (Micikevicius et al. 2022).

    This needs no temporary memory, of which the heap would keep a part for each of a file's weights. A sign bit makes
    a byte negative as int8 and 0x80 larger as uint8, so the two maxima are of the numbers above and below zero.
    """
    first_bad = {torch.float8_e4m3fn: 0x7F, torch.float8_e5m2: 0x7C}.get(numbers.dtype)
    if first_bad is not None:
        positive, negative = int(numbers.view(torch.int8).max()), int(numbers.view(torch.uint8).max())
        return positive < first_bad and negative < 0x80 + first_bad
    low, high = torch.aminmax(numbers)
    return bool(torch.isfinite(low) and torch.isfinite(high))
