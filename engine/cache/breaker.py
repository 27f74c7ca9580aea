"""Circuit breaker: after a failure no access is attempted for a minute."""

from collections.abc import Callable
from typing import Literal

PAUSE = 60.0  # seconds
Act = Literal["read", "write"]


class Breaker:
    """Stores when reading and writing last failed. A failed read also blocks writes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failed: dict[Act, float] = {}

    def allows(self, act: Act) -> bool:
        """Whether the last failure is at least PAUSE old, or in the future because the clock was set back."""
        failed = self._failed.get(act)
        return failed is None or not 0 <= self._clock() - failed < PAUSE

    def failed(self, act: Act) -> None:
        """Record a failure."""
        now = self._clock()
        self._failed |= {act: now, "write": now}

    def worked(self) -> bool:
        """Record a successful write. Returns whether there was a failure before."""
        broken = bool(self._failed)
        self._failed.clear()
        return broken
