"""A run that finds nothing in the cache soon stops asking for each key, but finds what other processes add."""

from pathlib import Path

import pytest

from latentloom.engine.cache import known_keys
from latentloom.engine.cache.cache import Item, Result
from latentloom.engine.cache.disk import DiskStore
from latentloom.engine.keys import literal_digest


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def number(n: int) -> Result:
    return Result({"value": Item("INT", literal_digest("INT", n), n)})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> DiskStore:
    return DiskStore(tmp_path / "cache", 2**30, clock=clock)


def lookups(store: DiskStore) -> list[str]:
    """The statements of the store's lookups from now on."""
    found: list[str] = []
    store._index._open().set_trace_callback(
        lambda text: found.append(text) if text.startswith("SELECT record") else None
    )
    return found


def test_many_misses_cost_few_lookups(store: DiskStore) -> None:
    asked = lookups(store)
    for n in range(1000):
        assert store.result(f"key {n}") is None
        store.put_result(f"key {n}", number(n), at_once=n % 100 == 0)

    assert len(asked) == known_keys.MISSES
    assert [store.result(f"key {n}") for n in (0, 1, 999)] == [number(0), number(1), number(999)]


@pytest.mark.parametrize("when", ["a second later", "in the next run", "after the clock was set back"])
def test_what_another_process_adds_is_found(store: DiskStore, tmp_path: Path, clock: Clock, when: str) -> None:
    for n in range(2 * known_keys.MISSES):
        store.result(f"nothing {n}")
    other = DiskStore(tmp_path / "cache", 2**30, clock=clock)
    other.put_result("key", number(1), at_once=True)

    if when == "a second later":
        clock.now += known_keys.SECONDS
    elif when == "in the next run":
        store.emptied()
    else:
        clock.now -= 100

    assert store.result("key") == number(1)


def test_too_many_keys_are_not_read(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_keys, "MAX_KEYS", 10)
    for n in range(11):
        store.put_result(f"key {n}", number(n), at_once=False)
    store.flush()
    asked = lookups(store)
    for n in range(5 * known_keys.MISSES):
        assert store.result(f"nothing {n}") is None

    assert len(asked) == 5 * known_keys.MISSES
    assert store.result("key 10") == number(10)
