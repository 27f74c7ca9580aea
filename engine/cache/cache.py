"""Results by cache key: a memory tier over a disk tier. A damaged, swapped or missing entry is a miss."""

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from latentloom.engine.keys import Fields
from latentloom.engine.types.port_types import PortType

RESULT_COST, ITEM_COST, USE_COST, FIELDS_COST, INPUT_COST = (
    350,
    500,
    400,
    800,
    200,
)  # measured bytes in memory, without the strings inside


class Item(NamedTuple):
    """One value of an output: its kind, its digest, and the value itself if it is a literal."""

    kind: str
    digest: str
    literal: Any = None


class Use(NamedTuple):
    """Something other than its inputs that a step used, with its identity: the code of an extension, a file's name."""

    kind: str
    name: str
    identity: str


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a step: for each output an Item, or a tuple of Items for a list. It can outlive the values.

    For a step that expanded, it holds the record of the expansion instead.
    """

    outputs: Mapping[str, Item | tuple[Item, ...]]
    seconds: float = 0.0
    peak_bytes: int = 0
    uses: tuple[Use, ...] = ()
    """What must be unchanged for the result to be reused."""
    expansion: Mapping[str, Any] | None = None

    def items(self, output: str | None = None) -> list[Item]:
        """Return all items of one output, or of all outputs."""
        found: list[Item] = []
        for value in self.outputs.values() if output is None else (self.outputs[output],):
            if isinstance(value, Item):
                found.append(value)
            else:
                found.extend(value)
        return found


class Store(Protocol):
    """A persistent tier. Implement it for disks, shared folders or object stores."""

    def result(self, key: str) -> Result | None:
        """Return the stored result of a key, or None."""

    def put_result(self, key: str, result: Result, *, at_once: bool) -> None:
        """Store a result. With `at_once`, a crash after the call does not lose it."""

    def blob(self, digest: str, port_type: PortType) -> Any | None:
        """Return the stored value, verified against its digest, or None."""

    def put_blob(self, digest: str, port_type: PortType, value: Any) -> None:
        """Store a value."""

    def fields(self, place: str) -> dict[str, Any] | None:
        """Return the fields of the last cache key of the step at a place."""

    def put_fields(self, place: str, fields: Fields) -> None:
        """Store the fields of the cache key of the step at a place."""

    def kept(self, key: str) -> bytes | None:
        """Return the kept state of an unfinished step, or None."""

    def keep(self, key: str, data: bytes) -> bool:
        """Keep the state of an unfinished step, in place of an older one. Returns whether it is stored, durably."""

    def drop_kept(self, key: str) -> None:
        """Drop the state of a step that has finished."""

    def flush(self) -> None:
        """Make all stored entries durable, and enforce the size limit."""

    def emptied(self) -> bool:
        """Whether another process emptied the store since the last call."""


@dataclass(slots=True)
class Counts:
    """Counters of the cache since it was created."""

    hits: int = 0
    misses: int = 0
    evicted: int = 0


class Cache:
    """Results by key and values by digest, within one memory budget. Thread-safe."""

    def __init__(self, memory_bytes: int, store: Store | None = None) -> None:
        self._memory_bytes = memory_bytes
        self._store = store
        self._lock = threading.RLock()
        self._held: OrderedDict[str, tuple[Any, int]] = OrderedDict()  # with sizes; keys and digests never collide
        self._held_bytes = 0
        self.counts = Counts()

    @property
    def held_bytes(self) -> int:
        """The size of the memory tier in bytes."""
        return self._held_bytes

    def begin(self) -> None:
        """Begin a run: drop the memory tier if another process emptied the store."""
        with self._lock:
            if self._store is not None and self._store.emptied():
                self.forget_memory()

    def result(self, key: str) -> Result | None:
        """Return the result of a key, or None. Its values may no longer be stored."""
        with self._lock:
            found: Result | None = self._get(key)
            if found is None and self._store is not None:
                found = self._store.result(key)
                if found is not None:
                    self._hold(key, found, _result_bytes(found))
            self.counts.hits += found is not None
            self.counts.misses += found is None
            return found

    def put_result(self, key: str, result: Result, *, durable: bool = True, at_once: bool = False) -> None:
        """Store a result in memory and, if `durable` (all its values can be stored), on disk. at_once: see `Store`."""
        with self._lock:
            self._hold(key, result, _result_bytes(result))
            if durable and self._store is not None:
                self._store.put_result(key, result, at_once=at_once)

    def value(self, item: Item, port_type: PortType) -> Any | None:
        """Return the value of an item, or None if it is no longer stored."""
        with self._lock:
            held = self._get(item.digest)
            if held is not None or self._store is None or port_type.codec is None:
                return held
            value = self._store.blob(item.digest, port_type)
            if value is not None:
                self._hold(item.digest, value, port_type.nbytes(value))
            return value

    def put_value(self, item: Item, port_type: PortType, value: Any) -> None:
        """Store a value in memory and on disk. The budget may evict other entries, or this one."""
        with self._lock:
            if item.digest in self._held:
                return
            self._hold(item.digest, value, port_type.nbytes(value))
            if self._store is not None and port_type.codec is not None:
                self._store.put_blob(item.digest, port_type, value)

    def fields(self, place: str) -> Mapping[str, Any] | None:
        """Return the fields of the last cache key of the step at a place ("workflow/node"), or None."""
        with self._lock:
            found: Fields | None = self._get(f"at {place}")
            if found is not None:
                return found.record()
            return self._store.fields(place) if self._store is not None else None

    def put_fields(self, place: str, fields: Fields) -> None:
        """Store the fields of the cache key of the step at a place."""
        with self._lock:
            name = f"at {place}"
            if self._get(name) == fields:
                return
            self._hold(name, fields, FIELDS_COST + INPUT_COST * len(fields.inputs))
            if self._store is not None:
                self._store.put_fields(place, fields)

    def kept(self, key: str) -> bytes | None:
        """Return the kept state of an unfinished step, or None."""
        with self._lock:
            return None if self._store is None else self._store.kept(key)

    def keep(self, key: str, data: bytes) -> bool:
        """Keep the state of an unfinished step on disk. Returns whether it is stored."""
        with self._lock:
            return self._store is not None and self._store.keep(key, data)

    def drop_kept(self, key: str) -> None:
        """Drop the state of a step whose result is stored."""
        with self._lock:
            if self._store is not None:
                self._store.drop_kept(key)

    def _get(self, name: str) -> Any:
        held = self._held.get(name)
        if held is None:
            return None
        self._held.move_to_end(name)
        return held[0]

    def _hold(self, name: str, value: Any, nbytes: int) -> None:
        """Add an entry and evict the least recently used ones. An entry larger than the budget is not added."""
        if name in self._held:
            self._drop(name)
        if nbytes > self._memory_bytes:
            return
        self._held[name] = (value, nbytes)
        self._held_bytes += nbytes
        while self._held_bytes > self._memory_bytes:
            self._drop(next(iter(self._held)))
            self.counts.evicted += 1

    def _drop(self, name: str) -> None:
        held = self._held.pop(name, None)
        self._held_bytes -= held[1] if held is not None else 0

    def flush(self) -> None:
        """Make everything durable."""
        with self._lock:
            if self._store is not None:
                self._store.flush()

    def forget_memory(self) -> None:
        """Drop the memory tier. The store is not changed."""
        with self._lock:
            self._held.clear()
            self._held_bytes = 0


def _result_bytes(result: Result) -> int:
    size = RESULT_COST + USE_COST * len(result.uses)
    if result.expansion is not None:
        size += _bytes(result.expansion)
    for item in result.items():
        size += ITEM_COST if item.literal is None else ITEM_COST + _bytes(item.literal)
    return size


def _bytes(literal: Any) -> int:
    """Return the memory size of a literal. Iterative, because a literal may be deeply nested."""
    if type(literal) not in (dict, list, tuple):
        return sys.getsizeof(literal)
    size, stack = 0, [literal]
    while stack:
        one = stack.pop()
        size += sys.getsizeof(one)
        kind = type(one)
        if kind is dict:
            stack += one.keys()
            stack += one.values()
        elif kind is list or kind is tuple:
            stack += one
    return size


class Flights:
    """Single flight: if several runs need the same key at once, one computes it and the others wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flying: dict[str, list[Callable[[], None]]] = {}

    def take(self, key: str, then: Callable[[], None]) -> bool:
        """Whether the caller leads. Otherwise `then` is called when the leader has finished, successfully or not."""
        with self._lock:
            waiting = self._flying.get(key)
            if waiting is None:
                self._flying[key] = []
                return True
            waiting.append(then)
            return False

    def land(self, key: str) -> None:
        """End the leader's flight. The waiting callers check the cache again, and one of them may lead next."""
        with self._lock:
            waiting = self._flying.pop(key)
        for call in waiting:
            call()
