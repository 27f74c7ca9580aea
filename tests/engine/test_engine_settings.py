"""Settings, hashes, seeds, explanations and failpoints."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toys
from toys import flow, use

import latentloom.engine
import latentloom.web
from latentloom.api import Session
from latentloom.engine import failpoints
from latentloom.engine.document.reading import from_json
from latentloom.engine.document.resolve import resolve
from latentloom.engine.document.workflow import Target
from latentloom.engine.errors import SettingsError, WorkflowError
from latentloom.engine.files.hashes import Hashes
from latentloom.engine.settings import load_settings

# Settings


def test_flags_go_before_variables_before_the_file_before_defaults(tmp_path: Path) -> None:
    home = {"LATENTLOOM_HOME": str(tmp_path)}
    assert load_settings({}, home).dtype == "auto"
    (tmp_path / "latentloom.toml").write_text('dtype = "fp32"\ncache_bytes = 5\nsalt = "s"\n')
    found = load_settings({"dtype": "bf16"}, {**home, "LATENTLOOM_DTYPE": "fp16", "LATENTLOOM_CACHE_BYTES": "7"})
    assert (found.dtype, found.cache_bytes, found.salt) == ("bf16", 7, "s")


def test_a_home_moves_every_folder(tmp_path: Path) -> None:
    found = load_settings({}, {"LATENTLOOM_HOME": str(tmp_path)})
    assert {found.data, found.input, found.output, found.cache, *found.models} == {
        tmp_path / name for name in ("data", "input", "output", "cache", "models")
    }


def test_lists_come_from_variables(tmp_path: Path) -> None:
    environment = {
        "LATENTLOOM_HOME": str(tmp_path),
        "LATENTLOOM_MODELS": os.pathsep.join(["/a", "/b"]),
        "LATENTLOOM_PLUGINS": "x,y",
    }
    found = load_settings({}, environment)
    assert (found.models, found.plugins) == ((Path("/a"), Path("/b")), ("x", "y"))


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (
            {"devise": "cpu"},
            "the setting 'devise' cannot be used: Extra inputs are not permitted. Did you mean 'device'?",
        ),
        (
            {"dtype": "fp8"},
            "the setting 'dtype' cannot be used: Input should be 'auto', 'fp32', 'fp16' or 'bf16' (got 'fp8')",
        ),
        (
            {"cache_bytes": -1},
            "the setting 'cache_bytes' cannot be used: Input should be greater than or equal to 0 (got -1)",
        ),
        ({"device": "gpu"}, "the setting 'device' cannot be used: String should match pattern"),
    ],
)
def test_a_bad_setting_is_named(tmp_path: Path, flags: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(flags, {"LATENTLOOM_HOME": str(tmp_path)})
    assert caught.value.code == "bad_setting" and str(caught.value).startswith(text)


@pytest.mark.parametrize("content", [b"dtype = ", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "latentloom.toml").write_bytes(content)
    with pytest.raises(SettingsError, match=re.escape(f"{tmp_path / 'latentloom.toml'} cannot be read: ")):
        load_settings({}, {"LATENTLOOM_HOME": str(tmp_path)})


# Hashes


def old(path: Path, text: str, age: int = 100) -> Path:
    """A file that was written some time ago."""
    path.write_text(text)
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))
    return path


def test_a_file_is_read_once(tmp_path: Path) -> None:
    hashes, path, reads = Hashes(tmp_path / "memo" / "hashes.db"), old(tmp_path / "file", "one"), []
    for _ in range(2):
        assert hashes.sha256(path, lambda done, total: reads.append(done)) == (
            "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
        )
    assert reads == [3] and hashes.knows(path)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    hashes, path = Hashes(tmp_path / "hashes.db"), tmp_path / "file"
    assert hashes.sha256(old(path, "one", 100)) != hashes.sha256(old(path, "two", 50))


def test_a_file_that_was_just_written_is_not_trusted_to_stay(tmp_path: Path) -> None:
    hashes, path = Hashes(tmp_path / "hashes.db"), tmp_path / "file"
    path.write_text("one")
    time = path.stat().st_mtime_ns
    first = hashes.sha256(path)
    path.write_text("two")
    os.utime(path, ns=(time, time))
    assert hashes.sha256(path) != first


def test_a_broken_memo_only_costs_time(tmp_path: Path) -> None:
    path, memo = old(tmp_path / "file", "one"), tmp_path / "hashes.db"
    first = Hashes(memo).sha256(path)
    memo.write_bytes(b"no database at all" * 100)
    assert [Hashes(memo).sha256(path) for _ in range(2)] == [first, first]
    assert Hashes(memo).knows(path)


def test_a_memo_that_cannot_be_made_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "memo").write_text("in the way")
    assert len(Hashes(tmp_path / "memo" / "hashes.db").sha256(old(tmp_path / "file", "one"))) == 64


def test_a_folder_is_its_names_and_contents(tmp_path: Path) -> None:
    hashes, folder = Hashes(tmp_path / "hashes.db"), tmp_path / "model"
    folder.mkdir()
    old(folder / "a", "1")
    first = hashes.sha256(folder)
    (folder / ".hidden").write_text("no matter")
    assert hashes.sha256(folder) == first
    (folder / "a").rename(folder / "b")
    assert hashes.sha256(folder) != first


# Seeds

SEEDS = {
    **flow(
        "a",
        a=use("Seeded", seed="random"),
        b=use("Seeded", seed="random"),
        c=use("Seeded", seed="random"),
        d=use("Seeded", seed=7),
    ),
    "inputs": [
        {
            "name": "seed",
            "to": [{"node": "a", "input": "seed"}, {"node": "b", "input": "seed"}, {"node": "d", "input": "seed"}],
        }
    ],
}


def seeds(**inputs: Any) -> list[int]:
    drawn = iter(range(100, 200))
    found = resolve(from_json(SEEDS), toys.registry(), inputs, draw=lambda: next(drawn))
    return [node.inputs["seed"] for node in found.nodes.values()]


def test_one_random_of_a_named_input_is_one_number() -> None:
    assert seeds() == [100, 100, 101, 7]
    assert seeds(seed="random") == [100, 100, 101, 100]
    assert seeds(seed=5) == [5, 5, 100, 5]


def test_a_text_that_says_random_is_no_seed() -> None:
    document = from_json(flow("c", c=use("Concat", texts=[], mark="random")))
    assert resolve(document, toys.registry()).nodes["c"].inputs["mark"] == "random"


def test_values_by_node_must_have_a_node() -> None:
    with pytest.raises(WorkflowError) as caught:
        resolve(from_json(SEEDS), toys.registry(), values={Target("z", "seed"): 1})
    assert str(caught.value) == "there is no node 'z'"


# Explanations


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with toys.session(tmp_path) as made:
        yield made


def reasons(session: Session, document: dict[str, Any]) -> dict[str, str]:
    return {one.node: f"{one.status}: {re.sub(' in .* s$', '', one.reason)}" for one in session.explain(document)}


PLAN = flow("h", a=use("Add", a=1), b=use("Add", a="@a"), h=use("Sink", value="@b"))


def test_before_the_first_run_nothing_is_known(session: Session) -> None:
    assert reasons(session, PLAN) == {
        "a": "run: never computed before",
        "b": "unknown: unknown until 'a' ran",
        "h": "run: it saves or sends something, so it always runs",
    }


def test_after_a_run_everything_is_known(session: Session) -> None:
    session.run(PLAN)
    assert reasons(session, PLAN) == {
        "a": "hit: computed before",
        "b": "hit: computed before",
        "h": "run: it saves or sends something, so it always runs",
    }


def test_what_changed_is_named(session: Session) -> None:
    session.run(PLAN)
    document = {**PLAN, "nodes": {**PLAN["nodes"], "b": use("Add", a="@a", b=9)}}
    assert reasons(session, document)["b"] == "run: changed: input 'b'"


def test_what_changed_is_known_after_a_restart(tmp_path: Path) -> None:
    with toys.session(tmp_path) as session:
        session.run(PLAN)
    with toys.session(tmp_path, "other code", salt="x") as session:
        assert reasons(session, PLAN)["a"] == "run: changed: the code of its plugin or of Latentloom, the cache salt"


def test_what_cannot_be_known_says_why(session: Session, tmp_path: Path) -> None:
    nodes = {
        "r": use("Random"),
        "e": use("External", path=str(tmp_path)),
        "i": use("If", flag=True, yes="@y", no=2),
        "y": use("Add", a=1),
    }
    assert reasons(session, flow("r e i", **nodes)) == {
        "r": "unknown: it runs once in every job",
        "e": "unknown: it reads external state when it runs",
        "i": "unknown: which lazy inputs it needs is known only when it runs",
        "y": "run: never computed before",
    }


def test_a_lazy_node_is_explained_by_what_it_asked_for(session: Session) -> None:
    document = flow("i", i=use("If", flag=True, yes="@y", no="@n"), y=use("Add", a=1), n=use("Add", a=2))
    session.run(document)
    assert reasons(session, document)["i"] == "hit: computed before"


# Failpoints


def test_every_failpoint_is_in_the_code_once() -> None:
    folders = [Path(package.__file__ or "").parent for package in (latentloom.engine, latentloom.web)]
    code = "\n".join(path.read_text() for folder in folders for path in folder.rglob("*.py"))
    assert sorted(re.findall(r'\bfailpoint\("([a-z.]+)"\)', code)) == sorted(failpoints.POINTS)


def test_a_failpoint_that_nobody_names_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTLOOM_FAILPOINT", "cache.blob.opened:enospc")
    failpoints.failpoint("cache.blob.written")
    with pytest.raises(OSError, match="No space left on device"):
        failpoints.failpoint("cache.blob.opened")


# Secrets


SECRET = "hunter2-hunter2-hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f'tokens = "bob:{SECRET}"',
        f'tokens = ["bob:{SECRET}", 7]',
        f'tokens = {{bob = "{SECRET}"}}',
        f'tokens = [["bob", "{SECRET}"]]',
        f'token = "bob:{SECRET}"',
        f'[tokens]\nbob = "{SECRET}"',
        f'[server]\ntokens = "bob:{SECRET}"',
        f'tokens = "bob:{SECRET}',
        f"tokens = bob:{SECRET}",
    ],
)
def test_no_error_about_settings_tells_a_secret(text, tmp_path):
    (tmp_path / "latentloom.toml").write_text(text)

    with pytest.raises(SettingsError) as caught:
        load_settings({}, {"LATENTLOOM_HOME": str(tmp_path)})

    assert SECRET not in str(caught.value) + repr(caught.value) + str(caught.value.problem.record())
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_no_setting_that_is_a_secret_is_shown_with_the_others(tmp_path):
    settings = load_settings({"tokens": (f"bob:{SECRET}",)}, {"LATENTLOOM_HOME": str(tmp_path)})

    assert SECRET not in repr(settings) + str(settings)


def test_an_unknown_setting_is_told_without_its_value(tmp_path):
    with pytest.raises(SettingsError) as caught:
        load_settings({"devise": "cpu"}, {"LATENTLOOM_HOME": str(tmp_path)})

    assert (caught.value.problem.got, caught.value.problem.nearest) == (None, "device")
