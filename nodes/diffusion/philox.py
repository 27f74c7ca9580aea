"""Reproduces on any machine the normal random numbers that PyTorch draws on a CUDA device.

Philox4x32-10 is the counter-based generator of Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3". Its
first two words are converted to a normal number by the Box-Muller formula, as in cuRAND. The device uses one random
stream per thread, so each element of a tensor has its own stream if the tensor has at most as many elements as the
device has threads (about 250,000). For larger tensors the numbers depend on the device.
"""

from collections.abc import Sequence
from math import pi, prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

_FACTORS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_WORD = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


class CudaGenerator:
    """Draws the same numbers as torch.Generator("cuda").manual_seed(seed)."""

    def __init__(self, seed: int) -> None:
        self._seed, self._calls = seed, 0

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Draw the next tensor of standard normal numbers, float32 on the CPU."""
        first, second = _words(self._seed, self._calls, prod(shape))
        self._calls += 1
        radius = np.sqrt(-2 * np.log(_unit(first)))
        return torch.from_numpy((radius * np.sin(2 * pi * _unit(second))).astype(np.float32).reshape(shape))


def _unit(word: Any) -> Any:
    """Convert 32-bit words to 0..1: the middle of each of the 2^32 intervals."""
    return (word.astype(np.float64) + 0.5) / 2**32


def _words(seed: int, call: int, count: int) -> tuple[Any, Any]:
    """Return the first two words that Philox generates from the counter (call, element), for each element."""
    a = np.full(count, call, np.uint64)
    b, d = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
    c = np.arange(count, dtype=np.uint64)
    keys = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(_ROUNDS):
        left, right = a * np.uint64(_FACTORS[0]), c * np.uint64(_FACTORS[1])
        a, b = (right >> _HALF) ^ b ^ np.uint64(keys[0]), right & _WORD
        c, d = (left >> _HALF) ^ d ^ np.uint64(keys[1]), left & _WORD
        keys = [(key + step) & 0xFFFFFFFF for key, step in zip(keys, _WEYL, strict=True)]
    return a, b
