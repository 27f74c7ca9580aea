"""The ready queue: tracks which steps wait for others and returns ready steps in the order of the plan."""

import heapq
from collections.abc import Iterable


class ReadyQueue:
    """The planned steps of one run. Ready steps are taken in the order given by `order`."""

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
        """Whether a step is ready."""
        return bool(self._ready)

    def place(self, id: str, parent: str, n: int) -> None:
        """Order the n-th step of an expansion directly after its parent."""
        self._order[id] = (*self._order[parent], n)

    def wait(self, id: str, sources: set[str]) -> None:
        """Make a step wait for sources that have no results yet. Without sources it is ready."""
        self._blockers[id] = sources
        for source in sources:
            self._dependents.setdefault(source, set()).add(id)
        if not sources:
            heapq.heappush(self._ready, (self._order[id], id))

    def take(self) -> str:
        """Remove and return the first ready step."""
        return heapq.heappop(self._ready)[1]

    def finished(self, id: str) -> None:
        """Unblock the steps that wait for this one. Those without other blockers become ready."""
        for dependent in self._dependents.pop(id, ()):
            left = self._blockers[dependent]
            left.discard(id)
            if not left:
                heapq.heappush(self._ready, (self._order[dependent], dependent))

    def forget(self, id: str) -> None:
        """Remove a step from the plan, so that it can be planned again."""
        del self._blockers[id]
