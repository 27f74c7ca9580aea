"""One ledger: results, texts and values count together, limits hold, and other processes are noticed."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from toys import flow, ran, use

from latentloom.api import Session
from latentloom.engine import Image
from latentloom.engine.cache.breaker import PAUSE, Breaker
from latentloom.engine.cache.cache import Cache, Item, Result
from latentloom.engine.cache.disk import KEPT_DAMAGED, DiskStore
from latentloom.engine.cache.index import USED_AGAIN
from latentloom.engine.errors import FileError
from latentloom.engine.events import NodeWarning
from latentloom.engine.keys import literal_digest

IMAGE = toys.registry().type_of("IMAGE")
assert IMAGE is not None


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    ran()
    yield
    ran()


def picture(n: int, size: int = 90) -> tuple[str, Image]:
    value = Image(np.full((1, size, size, 3), n / 1000, np.float32))
    return str(IMAGE.digest(value)), value


def text(n: int, length: int = 10_000) -> Result:
    word = f"{n:06d}" * (length // 6)
    return Result({"value": Item("STRING", literal_digest("STRING", word), word)})


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def blobs(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


def warnings(session: Session, document: Any, **how: Any) -> list[str]:
    found: list[Any] = []
    session.run(document, on_event=found.append, **how)
    return [event.code for event in found if isinstance(event, NodeWarning)]


# Limits


def test_texts_keep_within_the_limit_of_the_disk(tmp_path: Path) -> None:
    limit = 2 * 2**20
    store = DiskStore(tmp_path, limit)
    for n in range(300):
        store.put_result(f"{n:064d}", text(n, 50_000), at_once=True)
    assert store.info()["bytes"] <= limit
    assert on_disk(tmp_path) <= limit + 2**20  # what SQLite logs, and has not given back yet
    assert store.result(f"{299:064d}") is not None and store.result(f"{0:064d}") is None
    store.prune(0)
    assert on_disk(tmp_path) <= 200_000
    store.close()


def test_a_long_run_keeps_within_the_limit_while_it_goes_on(tmp_path: Path) -> None:
    """Nothing is flushed by hand, and no result is costly enough to be committed for itself."""
    limit = 2**20
    store = DiskStore(tmp_path, limit)
    most = 0
    for n in range(60):
        digest, value = picture(n)
        store.put_blob(digest, IMAGE, value)
        store.put_result(f"{n:064d}", text(n), at_once=False)
        most = max(most, blobs(tmp_path))
    assert most <= 1.1 * limit
    store.close()


def test_small_results_are_trimmed_too(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, 100_000)
    for n in range(2000):
        store.put_result(f"{n:064d}", Result({"value": Item("INT", literal_digest("INT", n), n)}), at_once=False)
    store.flush()
    facts = store.info()
    assert facts["bytes"] <= 100_000 and 0 < facts["results"] < 400
    store.close()
    connection = sqlite3.connect(tmp_path / "cache.db")
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    connection.close()
    assert pages * size <= 200_000


def test_what_is_counted_is_not_less_than_what_the_disk_has(tmp_path: Path) -> None:
    for length in (60, 600, 1500, 2500, 5000, 50_000):
        store = DiskStore(tmp_path / str(length), 2**30)
        for n in range(400):
            store.put_result(f"{n:064d}", text(n, length), at_once=False)
        counted = store.info()["bytes"]
        store.close()
        assert (tmp_path / str(length) / "cache.db").stat().st_size <= counted + 100_000


def test_results_and_texts_keep_within_the_limit_of_memory() -> None:
    cache = Cache(10**6)
    for n in range(500):
        cache.put_result(str(n), text(n))
    assert cache.held_bytes <= 10**6
    assert cache.result("499") is not None and cache.result("0") is None
    assert cache.counts.evicted >= 400


def test_results_that_are_used_stay_in_memory() -> None:
    cache = Cache(50_000)
    for n in range(100):
        cache.put_result(str(n), text(n))
        assert cache.result("0") is not None


def test_a_value_that_memory_cannot_hold_pushes_out_no_others() -> None:
    cache = Cache(200_000)
    for n in (1, 2):
        digest, value = picture(n)
        cache.put_value(Item("IMAGE", digest), IMAGE, value)
    large, value = picture(3, 200)
    cache.put_value(Item("IMAGE", large), IMAGE, value)
    assert [cache.value(Item("IMAGE", picture(n)[0]), IMAGE) is not None for n in (1, 2)] == [True, True]
    assert cache.value(Item("IMAGE", large), IMAGE) is None
    assert cache.counts.evicted == 0


def test_results_that_can_never_be_asked_for_again_are_not_stored(tmp_path: Path) -> None:
    with toys.session(tmp_path) as session:
        session.run(flow("r", r=use("Random")))
        assert session.engine.store is not None
        assert session.engine.store.info()["results"] == 0
        job = session.prepare(flow("r", r=use("Random")))
        first = session.run_job(job, resume="J").outputs
    with toys.session(tmp_path) as session:
        assert session.run_job(job, resume="J").outputs == first


def test_of_damaged_values_only_the_last_are_kept(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, 2**30)
    for n in range(KEPT_DAMAGED + 5):
        digest, value = picture(n, 4)
        store.put_blob(digest, IMAGE, value)
        store._path(digest).write_bytes(b"torn")
        assert store.blob(digest, IMAGE) is None
    assert store.info()["quarantined"] == KEPT_DAMAGED
    store.close()


def test_a_result_that_is_used_for_long_is_not_the_oldest(tmp_path: Path) -> None:
    now = [0.0]
    store = DiskStore(tmp_path, 10**6, clock=lambda: now[0])
    for n in range(3):
        store.put_result(str(n), text(n), at_once=True)
        now[0] += 1
    now[0] += USED_AGAIN + 1
    assert store.result("0") is not None
    store.flush()
    store.prune(2 * store.info()["bytes"] // 3)
    assert [store.result(str(n)) is not None for n in range(3)] == [True, False, True]
    store.close()


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import toys
from toys import flow, use
with toys.session(Path(sys.argv[2]), cache_bytes=10**6) as session:
    nodes = {n: use("MakeImage", level=(int(sys.argv[3]) + i / 10) / 100, size=90) for i, n in enumerate("abc")}
    session.run(flow("a.image b.image c.image", **nodes))
"""


@pytest.mark.parametrize("point", ["cache.index.opened", "cache.blob.renamed"])
def test_what_a_killed_process_wrote_is_counted(tmp_path: Path, point: str) -> None:
    limit = 200_000
    for n in range(3):
        command = [sys.executable, "-c", KILLED, str(Path(toys.__file__).parent), str(tmp_path), str(n)]
        environment = {**os.environ, "LATENTLOOM_FAILPOINT": f"{point}:kill"}
        assert subprocess.run(command, env=environment, capture_output=True).returncode == -9
    before = blobs(tmp_path)
    store = DiskStore(tmp_path / "cache", limit)
    assert store.info()["bytes"] >= before > limit * (point == "cache.index.opened")
    store.flush()
    assert blobs(tmp_path) <= limit and store.info()["bytes"] <= limit
    store.close()


def test_files_that_others_put_there_or_removed_are_noticed_at_the_next_start(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, 2**30)
    kept, value = picture(1)
    store.put_blob(kept, IMAGE, value)
    size = store.info()["bytes"]
    store.close()
    strange = tmp_path / "blobs" / "ab" / f"{'ab' * 32}.safetensors"
    strange.parent.mkdir(exist_ok=True)
    strange.write_bytes(b"x" * 1000)
    store = DiskStore(tmp_path, 2**30)
    assert (store.info()["values"], store.info()["bytes"]) == (2, size + 1000)
    store.close()
    strange.unlink()
    shutil.rmtree(tmp_path / "blobs" / kept[:2])
    store = DiskStore(tmp_path, 2**30)
    assert (store.info()["values"], store.info()["bytes"]) == (0, 0)
    store.close()


# Others


def test_a_cache_that_is_cleared_beside_a_live_process_is_empty_for_it_too(tmp_path: Path) -> None:
    first, second = (flow("a.image", a=use("MakeImage", level=level, size=90)) for level in (0.5, 0.6))
    with toys.session(tmp_path, cache_bytes=200_000) as live:
        live.run(first)
        other = DiskStore(tmp_path / "cache", 200_000)
        other.clear()
        other.close()
        live.run(first)
        assert ran() == ["make 0.5"] * 2
        live.run(second)
        assert live.engine.store is not None
        counted = live.engine.store.info()
    assert counted["values"] == 2 and counted["bytes"] >= blobs(tmp_path) > 0
    ran()
    with toys.session(tmp_path, cache_bytes=200_000) as later:
        assert later.engine.store is not None and later.engine.store.info() == counted
        later.run(first)
        later.run(second)
    assert ran() == []


def test_what_waited_when_another_process_cleared_the_cache_is_gone_and_its_files_count(tmp_path: Path) -> None:
    live, other = (DiskStore(tmp_path, 2**30) for _ in range(2))
    live.put_result("a", text(1), at_once=True)
    live.put_result("b", text(2), at_once=False)
    other.clear()
    digest, value = picture(1)
    live.put_blob(digest, IMAGE, value)
    live.flush()
    assert live.result("a") is None and live.result("b") is None
    assert live.info()["values"] == 1 and live.info()["bytes"] == blobs(tmp_path)
    for store in (live, other):
        store.close()


@pytest.mark.parametrize("what", ["cache", "cache/cache.db"])
def test_a_cache_that_is_removed_by_hand_beside_a_live_process_begins_anew(tmp_path: Path, what: str) -> None:
    document = flow("a.image", a=use("MakeImage", level=0.5, size=90))
    with toys.session(tmp_path) as live:
        live.run(document)
        path = tmp_path / what
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert warnings(live, document) == []
        assert live.engine.store is not None and live.engine.store.info()["results"] == 1
    ran()
    with toys.session(tmp_path) as later:
        later.run(document)
    assert ran() == []


def test_a_value_that_another_process_trims_at_this_moment_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, told = DiskStore(tmp_path, 2**30), []
    store.notice = lambda code, message: told.append(code)
    digest, value = picture(1)
    store.put_blob(digest, IMAGE, value)
    path, was = store._path(digest), Path.exists

    def racing(self: Path, **how: Any) -> bool:
        found = was(self, **how)
        if self == path:
            self.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Path, "exists", racing)
    store.put_blob(digest, IMAGE, value)
    monkeypatch.undo()
    assert path.exists() and told == []
    store.close()


def test_a_folder_that_goes_while_a_value_is_written_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, told = DiskStore(tmp_path, 2**30), []
    store.notice = lambda code, message: told.append(code)
    digest, value = picture(1)
    was, times = Path.mkdir, []

    def racing(self: Path, *given: Any, **how: Any) -> None:
        was(self, *given, **how)
        if self.name == digest[:2] and not times:
            times.append(self)
            shutil.rmtree(tmp_path / "blobs")

    monkeypatch.setattr(Path, "mkdir", racing)
    store.put_blob(digest, IMAGE, value)
    monkeypatch.undo()
    assert store.blob(digest, IMAGE) is not None and told == []
    store.close()


def test_a_cache_of_the_first_form_begins_anew_and_counts_its_files(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "cache.db")
    for table in ("results", "fields"):
        connection.execute(f"CREATE TABLE {table} (key TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID")
    connection.execute("CREATE TABLE blobs (digest TEXT PRIMARY KEY, bytes INTEGER, used REAL) WITHOUT ROWID")
    connection.close()
    digest, value = picture(1)
    path = tmp_path / "blobs" / digest[:2] / f"{digest}.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(IMAGE.encode(value))
    told: list[str] = []
    store = DiskStore(tmp_path, 2**30, notice=lambda code, message: told.append(code))
    store.put_result("k", text(1), at_once=True)
    assert store.blob(digest, IMAGE) is not None
    assert (store.info()["values"], store.info()["results"], told) == (1, 1, [])
    store.close()


def test_what_cannot_be_cleared_is_said(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    store = DiskStore(tmp_path / "cache", 2**30)
    with pytest.raises(FileError, match="the cache cannot be cleared"):
        store.clear()


# Faults that pass


def test_after_a_fault_nothing_is_tried_for_a_minute() -> None:
    now = [100.0]
    breaker = Breaker(lambda: now[0])
    breaker.failed("write")
    assert (breaker.allows("read"), breaker.allows("write")) == (True, False)
    now[0] += PAUSE - 1
    assert not breaker.allows("write")
    now[0] += 1
    assert breaker.allows("write")
    assert (breaker.worked(), breaker.worked()) == (True, False)
    breaker.failed("read")
    assert (breaker.allows("read"), breaker.allows("write")) == (False, False)
    now[0] = 5.0  # somebody set the clock back
    assert breaker.allows("read")


def test_a_full_disk_that_has_room_again_is_written_to_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, told = [0.0], []
    store = DiskStore(tmp_path, 2**30, lambda code, message: told.append(code), clock=lambda: now[0])
    first, value = picture(1)
    store.put_blob(first, IMAGE, value)
    monkeypatch.setenv("LATENTLOOM_FAILPOINT", "cache.blob.opened:enospc")
    second, other = picture(2)
    store.put_blob(second, IMAGE, other)
    monkeypatch.delenv("LATENTLOOM_FAILPOINT")
    store.put_blob(second, IMAGE, other)
    assert store.blob(first, IMAGE) is not None, "what is there can be read all the time"
    assert store.blob(second, IMAGE) is None and told == ["cache_not_written"]
    now[0] += PAUSE
    store.put_blob(second, IMAGE, other)
    store.flush()
    assert store.blob(second, IMAGE) is not None and store.info()["values"] == 2
    monkeypatch.setenv("LATENTLOOM_FAILPOINT", "cache.blob.opened:enospc")
    store.put_blob(picture(3)[0], IMAGE, picture(3)[1])
    assert told == ["cache_not_written"] * 2, "a fault that comes back is told again"
    store.close()


def test_results_that_could_not_be_written_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    store = DiskStore(tmp_path, 2**30, clock=lambda: now[0])
    monkeypatch.setenv("LATENTLOOM_FAILPOINT", "cache.index.written:enospc")
    store.put_result("a", text(1), at_once=True)
    monkeypatch.delenv("LATENTLOOM_FAILPOINT")
    store.put_result("b", text(2), at_once=True)
    now[0] += PAUSE
    store.put_result("c", text(3), at_once=True)
    store.close()
    store = DiskStore(tmp_path, 2**30)
    assert [store.result(key) is not None for key in "abc"] == [True] * 3
    store.close()


def test_what_waits_through_a_long_fault_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DiskStore(tmp_path, 2**30)
    monkeypatch.setenv("LATENTLOOM_FAILPOINT", "cache.index.opened:readonly")
    for n in range(200):
        store.put_result(str(n), text(n, 100_000), at_once=True)
        assert store._index._bytes < 10 * 2**20
    store.close()


class Ledger(RuleBasedStateMachine):
    """Two stores over one folder, cleared, trimmed and reopened: what is counted is what is there."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.stores = [DiskStore(self.folder, 10**9) for _ in range(2)]

    @rule(which=st.integers(0, 1), n=st.integers(0, 20), length=st.integers(10, 3000))
    def put_result(self, which: int, n: int, length: int) -> None:
        self.stores[which].put_result(str(n), text(n, length), at_once=False)

    @rule(which=st.integers(0, 1), n=st.integers(0, 20))
    def put_blob(self, which: int, n: int) -> None:
        digest, value = picture(n, 4 + n % 3)
        self.stores[which].put_blob(digest, IMAGE, value)

    @rule(which=st.integers(0, 1), limit=st.integers(0, 50_000))
    def prune(self, which: int, limit: int) -> None:
        self.stores[which].prune(limit)
        assert self.stores[which].info()["bytes"] <= limit

    @rule(which=st.integers(0, 1))
    def clear(self, which: int) -> None:
        self.stores[which].clear()

    @rule(which=st.integers(0, 1))
    def reopen(self, which: int) -> None:
        self.stores[which].close()
        self.stores[which] = DiskStore(self.folder, 10**9)

    @invariant()
    def the_totals_are_the_sums(self) -> None:
        for store in self.stores:
            store.flush()
        connection = sqlite3.connect(self.folder / "cache.db")
        for table in ("results", "fields", "blobs"):
            sums = connection.execute(f"SELECT count(*), coalesce(sum(bytes), 0) FROM {table}").fetchone()
            kept = connection.execute("SELECT count, bytes FROM totals WHERE name = ?", (table,)).fetchone()
            assert sums == kept
        counted = {row[0] for row in connection.execute("SELECT digest FROM blobs")}
        connection.close()
        assert {path.stem for path in self.folder.rglob("*.safetensors")} <= counted

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        shutil.rmtree(self.folder)


TestLedger = Ledger.TestCase
TestLedger.settings = settings(
    max_examples=20, stateful_step_count=12, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
