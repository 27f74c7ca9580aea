"""Kept state: a long step whose run was cancelled, killed or failed goes on where it was, to the same bits."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toys
from toys import flow, ran, use

from latentloom.engine.cache.disk import DiskStore
from latentloom.engine.cache.schema import VERSION
from latentloom.engine.events import Event, NodeProgress, NodeWarning

DOCUMENT = flow("f", f=use("Fold", steps=8))
STEPS = [f"fold {step}" for step in range(8)]
PROCESS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import toys
with toys.session(Path(sys.argv[2])) as session:
    print(session.run(toys.flow("f", f=toys.use("Fold", steps=8))).outputs["o0"], *toys.ran(), sep="\\n")
"""


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    ran()
    yield
    ran()


def whole(folder: Path) -> float:
    """What a run that nobody disturbs gives."""
    with toys.session(folder) as session:
        found = session.run_job(session.prepare(DOCUMENT), cache=False).outputs["o0"]
    assert ran() == STEPS
    return float(found)


def cancelled_at(home: Path, step: int, code: str = "code", **flags: Any) -> None:
    """Run until a step is reached, and cancel."""
    cancelled = threading.Event()

    def listen(event: Event) -> None:
        if isinstance(event, NodeProgress) and event.step == step:
            cancelled.set()

    with toys.session(home, code, **flags) as session:
        outcome = session.run_job(session.prepare(DOCUMENT), cancelled=cancelled, listen=listen)
    assert outcome.status == "cancelled"


def kept_files(home: Path) -> list[Path]:
    return sorted((home / "cache" / "kept").iterdir())


def kept_count(home: Path) -> int:
    with toys.session(home) as session:
        assert session.engine.store is not None
        return session.engine.store.info()["kept"]


def run(home: Path, code: str = "code", **flags: Any) -> float:
    with toys.session(home, code, **flags) as session:
        return float(session.run(DOCUMENT).outputs["o0"])


def test_a_cancelled_step_goes_on_where_it_was_to_the_same_bits(tmp_path: Path) -> None:
    wanted = whole(tmp_path / "other")
    cancelled_at(tmp_path, 5)
    assert ran() == STEPS[:6] and kept_count(tmp_path) == 1
    assert run(tmp_path) == wanted
    assert ran() == STEPS[6:]
    assert (kept_count(tmp_path), kept_files(tmp_path)) == (0, []), "a step that has finished keeps nothing"
    assert run(tmp_path) == wanted and ran() == []


def test_a_killed_process_goes_on_where_it_was_to_the_same_bits(tmp_path: Path) -> None:
    wanted = whole(tmp_path / "other")
    command = [sys.executable, "-c", PROCESS, str(Path(toys.__file__).parent), str(tmp_path)]
    for point in ("cache.kept.renamed", "cache.kept.renamed", "cache.kept.written"):  # two steps, and half of a third
        environment = {**os.environ, "LATENTLOOM_FAILPOINT": f"{point}:kill"}
        assert subprocess.run(command, env=environment, capture_output=True).returncode == -9
    assert kept_count(tmp_path) == 1, "what a killed process kept is counted"
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:-1] == [str(wanted), *STEPS[2:]]
    assert list((tmp_path / "cache" / "kept").iterdir()) == [], "no half file is left"


def test_a_step_that_failed_goes_on_after_the_last_state(tmp_path: Path) -> None:
    wanted = whole(tmp_path / "other")
    cancelled_at(tmp_path, 2)
    cancelled_at(tmp_path, 6)
    assert ran() == STEPS[:7]
    assert run(tmp_path) == wanted and ran() == STEPS[7:]


def test_other_inputs_and_other_code_start_anew(tmp_path: Path) -> None:
    cancelled_at(tmp_path, 5)
    ran()
    run(tmp_path, "new code")
    assert ran() == STEPS
    assert kept_count(tmp_path) == 1
    with toys.session(tmp_path) as session:
        session.run(flow("f", f=use("Fold", steps=9)))
    assert ran() == [*STEPS, "fold 8"]


def test_without_a_cache_nothing_is_kept(tmp_path: Path) -> None:
    cancelled_at(tmp_path, 5, cache_bytes=0)
    assert not (tmp_path / "cache").exists()
    ran()
    run(tmp_path)
    assert ran() == STEPS


def test_a_damaged_state_is_removed_and_the_step_starts_anew(tmp_path: Path) -> None:
    wanted = whole(tmp_path / "other")
    cancelled_at(tmp_path, 5)
    ran()
    (file,) = kept_files(tmp_path)
    file.write_bytes(file.read_bytes()[:-1] + b"9")
    assert run(tmp_path) == wanted and ran() == STEPS


@pytest.mark.parametrize("point", ["cache.kept.written", "cache.kept.renamed"])
def test_a_full_disk_stops_no_step_and_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    wanted = whole(tmp_path / "other")
    monkeypatch.setenv("LATENTLOOM_FAILPOINT", f"{point}:enospc")
    events: list[Event] = []
    with toys.session(tmp_path) as session:
        assert session.run(DOCUMENT, on_event=events.append).outputs["o0"] == wanted
    (warning,) = [event for event in events if isinstance(event, NodeWarning)]
    assert warning.code == "cache_not_written" and "No space left on device" in warning.message
    assert list((tmp_path / "cache" / "kept").glob(".*")) == [], "no half file is left"


def test_the_state_before_outlives_a_disk_that_became_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DiskStore(tmp_path, 2**30)
    assert store.keep("k", b"first")
    monkeypatch.setenv("LATENTLOOM_FAILPOINT", "cache.kept.written:enospc")
    assert not store.keep("k", b"second")
    store.drop_kept("k")
    assert store.kept("k") == b"first", "while nothing can be written, the result may not be stored"
    store.close()


def test_kept_state_counts_and_is_pruned_last(tmp_path: Path) -> None:
    from latentloom.engine.cache.cache import Item, Result
    from latentloom.engine.keys import literal_digest

    def result(text: str) -> Result:
        return Result({"value": Item("STRING", literal_digest("STRING", text), text)})

    now = iter(range(1000))
    store = DiskStore(tmp_path, 2**30, clock=lambda: float(next(now)))
    assert store.keep("running", b"x" * 10_000) and store.keep("finished", b"x" * 10_000)
    for key in ("finished", "a", "b"):
        store.put_result(key, result("word " * 1000), at_once=True)
    assert store.info()["kept"] == 2 and store.info()["bytes"] > 30_000
    store.prune(store.info()["bytes"] - 1)
    assert (store.kept("finished"), store.kept("running")) == (None, b"x" * 10_000)
    store.prune(11_000)
    assert store.info() | {"bytes": 0} == {
        "results": 0,
        "values": 0,
        "kept": 1,
        "bytes": 0,
        "limit_bytes": 2**30,
        "quarantined": 0,
    }
    store.prune(0)
    assert store.kept("running") is None and store.info()["bytes"] == 0
    store.close()


def test_state_is_counted_again_when_the_index_is_made_anew(tmp_path: Path) -> None:
    cancelled_at(tmp_path, 5)
    for file in (tmp_path / "cache").glob("cache.db*"):
        file.unlink()
    assert kept_count(tmp_path) == 1


def test_an_index_without_kept_state_is_brought_up(tmp_path: Path) -> None:
    run(tmp_path)
    ran()
    with sqlite3.connect(tmp_path / "cache" / "cache.db") as connection:
        connection.execute("DROP TABLE kept")
        connection.execute("DELETE FROM totals WHERE name = 'kept'")
        connection.execute(f"PRAGMA user_version = {VERSION - 1}")
    connection.close()
    run(tmp_path)
    assert ran() == [], "results of the older schema stay"
    assert kept_count(tmp_path) == 0
