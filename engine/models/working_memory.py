"""How much memory computations need beside the weights: measured where the device tells, guessed after a shortage."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

KEPT = 1000  # kinds of work that are remembered
MARGIN = 1.05  # of a measured peak: allocators round up


class Need(NamedTuple):
    """Bytes beside the weights."""

    nbytes: int
    measured: bool


class WorkingMemory:
    """Needs by kind of work: a node type with the sizes of its inputs, so that one large picture costs no other one.

    A guess is a quarter of the budget, twice as much each time that it was too small. A measurement takes its place;
    where a device does not measure, it is halved each time that all went well.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._needs: OrderedDict[Hashable, Need] = OrderedDict()

    def of(self, work: Hashable) -> Need | None:
        """What a kind of work is known, or thought, to need; None for one that nobody has seen."""
        return self._needs.get(work)

    def short(self, work: Hashable) -> None:
        """A computation ran out of memory."""
        known = self._needs.get(work, Need(0, False)).nbytes
        self._keep(work, Need(min(max(2 * known, self._budget // 4), self._budget), measured=False))

    def seen(self, work: Hashable, peak: int | None) -> None:
        """A computation that did not end well had `peak` bytes at once; None where nobody measured."""
        known = self._needs.get(work)
        if peak and (known is None or known.nbytes < peak):
            self._keep(work, Need(peak, measured=known is None or known.measured))

    def good(self, work: Hashable, peak: int | None) -> None:
        """A computation ended well with `peak` bytes at once; None where nobody measured."""
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
