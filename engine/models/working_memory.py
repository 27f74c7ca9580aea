"""Working memory of computations besides the weights: measured if the device supports it, otherwise estimated."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

KEPT = 1000  # maximum number of stored kinds of work
MARGIN = 1.05  # factor for a measured peak: allocators round up


class Need(NamedTuple):
    """Working memory in bytes."""

    nbytes: int
    measured: bool


class WorkingMemory:
    """Needs by kind of work: a node type with the sizes of its inputs, so a large picture does not affect small ones.

    The first estimate is a quarter of the budget. It is doubled each time it was too small. A measurement replaces it;
    on a device without measurement, it is halved each time the work succeeds.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._needs: OrderedDict[Hashable, Need] = OrderedDict()

    def of(self, work: Hashable) -> Need | None:
        """Return the measured or estimated need of a kind of work; None if unknown."""
        return self._needs.get(work)

    def short(self, work: Hashable) -> None:
        """Record that a computation ran out of memory."""
        known = self._needs.get(work, Need(0, False)).nbytes
        self._keep(work, Need(min(max(2 * known, self._budget // 4), self._budget), measured=False))

    def seen(self, work: Hashable, peak: int | None) -> None:
        """Record the peak bytes of a computation that failed; None if not measured."""
        known = self._needs.get(work)
        if peak and (known is None or known.nbytes < peak):
            self._keep(work, Need(peak, measured=known is None or known.measured))

    def good(self, work: Hashable, peak: int | None) -> None:
        """Record the peak bytes of a computation that succeeded; None if not measured."""
        known = self._needs.get(work)
        if peak is not None:
            self._keep(work, Need(int(peak * MARGIN), measured=True))
        elif known is not None and known.nbytes // 2 >= self._budget // 64:
            self._keep(work, Need(known.nbytes // 2, measured=False))
        else:
            self._needs.pop(work, None)

    def _keep(self, work: Hashable, need: Need) -> None:
        self._needs[work] = need
        self._needs.move_to_end(work)
        while len(self._needs) > KEPT:
            self._needs.popitem(last=False)
