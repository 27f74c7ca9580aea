"""The normal numbers that PyTorch draws on a CUDA card, made on any machine.

Philox4x32-10 is the counter-based generator of Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3"; its
two first words become a normal number by Box and Muller's formula, as in cuRAND. A card gives each element of a tensor
a stream of its own, up to as many elements as it has threads (some 250,000); beyond, what it draws depends on the card.
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
    """What torch.Generator("cuda").manual_seed(seed) draws."""

    def __init__(self, seed: int) -> None:
        self._seed, self._calls = seed, 0

    def normal(self, shape: Sequence[int]) -> Tensor:
        """The next tensor of standard normal numbers, float32 on the CPU."""
        first, second = _words(self._seed, self._calls, prod(shape))
        self._calls += 1
        radius = np.sqrt(-2 * np.log(_unit(first)))
        return torch.from_numpy((radius * np.sin(2 * pi * _unit(second))).astype(np.float32).reshape(shape))


def _unit(word: Any) -> Any:
    """The middle of the word's place among the 2^32 in 0..1."""
    return (word.astype(np.float64) + 0.5) / 2**32


def _words(seed: int, call: int, count: int) -> tuple[Any, Any]:
    """The first two words that Philox makes of the counter (call, element), for each element."""
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
