"""The values that the steps of one run still need. They are kept even if the cache evicts them."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from latentloom.engine.cache.cache import Cache, Item, Result
from latentloom.engine.execution.call import faults
from latentloom.engine.execution.outputs import Returned
from latentloom.engine.keys import literal_digest
from latentloom.engine.planning.step import Step
from latentloom.engine.types.literals import plain
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.spec import FILE_KINDS, INLINE_KINDS

Items = dict[str, Item | tuple[Item, ...]]


class RunValues:
    """Values by digest, kept until the last step that reads them has finished."""

    def __init__(self, registry: Registry, cache: Cache) -> None:
        self._registry = registry
        self._cache = cache
        self._values: dict[str, Any] = {}
        self._holders: dict[str, set[str]] = {}  # the steps whose outputs hold a value
        self._uses: dict[str, int] = {}  # how many planned steps have yet to read a step's outputs

    def use(self, sources: Iterable[str]) -> None:
        """Count one more reader for the outputs of each source."""
        for source in sources:
            self._uses[source] = self._uses.get(source, 0) + 1

    def hold(self, id: str, result: Result) -> None:
        """Keep the values of a step's result until `release`."""
        for item in result.items():
            if item.kind not in INLINE_KINDS:
                self._holders.setdefault(item.digest, set()).add(id)

    def read(self, source: str) -> bool:
        """Count one reader less for a step's outputs. Returns whether it was the last one."""
        self._uses[source] -= 1
        return self._uses[source] <= 0

    def release(self, id: str, result: Result) -> None:
        """Release a step's values, except those that another step's outputs hold."""
        for item in result.items():
            if item.kind not in INLINE_KINDS:
                holders = self._holders.get(item.digest, set())
                holders.discard(id)
                if not holders:
                    self._values.pop(item.digest, None)

    def at_hand(self, item: Item) -> bool:
        """Whether an item's value is available without running a step."""
        if item.kind in INLINE_KINDS or item.kind in FILE_KINDS or item.digest in self._values:
            return True
        port_type = self._registry.type_of(item.kind)
        value = None if port_type is None else self._cache.value(item, port_type)
        if value is not None:
            self._values[item.digest] = value
        return value is not None

    def value(self, item: Item) -> Any:
        """Return the value of an item that is `at_hand`."""
        if item.digest in self._values:
            return self._values[item.digest]
        return plain(item.literal) if type(item.literal) in (dict, list) else item.literal  # a copy for each reader

    def output(self, found: Any) -> Any:
        """Return the value of an Item, or the values of a list of Items."""
        return self.value(found) if type(found) is Item else [self.value(item) for item in found]

    def arguments(self, step: Step, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return a value for each input of a step; None for a lazy input that is not wanted."""
        return {port.name: self.output(inputs[port.name]) if port.name in inputs else None for port in step.spec.inputs}

    def keep(self, step: Step, outputs: Mapping[str, Returned], *, store: bool) -> Items:
        """Return Items for a node's outputs. With `store`, their values are also cached. Raises NodeError."""
        with faults(step, "'s result"):  # the codec of a plugin's port type may fail
            return {
                name: tuple(self._item(kind, one, store) for kind, one in value)
                if isinstance(value, list)
                else self._item(*value, store)
                for name, value in outputs.items()
            }

    def _item(self, kind: str, value: Any, store: bool) -> Item:
        if kind in INLINE_KINDS:
            return Item(kind, literal_digest(kind, value), value)
        port_type = self._registry.type_of(kind)
        assert port_type is not None
        item = Item(kind, port_type.digest(value) or f"memory/{uuid.uuid4().hex}")  # a unique id: never equal
        self._values[item.digest] = value
        if store:
            self._cache.put_value(item, port_type, value)
        return item


def durable(result: Result) -> bool:
    """Whether all values of a result can be stored on disk."""
    return not any(item.digest.startswith("memory/") for item in result.items())
