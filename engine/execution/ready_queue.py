"""Which steps of a run wait for which, and which are ready, in the order of the plan."""

import heapq
from collections.abc import Iterable


class ReadyQueue:
    """The planned steps of one run. Steps that are ready come out in the order of `order`."""

    def __init__(self, order: Iterable[str]) -> None:
        self._order: dict[str, tuple[int, ...]] = {id: (n,) for n, id in enumerate(order)}
        self._blockers: dict[str, set[str]] = {}
        self._dependents: dict[str, set[str]] = {}
        self._ready: list[tuple[tuple[int, ...], str]] = []

    def __contains__(self, id: str) -> bool:
        return id in self._blockers

    def __len__(self) -> int:
        return len(self._blockers)

    @property
    def ready(self) -> bool:
        """Whether a step can be taken."""
        return bool(self._ready)

    def place(self, id: str, parent: str, n: int) -> None:
        """Put the n-th step of an expansion right behind its parent."""
        self._order[id] = (*self._order[parent], n)

    def wait(self, id: str, sources: set[str]) -> None:
        """Let a step wait for others that have no results yet; without any it is ready."""
        self._blockers[id] = sources
        for source in sources:
            self._dependents.setdefault(source, set()).add(id)
        if not sources:
            heapq.heappush(self._ready, (self._order[id], id))

    def take(self) -> str:
        """The first step that is ready."""
        return heapq.heappop(self._ready)[1]

    def finished(self, id: str) -> None:
        """A step has its result: those that waited for it alone are ready."""
        for dependent in self._dependents.pop(id, ()):
            left = self._blockers[dependent]
            left.discard(id)
            if not left:
                heapq.heappush(self._ready, (self._order[dependent], dependent))

    def forget(self, id: str) -> None:
        """Plan a step no longer, so that it can be planned anew."""
        del self._blockers[id]
