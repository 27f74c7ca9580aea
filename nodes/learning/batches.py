"""The order in which pictures are learnt from: batches of one shape, drawn from the seed and the number of the step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Batches:
    """Passes over pictures in random order. In each pass, a picture comes at least as often as its repeats."""

    def __init__(
        self, shapes: Sequence[tuple[int, ...]], repeats: Sequence[int], size: int, seed: Sequence[int]
    ) -> None:
        """`size` is the number of pictures in a batch; a batch is filled with pictures of the same shape again."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for n, shape in enumerate(shapes):
            groups.setdefault(shape, []).extend([n] * repeats[n])
        self._groups = list(groups.values())
        self._size, self._seed = size, list(seed)
        self.per_pass = sum(-(-len(group) // size) for group in self._groups)
        self._pass, self._order = -1, list[list[int]]()

    def at(self, step: int) -> list[int]:
        """Return the pictures of a step by number."""
        number, place = divmod(step, self.per_pass)
        if number != self._pass:
            self._pass, self._order = number, self._ordered(np.random.default_rng([*self._seed, number]))
        return self._order[place]

    def _ordered(self, rng: np.random.Generator) -> list[list[int]]:
        made = []
        for group in self._groups:
            shuffled = rng.permutation(group).tolist()
            for start in range(0, len(shuffled), self._size):
                found = shuffled[start : start + self._size]
                while len(found) < self._size:
                    found += rng.permutation(group).tolist()[: self._size - len(found)]
                made.append(found)
        return [made[n] for n in rng.permutation(len(made))]
