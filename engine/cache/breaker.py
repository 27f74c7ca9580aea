"""Whether it is worth a try: after a fault nothing is tried for a minute, and then again."""

from collections.abc import Callable
from typing import Literal

PAUSE = 60.0  # seconds
Act = Literal["read", "write"]


class Breaker:
    """Remembers when reading and writing last failed. Where nothing can be read, nothing can be written either."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failed: dict[Act, float] = {}

    def allows(self, act: Act) -> bool:
        """Whether the last fault is long ago, or lies in the future of a clock that was set back."""
        failed = self._failed.get(act)
        return failed is None or not 0 <= self._clock() - failed < PAUSE

    def failed(self, act: Act) -> None:
        """An act failed."""
        now = self._clock()
        self._failed |= {act: now, "write": now}

    def worked(self) -> bool:
        """Something was written; whether it failed before."""
        broken = bool(self._failed)
        self._failed.clear()
        return broken
