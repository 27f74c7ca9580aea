"""What happens when a node runs out of memory: a second try with more room, then smaller parts from then on."""

import asyncio
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

from latentloom.engine.errors import BudgetError, OutOfMemoryError
from latentloom.engine.execution.call import Call
from latentloom.engine.types.spec import NodeSpec
from latentloom.engine.types.values import Handle


def attempt(call: Call, make_room: Callable[[], None]) -> Any:
    """Call a sync node; a pure one that ran out of memory once more, with all the room that can be made.

    A node that computes in small parts has had its second try before.
    """
    try:
        return call.run()
    except OutOfMemoryError as error:
        if not _tries_again(call, error):
            raise
    make_room()  # not in the handler: the error's frames hold tensors
    _warn(call)
    return call.run()


async def attempt_async(call: Call, make_room: Callable[[], None]) -> Any:
    """The same for an async node."""
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
    call.context.warn("memory_retry", f"{call.spec.type} ran out of memory; it runs again with more room")


class Economies:
    """The economy of each node type: 0 = all at once, up to the number that its spec names.

    It changes results a little, so it belongs to a step's key.
    """

    def __init__(self) -> None:
        self._levels: dict[str, int] = {}

    def of(self, spec: NodeSpec) -> int:
        """The economy of a node type, 0..spec.economies."""
        return self._levels.get(spec.type, 0)

    def raise_to(self, spec: NodeSpec, level: int) -> bool:
        """Compute in smaller parts from now on; False where the node type knows no such economy."""
        if level > spec.economies:
            return False
        self._levels[spec.type] = max(level, self.of(spec))
        return True


def work_of(spec: NodeSpec, values: Mapping[str, Any], economy: int) -> Hashable:
    """What the memory that a call needs beside its models depends on: node type, models, sizes of values."""
    return (spec.type, economy, *(size for value in values.values() for size in _sizes(value)))


def _sizes(value: Any) -> Iterator[Hashable]:
    for item in value if isinstance(value, list) else (value,):
        if isinstance(item, Handle):
            yield tuple(file.sha256 for file in item.files)
        elif isinstance(shape := getattr(item, "shape", None), tuple):
            yield shape
