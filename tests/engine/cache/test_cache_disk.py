"""The cache on disk: whatever is torn, swapped, full or gone is a miss and one notice, never a wrong value."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toys
from toys import flow, ran, use

from latentloom.engine.cache.cache import Cache, Item, Result
from latentloom.engine.cache.disk import DiskStore
from latentloom.engine.cache.index import Index
from latentloom.engine.events import Event, NodeWarning
from latentloom.engine.failpoints import POINTS
from latentloom.engine.keys import literal_digest
from latentloom.engine.types.port_types import PortType

DOCUMENT = flow(
    "m i.image", a=use("MakeImage", level=0.25), i=use("Invert", image="@a.image"), m=use("Mean", image="@i.image")
)
ALL = ["make 0.25", "invert", "mean"]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    ran()
    yield
    ran()


def run(home: Path, document: dict[str, Any] = DOCUMENT, **flags: Any) -> list[NodeWarning]:
    """Run in a new session; the values are right, whatever the cache does."""
    found: list[Event] = []
    with toys.session(home, **flags) as session:
        outputs = session.run(document, on_event=found.append).outputs
    assert outputs["o0"] == 0.75 and float(outputs["o1"].numpy().min()) == 0.75
    return [event for event in found if isinstance(event, NodeWarning)]


def blobs(home: Path) -> list[Path]:
    return sorted(home.glob("cache/blobs/*/*.safetensors"))


def info(home: Path) -> dict[str, int]:
    with toys.session(home) as session:
        assert session.engine.store is not None
        return session.engine.store.info()


def test_results_survive_a_restart(tmp_path: Path) -> None:
    assert run(tmp_path) == [] == run(tmp_path)
    assert ran() == ALL
    assert info(tmp_path) | {"bytes": 0} == {
        "results": 3,
        "values": 2,
        "kept": 0,
        "bytes": 0,
        "limit_bytes": 10 * 2**30,
        "quarantined": 0,
    }


def test_other_code_is_another_result(tmp_path: Path) -> None:
    run(tmp_path)
    with toys.session(tmp_path, "new code") as session:
        session.run(DOCUMENT)
    assert ran() == ALL * 2


def test_another_salt_disowns_every_result(tmp_path: Path) -> None:
    run(tmp_path)
    run(tmp_path, salt="another")
    assert ran() == ALL * 2


@pytest.mark.parametrize("damage", ["truncate", "empty", "flip", "swap", "foreign", "header"])
def test_a_damaged_blob_is_made_again_and_set_aside(tmp_path: Path, damage: str) -> None:
    run(tmp_path)
    one, two = blobs(tmp_path)
    data = one.read_bytes()
    if damage == "swap":
        one.write_bytes(two.read_bytes())
        two.write_bytes(data)
    for path in (one, two) if damage != "swap" else ():
        data = path.read_bytes()
        path.write_bytes(
            {
                "truncate": data[:-1],
                "empty": b"",
                "flip": data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],
                "foreign": b"\x89PNG" * 10,
                "header": b"\xff" * 8 + data[8:],
            }[damage]
        )
    (warning,) = run(tmp_path)
    place = tmp_path / "cache" / "quarantine"
    assert (warning.code, warning.message) == (
        "cache_corrupt",
        f"a cached value was damaged; it was moved to {place} and is computed again",
    )
    assert ran()[3:] == ["make 0.25", "invert"]
    assert run(tmp_path) == []
    assert info(tmp_path)["quarantined"] == 2


def test_missing_blobs_are_made_again_without_a_word(tmp_path: Path) -> None:
    run(tmp_path)
    for path in blobs(tmp_path):
        path.unlink()
    assert run(tmp_path) == []
    assert ran()[3:] == ["make 0.25", "invert"]


def test_a_missing_value_that_nobody_needs_stays_away(tmp_path: Path) -> None:
    run(tmp_path)
    for path in blobs(tmp_path):
        path.unlink()
    with toys.session(tmp_path) as session:
        assert session.run(DOCUMENT, outputs=["o0"]).outputs == {"o0": 0.75}
    assert ran()[3:] == []


@pytest.mark.parametrize("damage", ["garbage", "truncated", "pages"])
def test_a_damaged_index_is_set_aside(tmp_path: Path, damage: str) -> None:
    run(tmp_path)
    path = tmp_path / "cache" / "cache.db"
    data = path.read_bytes()
    path.write_bytes(
        {
            "garbage": b"no database" * 500,
            "truncated": data[:5000],
            "pages": data[:4096] + b"\xaa" * (len(data) - 4096),
        }[damage]
    )
    (warning,) = run(tmp_path)
    assert warning.code == "cache_corrupt"
    assert warning.message.startswith("the cache's index was damaged; it is in ")
    assert run(tmp_path) == []


def execute(home: Path, statement: str, *values: Any) -> list[Any]:
    connection = sqlite3.connect(home / "cache" / "cache.db")
    with connection:
        found = connection.execute(statement, values).fetchall()
    connection.close()
    return found


@pytest.mark.parametrize("record", ["", "{", "x" * 99, "[]", '{"outputs": {"value": ["FLOAT", "00", 5]}}'])
def test_a_damaged_result_is_made_again(tmp_path: Path, record: str) -> None:
    run(tmp_path)
    execute(tmp_path, "UPDATE results SET record = substr(record, 1, 16) || ?", record)
    (warning,) = run(tmp_path)
    assert (warning.code, warning.message) == ("cache_corrupt", "a stored result was damaged; it is computed again")
    assert run(tmp_path) == []


def test_results_that_changed_places_are_made_again(tmp_path: Path) -> None:
    run(tmp_path)
    rows = execute(tmp_path, "SELECT key, record FROM results")
    for (key, _), (_, record) in zip(rows, rows[1:] + rows[:1], strict=True):
        execute(tmp_path, "UPDATE results SET record = ? WHERE key = ?", record, key)
    assert [warning.code for warning in run(tmp_path)] == ["cache_corrupt"]


def test_an_index_of_another_form_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    execute(tmp_path, "CREATE TABLE results (other TEXT)")
    assert [warning.code for warning in run(tmp_path)] == ["cache_not_written"]
    assert execute(tmp_path, "SELECT * FROM results") == []


def test_an_index_that_went_away_still_counts_the_blobs(tmp_path: Path) -> None:
    run(tmp_path)
    before = info(tmp_path)
    for path in (tmp_path / "cache").glob("cache.db*"):
        path.unlink()
    assert info(tmp_path) == {**before, "results": 0, "bytes": sum(path.stat().st_size for path in blobs(tmp_path))}


# A disk that does not take it


@pytest.mark.parametrize("action", ["enospc", "readonly"])
@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith(("cache.blob", "cache.index"))])
def test_a_disk_that_takes_no_more_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, action: str
) -> None:
    monkeypatch.setenv("LATENTLOOM_FAILPOINT", f"{point}:{action}")
    (warning,) = run(tmp_path)
    text = {"enospc": "[Errno 28] No space left on device", "readonly": "[Errno 30] Read-only file system"}[action]
    assert (warning.node, warning.code) == (None, "cache_not_written")
    assert warning.message == (
        f"the cache at {tmp_path / 'cache'} cannot be written to ({text}: '{point}'); the run continues without it"
    )
    monkeypatch.delenv("LATENTLOOM_FAILPOINT")
    assert run(tmp_path) == []
    assert not list(tmp_path.glob("cache/blobs/*/.partial-*"))


def test_a_cache_folder_that_cannot_be_made_costs_one_warning(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    assert [warning.code for warning in run(tmp_path)] == ["cache_not_written"]


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import toys
from toys import flow, use
n = int(sys.argv[3]) if len(sys.argv) > 3 else 1
for k in range(n):
    nodes = {"a": use("MakeImage", level=0.25), "i": use("Invert", image="@a.image")}
    nodes["m"] = use("Mean", image="@i.image")
    for j in range(5 * (n > 1)):
        nodes[f"x{j}"] = use("MakeImage", level=(k * 5 + j) / 1000, size=8)
        nodes[f"y{j}"] = use("Mean", image=f"@x{j}.image")
    ends = " ".join(f"y{j}" for j in range(5 * (n > 1)))
    with toys.session(Path(sys.argv[2])) as session:
        found = session.run(flow(f"m {ends}", **nodes), on_event=lambda e: e.name == "node_warning" and print(e.code))
    for j in range(5 * (n > 1)):
        assert abs(found.outputs[f"o{j + 1}"] - (k * 5 + j) / 1000) < 1e-6
print(found.outputs["o0"])
"""


def process(home: Path, *arguments: str, failpoint: str = "") -> "subprocess.Popen[str]":
    environment = {**os.environ, "LATENTLOOM_FAILPOINT": failpoint}
    command = [sys.executable, "-c", SCRIPT, str(Path(toys.__file__).parent), str(home), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith(("cache.blob", "cache.index"))])
def test_a_process_that_is_killed_leaves_no_wrong_value(tmp_path: Path, point: str) -> None:
    killed = process(tmp_path, failpoint=f"{point}:kill")
    killed.communicate()
    assert killed.returncode == -9
    assert run(tmp_path) == []
    assert run(tmp_path) == []
    assert info(tmp_path)["values"] == 2
    assert not list(tmp_path.glob("cache/blobs/*/.partial-*"))


def test_two_processes_share_a_cache(tmp_path: Path) -> None:
    running = [process(tmp_path, "6") for _ in range(2)]
    for one in running:
        assert one.communicate() == ("0.75\n", "")
    run(tmp_path)
    assert ran() == []


OPENING = """
import sys, time
from pathlib import Path
from latentloom.engine.cache.index import Index
name, home, start = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
for attempt in range(20):
    time.sleep(max(0, start + attempt * 0.1 - time.time()))
    index = Index(home / f"{attempt}", home / f"{attempt}" / "blobs", lambda code, message: print(message))
    index.put_text("results", name, name)
    index.commit()
    index.close()
"""


def test_several_processes_may_open_a_new_cache_at_once(tmp_path: Path) -> None:
    start = str(time.time() + 2)  # all are up by then, or come later and meet less often
    command = [sys.executable, "-c", OPENING]
    running = [
        subprocess.Popen([*command, name, str(tmp_path), start], stdout=subprocess.PIPE, text=True) for name in "abcd"
    ]
    assert [one.communicate()[0] for one in running] == [""] * 4
    for attempt in range(20):
        index = Index(tmp_path / f"{attempt}", tmp_path / f"{attempt}" / "blobs", lambda code, message: None)
        assert [index.text("results", name) for name in "abcd"] == list("abcd")
        index.close()


# Housekeeping


def test_the_size_limit_keeps_what_was_used_last(tmp_path: Path) -> None:
    ticks = iter(range(1000))
    store = DiskStore(tmp_path, 10**6, clock=lambda: next(ticks))
    image = PortType("IMAGE", toys.Image, toys.registry().type_of("IMAGE").codec)  # type: ignore[union-attr]
    digests = []
    for n in range(4):
        value = toys.make_image(level=n / 10, size=10)
        digests.append(image.digest(value))
        store.put_blob(str(digests[-1]), image, value)
        store.flush()
    assert store.blob(str(digests[0]), image) is not None
    store.flush()
    size = store.info()["bytes"] // 4
    assert store.prune(2 * size) == 2 * size
    assert [store.blob(str(digest), image) is not None for digest in digests] == [True, False, False, True]


def test_a_run_keeps_within_the_limit(tmp_path: Path) -> None:
    run(tmp_path, cache_bytes=500)
    assert info(tmp_path)["bytes"] <= 500
    assert sum(path.stat().st_size for path in blobs(tmp_path)) <= 500


def test_a_limit_of_zero_writes_nothing(tmp_path: Path) -> None:
    run(tmp_path, cache_bytes=0)
    assert not (tmp_path / "cache").exists()


def test_clear_removes_everything(tmp_path: Path) -> None:
    run(tmp_path)
    with toys.session(tmp_path) as session:
        assert session.engine.store is not None
        session.engine.store.clear()
    assert info(tmp_path) | {"limit_bytes": 0} == {
        "results": 0,
        "values": 0,
        "kept": 0,
        "bytes": 0,
        "limit_bytes": 0,
        "quarantined": 0,
    }
    run(tmp_path)
    assert ran() == ALL * 2


def test_no_pickle_is_anywhere(tmp_path: Path) -> None:
    run(tmp_path)
    for path in blobs(tmp_path):
        data = path.read_bytes()
        assert json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["kind"] == "IMAGE"


# Memory


def test_a_memory_of_nothing_still_gives_the_right_values(tmp_path: Path) -> None:
    run(tmp_path, memory_cache_bytes=0, cache_bytes=0)
    assert ran() == ALL


def test_the_memory_budget_drops_what_was_used_longest_ago() -> None:
    cache = Cache(1000)
    kind = PortType("TOKEN", toys.Token, None)  # 256 bytes each
    items = [Item("TOKEN", f"memory/{n}") for n in range(4)]
    for item in items[:3]:
        cache.put_value(item, kind, item.digest)
    cache.value(items[0], kind)
    cache.put_value(items[3], kind, "new")
    assert [cache.value(item, kind) is not None for item in items] == [True, False, True, True]
    assert (cache.held_bytes, cache.counts.evicted) == (768, 1)


def test_hits_and_misses_are_counted() -> None:
    cache = Cache(1000)
    cache.put_result("k", Result({"value": Item("INT", literal_digest("INT", 1), 1)}))
    assert cache.result("k") is not None and cache.result("other") is None
    assert (cache.counts.hits, cache.counts.misses) == (1, 1)
