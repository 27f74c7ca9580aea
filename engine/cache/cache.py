"""Results by key: a memory tier over a disk tier. Whatever is torn, swapped or gone is a miss, never a wrong value."""

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
)  # bytes in memory beside the texts inside, measured


class Item(NamedTuple):
    """One value of an output: its kind, its digest, and the value itself when it is a literal."""

    kind: str
    digest: str
    literal: Any = None


class Use(NamedTuple):
    """Something beside its inputs that a step used, and what that was: the code behind a name, a file's name."""

    kind: str
    name: str
    identity: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a step gave: an Item, or a tuple of Items for a list, per output. It outlives the values' bytes.

    A step that expanded gave the record of its expansion instead.
    """

    outputs: Mapping[str, Item | tuple[Item, ...]]
    seconds: float = 0.0
    peak_bytes: int = 0
    uses: tuple[Use, ...] = ()
    """What must still hold for the result to be used again."""
    expansion: Mapping[str, Any] | None = None

    def items(self, output: str | None = None) -> list[Item]:
        """Every item of one output, or of all."""
        found: list[Item] = []
        for value in self.outputs.values() if output is None else (self.outputs[output],):
            if isinstance(value, Item):
                found.append(value)
            else:
                found.extend(value)
        return found


class Store(Protocol):
    """A tier that survives the process: the seam for disks, shared folders and object stores."""

    def result(self, key: str) -> Result | None:
        """The stored result of a key, or None."""

    def put_result(self, key: str, result: Result, *, at_once: bool) -> None:
        """Store a result; with at_once, a crash right after the call does not lose it."""

    def blob(self, digest: str, port_type: PortType) -> Any | None:
        """The stored value, checked against its digest, or None."""

    def put_blob(self, digest: str, port_type: PortType, value: Any) -> None:
        """Store a value."""

    def fields(self, place: str) -> dict[str, Any] | None:
        """What the key of the step at a place was last made of."""

    def put_fields(self, place: str, fields: Fields) -> None:
        """Remember what the key of the step at a place was made of."""

    def flush(self) -> None:
        """Make everything that was put durable, and keep within the size limit."""

    def emptied(self) -> bool:
        """Whether another process emptied the store since the last call."""


@dataclass(slots=True)
class Counts:
    """What the cache did since it was made."""

    hits: int = 0
    misses: int = 0
    evicted: int = 0


class Cache:
    """Results and values by identity, within one budget of memory. Safe to share between threads."""

    def __init__(self, memory_bytes: int, store: Store | None = None) -> None:
        self._memory_bytes = memory_bytes
        self._store = store
        self._lock = threading.RLock()
        self._held: OrderedDict[str, tuple[Any, int]] = OrderedDict()  # with bytes; keys and digests are never alike
        self._held_bytes = 0
        self.counts = Counts()

    @property
    def held_bytes(self) -> int:
        """Bytes of results, texts and values in memory."""
        return self._held_bytes

    def begin(self) -> None:
        """A run begins: what another process removed from the store is not used any more."""
        with self._lock:
            if self._store is not None and self._store.emptied():
                self.forget_memory()

    def result(self, key: str) -> Result | None:
        """The result of a step, or None. Its values' bytes may be gone all the same."""
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
        """Keep a result, in memory and, if durable (every value has bytes), in the store. at_once: see `Store`."""
        with self._lock:
            self._hold(key, result, _result_bytes(result))
            if durable and self._store is not None:
                self._store.put_result(key, result, at_once=at_once)

    def value(self, item: Item, port_type: PortType) -> Any | None:
        """The value behind an item, or None when its bytes are gone."""
        with self._lock:
            held = self._get(item.digest)
            if held is not None or self._store is None or port_type.codec is None:
                return held
            value = self._store.blob(item.digest, port_type)
            if value is not None:
                self._hold(item.digest, value, port_type.nbytes(value))
            return value

    def put_value(self, item: Item, port_type: PortType, value: Any) -> None:
        """Keep a value's bytes, in memory and in the store. The budget may push out others, or this one."""
        with self._lock:
            if item.digest in self._held:
                return
            self._hold(item.digest, value, port_type.nbytes(value))
            if self._store is not None and port_type.codec is not None:
                self._store.put_blob(item.digest, port_type, value)

    def fields(self, place: str) -> Mapping[str, Any] | None:
        """What the key of the step at a place ("workflow/node") was last made of."""
        with self._lock:
            found: Fields | None = self._get(f"at {place}")
            if found is not None:
                return found.record()
            return self._store.fields(place) if self._store is not None else None

    def put_fields(self, place: str, fields: Fields) -> None:
        """Remember what the key of the step at a place was made of."""
        with self._lock:
            name = f"at {place}"
            if self._get(name) == fields:
                return
            self._hold(name, fields, FIELDS_COST + INPUT_COST * len(fields.inputs))
            if self._store is not None:
                self._store.put_fields(place, fields)

    def _get(self, name: str) -> Any:
        held = self._held.get(name)
        if held is None:
            return None
        self._held.move_to_end(name)
        return held[0]

    def _hold(self, name: str, value: Any, nbytes: int) -> None:
        """Keep something, and let go of what was used longest ago; of nothing for what would not stay itself."""
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
        """Drop the memory tier; the store keeps its own."""
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
    """What a literal takes in memory: texts above all. No recursion: it may be deep."""
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
    """Single flight: of several runs that need one key at once, one computes it and the others wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flying: dict[str, list[Callable[[], None]]] = {}

    def take(self, key: str, then: Callable[[], None]) -> bool:
        """Whether the caller leads. Otherwise `then` is called once the leader is through, however it ended."""
        with self._lock:
            waiting = self._flying.get(key)
            if waiting is None:
                self._flying[key] = []
                return True
            waiting.append(then)
            return False

    def land(self, key: str) -> None:
        """The leader is through; those who wait look at the cache, and one of them may lead next."""
        with self._lock:
            waiting = self._flying.pop(key)
        for call in waiting:
            call()
