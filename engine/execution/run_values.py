"""The values that steps of one run still need, whatever the cache does in the meantime."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from latentloom.engine.cache.cache import Cache, Item, Result
from latentloom.engine.execution.call import faults
from latentloom.engine.execution.outputs import Returned
from latentloom.engine.keys import literal_digest
from latentloom.engine.planning.validate import Step
from latentloom.engine.types.literals import plain
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.spec import FILE_KINDS, INLINE_KINDS

Items = dict[str, Item | tuple[Item, ...]]


class RunValues:
    """Values by digest, held until the last step that reads them is through."""

    def __init__(self, registry: Registry, cache: Cache) -> None:
        self._registry = registry
        self._cache = cache
        self._values: dict[str, Any] = {}
        self._holders: dict[str, set[str]] = {}  # the steps whose outputs keep a value
        self._uses: dict[str, int] = {}  # how many planned steps still read a step's outputs

    def use(self, sources: Iterable[str]) -> None:
        """Some step will read the outputs of these."""
        for source in sources:
            self._uses[source] = self._uses.get(source, 0) + 1

    def hold(self, id: str, result: Result) -> None:
        """A step has a result; its values stay until it is released."""
        for item in result.items():
            if item.kind not in INLINE_KINDS:
                self._holders.setdefault(item.digest, set()).add(id)

    def read(self, source: str) -> bool:
        """One reader of a step's outputs is through; whether it was the last."""
        self._uses[source] -= 1
        return self._uses[source] <= 0

    def release(self, id: str, result: Result) -> None:
        """Let go of a step's values, unless another step's outputs hold them too."""
        for item in result.items():
            if item.kind not in INLINE_KINDS:
                holders = self._holders.get(item.digest, set())
                holders.discard(id)
                if not holders:
                    self._values.pop(item.digest, None)

    def at_hand(self, item: Item) -> bool:
        """Whether an item's value can be had without running anything."""
        if item.kind in INLINE_KINDS or item.kind in FILE_KINDS or item.digest in self._values:
            return True
        port_type = self._registry.type_of(item.kind)
        value = None if port_type is None else self._cache.value(item, port_type)
        if value is not None:
            self._values[item.digest] = value
        return value is not None

    def value(self, item: Item) -> Any:
        """The value of an item that is at hand."""
        if item.digest in self._values:
            return self._values[item.digest]
        return plain(item.literal) if type(item.literal) in (dict, list) else item.literal  # a copy for each reader

    def output(self, found: Any) -> Any:
        """The value of an Item, or the values of a list of them."""
        return self.value(found) if type(found) is Item else [self.value(item) for item in found]

    def arguments(self, step: Step, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """A value for each input of a step; None for a lazy one that was not asked for."""
        return {port.name: self.output(inputs[port.name]) if port.name in inputs else None for port in step.spec.inputs}

    def keep(self, step: Step, outputs: Mapping[str, Returned], *, store: bool) -> Items:
        """Items for what a node returned; with store, their values go to the cache too. Raises NodeError."""
        with faults(step, "'s result"):  # the codec of a plugin's type may fail
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
        item = Item(kind, port_type.digest(value) or f"memory/{uuid.uuid4().hex}")  # no two values are taken for one
        self._values[item.digest] = value
        if store:
            self._cache.put_value(item, port_type, value)
        return item


def durable(result: Result) -> bool:
    """Whether every value can outlive this process."""
    return not any(item.digest.startswith("memory/") for item in result.items())
