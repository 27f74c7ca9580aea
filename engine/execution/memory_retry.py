"""Handles a node that runs out of memory: one retry with more free memory, then computation in smaller parts."""

import asyncio
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

from latentloom.engine.errors import BudgetError, OutOfMemoryError
from latentloom.engine.execution.call import Call
from latentloom.engine.types.spec import NodeSpec
from latentloom.engine.types.values import Handle


def attempt(call: Call, make_room: Callable[[], None]) -> Any:
    """Call a sync node. A pure node that runs out of memory is retried once, after all possible memory is freed.

    A node that already computes in smaller parts (economy above 0) is not retried.
    """
    try:
        return call.run()
    except OutOfMemoryError as error:
        if not _tries_again(call, error):
            raise
    make_room()  # outside the handler, because the error's frames hold tensors
    _warn(call)
    return call.run()


async def attempt_async(call: Call, make_room: Callable[[], None]) -> Any:
    """Call an async node; see `attempt`."""
    try:
        return await call.run_async()
    except OutOfMemoryError as error:
        if not _tries_again(call, error):
            raise
    await asyncio.to_thread(make_room)
    _warn(call)
    return await call.run_async()


def _tries_again(call: Call, error: OutOfMemoryError) -> bool:
    spec = call.spec
    return spec.purity == "pure" and spec.device and not call.context.economy and not isinstance(error, BudgetError)


def _warn(call: Call) -> None:
    call.context.warn(
        "memory_retry", f"{call.spec.type} ran out of memory; it runs again after evicting everything not in use"
    )


class Economies:
    """The economy level of each node type: 0 = everything at once; the maximum is `economies` of its spec.

    The level changes results slightly, so it is part of a step's cache key.
    """

    def __init__(self) -> None:
        self._levels: dict[str, int] = {}

    def of(self, spec: NodeSpec) -> int:
        """Return the economy level of a node type, 0..spec.economies."""
        return self._levels.get(spec.type, 0)

    def raise_to(self, spec: NodeSpec, level: int) -> bool:
        """Raise the level of a node type for all later calls. Returns False if its spec does not allow the level."""
        if level > spec.economies:
            return False
        self._levels[spec.type] = max(level, self.of(spec))
        return True


def work_of(spec: NodeSpec, values: Mapping[str, Any], economy: int) -> Hashable:
    """Return a key for a call's working memory: node type, economy, models and shapes of its values."""
    return (spec.type, economy, *(size for value in values.values() for size in _sizes(value)))


def _sizes(value: Any) -> Iterator[Hashable]:
    for item in value if isinstance(value, list) else (value,):
        if isinstance(item, Handle):
            yield tuple(file.sha256 for file in item.files)
        elif isinstance(shape := getattr(item, "shape", None), tuple):
            yield shape
