"""Plugins whose nodes run in a process of their own: like others, but whatever they do hurts nobody else."""

import os
import signal
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plugin_sites import discovered, install, points
from serving import until

from latentloom.api import Session
from latentloom.engine import Image
from latentloom.engine.errors import Cancelled, LoomError
from latentloom.engine.settings import load_settings
from latentloom.plugins.discovery import discover
from latentloom.plugins.isolation.calls import Isolated, Limits, process_of
from latentloom.plugins.isolation.isolating import Isolation, write_isolated
from latentloom.plugins.isolation.process import Process, Program, python
from latentloom.plugins.snapshots import Snapshots

CODE = '''
import asyncio, ctypes, json, os, sys, time
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, NamedTuple

import numpy as np

from latentloom.engine import Absent, Context, Expansion, Image, InputFile, Lazy, Mask, Model, Source, node
from latentloom.engine.errors import BadValueError
from latentloom.plugins import hookimpl

class Two(NamedTuple):
    image: Image
    count: int

@node("Invert")
def invert(image: Image) -> Two:
    """The negative of a picture, and the number of pictures."""
    return Two(Image(1 - image.numpy()), len(image))

@node("Fill")
def fill(ctx: Context, size: int = 8, level: float = 0.5) -> Image:
    """A plain picture, shown while it is made."""
    made = Image(np.full((1, size, size, 3), level, np.float32))
    ctx.progress(1, 2, lambda: made, "half", {"level": level})
    ctx.warn("pale", "it is pale")
    return made

@node("Crash", purity="nondeterministic")
def crash(how: str) -> int:
    """Ends its process."""
    print("last words", flush=True)
    if how == "signal":
        ctypes.string_at(0)
    if how == "exit":
        os._exit(3)
    if how == "quit":
        sys.exit("bye")
    if how == "raise":
        raise KeyError("lost")
    if how == "bad":
        raise BadValueError("too much", expected="less", got="more")
    if how == "sleep":
        time.sleep(600)
    return os.getpid()

@node("Waits", purity="nondeterministic")
def waits(ctx: Context, mark: str) -> int:
    """Runs until it is cancelled."""
    while True:
        ctx.progress(1, 2)
        open(mark, "a").close()
        time.sleep(0.01)

@node("Chatters", purity="nondeterministic")
def chatters(ctx: Context) -> int:
    """Reports from several threads at once."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: ctx.progress(n, 400, None, "x" * 5000), range(400)))
    return 400

@node("Hoard")
def hoard(megabytes: int) -> int:
    """Allocates memory."""
    return int(np.ones(megabytes * 2**17).sum())

@node("Writes")
def writes(image: Image) -> int:
    """Writes into its input."""
    image.numpy().setflags(write=True) if False else image._pixels._memory().fill(0)
    return 1

@node("Loads")
def loads(ctx: Context, image: Image) -> int:
    """Wants a model."""
    with ctx.load(Model("kind", [])):
        return 1

@node("Chooses", needs=lambda first: ["a"] if first else ["b"])
def chooses(first: bool, a: Lazy[int], b: Lazy[int]) -> int:
    """One of two numbers."""
    return a if first else b

@node("Outside", purity="external", fingerprint=lambda path: open(path).read())
def outside(path: str) -> str:
    """What a file says."""
    return open(path).read()

@node("Older", version=2, migrate=lambda inputs, from_version: {"a": inputs["old"] + from_version})
def older(a: int) -> int:
    """A number."""
    return a

@node("Stands")
def stands(ctx: Context, image: Image) -> Two:
    """Another node, in its place."""
    inner = {"i": {"type": "iso/Invert", "version": 1, "inputs": {"image": ctx.edge("image")}}}
    return Expansion(inner, {name: {"node": "i", "output": name} for name in ("image", "count")})

@node("Later")
async def later(a: int) -> int:
    """A number, later."""
    await asyncio.sleep(0)
    return a + 1

@node("Saves", purity="sink")
def saves(ctx: Context, image: Image) -> str:
    """Saves a picture."""
    return os.path.basename(ctx.save("image", image.numpy()[0], "{word}", word="mine"))

@node("Nothing")
def nothing(a: int) -> Image | Absent:
    """No picture."""
    return Absent("there is none", "ask later")

@node("Sees", purity="nondeterministic")
def sees(name: str) -> str:
    """An environment variable."""
    os.environ["ISOLATED_WAS_HERE"] = "1"
    os.chdir("/")
    np.seterr(all="raise")
    return os.environ.get(name, "nothing")

@node("Reads")
def reads(file: Annotated[InputFile, Source("input")]) -> str:
    """The text of a file."""
    return open(file.path).read()

@node("Notes", purity="nondeterministic")
def notes(ctx: Context) -> str:
    """Logs and uses its folder."""
    ctx.log.debug("not wanted")
    ctx.log.info("%s steps", 3)
    try:
        raise ValueError("odd")
    except ValueError:
        ctx.log.exception("it went wrong")
    (ctx.folder / "note").write_text("kept")
    return str(ctx.folder)

@node("Device", device=True)
def device(ctx: Context) -> str:
    """Names the device."""
    return ctx.device

@node("Data")
def data(json: dict, many: list[float]) -> dict:
    """Data, as it is."""
    return {"json": json, "many": many}

@hookimpl
def register(registry):
    registry.node(invert, fill, crash, chatters, waits, hoard, writes, loads, chooses, outside, older, stands, later,
                  saves, nothing, sees, reads, data, notes, device)
    registry.sampler("euler_iso", later_sampler)

def later_sampler(denoised, x, sigmas, noise, report):
    """No sampler."""
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("site")
    install(folder, "iso", CODE)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def opened(site: Path, home: Path, *, isolated: bool = True, **flags: Any) -> Session:
    settings = load_settings(flags, {"LATENTLOOM_HOME": str(home)})
    limits = Limits(settings.isolated_seconds, settings.isolated_bytes)
    isolation = Isolation(frozenset({"iso"} if isolated else ()), limits)
    both = [point for point in entry_points(group="latentloom") if point.name == "builtin"] + points(site)
    found = discover(Snapshots(home / "data" / "specs"), points=both, isolation=isolation)
    return Session(settings, found.registry)


@pytest.fixture(scope="module")
def session(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with opened(site, tmp_path_factory.mktemp("home")) as made:
        yield made


def node(type: str, /, **inputs: Any) -> dict[str, Any]:
    return {"type": f"iso/{type}", "version": 1, "inputs": inputs}


def edge(node: str, output: str = "value") -> dict[str, Any]:
    return {"node": node, "output": output}


def document(outputs: dict[str, dict[str, Any]], **nodes: Any) -> dict[str, Any]:
    return {
        "format": "latentloom/1",
        "nodes": nodes,
        "outputs": [{"name": name, "from": source} for name, source in outputs.items()],
    }


def value(session: Session, made: dict[str, Any], output: str = "value") -> Any:
    return session.run(document({"x": edge("n", output)}, n=made)).outputs["x"]


def process(session: Session) -> Process:
    function = session.engine.registry.nodes["iso/Invert"].spec.function
    return process_of(Isolated.of(function.partition(":")[2]).home)


def test_nothing_of_the_plugin_is_in_this_process(session: Session) -> None:
    assert value(session, node("Later", a=1)) == 2
    assert not [name for name in sys.modules if name.startswith("module_iso")]


@pytest.mark.parametrize("size", [4, 256])  # inside the message, and in shared memory
def test_an_isolated_run_is_equal_to_an_unisolated_one_and_shares_its_cache(
    site: Path, tmp_path: Path, size: int
) -> None:
    made = document(
        {"image": edge("i", "image"), "count": edge("i", "count")},
        f=node("Fill", size=size, level=0.3),
        i=node("Invert", image=edge("f", "image")),
    )
    with opened(site, tmp_path) as first:
        result = first.run(made)
        assert result.outputs["count"] == 1
        assert np.array_equal(
            result.outputs["image"].numpy(), np.full((1, size, size, 3), np.float32(1) - np.float32(0.3))
        )
        fresh = first.run(made, cache=False).outputs["image"]
    with opened(site, tmp_path, isolated=False) as second:
        again = second.run(made)
        assert {id: report.status for id, report in again.nodes.items()} == {"f": "cached", "i": "cached"}
        assert np.array_equal(second.run(made, cache=False).outputs["image"].numpy(), fresh.numpy())


def test_events_of_a_node_arrive(session: Session) -> None:
    events = list(session.stream(document({"x": edge("n", "image")}, n=node("Fill", level=0.75))))
    own = [event for event in events if getattr(event, "node", None) == "n"]
    assert [event.name for event in own] == [
        "node_started", "node_progress", "node_preview", "node_warning", "node_finished"
    ]  # fmt: skip
    assert (own[1].step, own[1].total, own[1].message, own[1].figures) == (1, 2, "half", {"level": 0.75})
    assert own[2].image.shape == (1, 8, 8, 3)
    assert (own[3].code, own[3].message) == ("pale", "it is pale")


def test_a_node_may_report_from_several_threads(session: Session) -> None:
    events = list(session.stream(document({"x": edge("n")}, n=node("Chatters"))))
    assert sorted(event.step for event in events if event.name == "node_progress") == list(range(400))


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("signal", "process_failed", "iso/Crash: the process of the plugin 'iso' ended (SIGSEGV)"),
        ("exit", "process_failed", "iso/Crash: the process of the plugin 'iso' ended (exit code 3)"),
        ("quit", "node_failed", "iso/Crash failed: SystemExit: bye"),
        ("raise", "node_failed", "iso/Crash failed: KeyError: 'lost'"),
        ("bad", "node_failed", "iso/Crash: too much"),
    ],
)
def test_a_crash_is_an_error_of_its_node_and_the_process_starts_again(
    session: Session, how: str, code: str, words: str
) -> None:
    with pytest.raises(LoomError) as caught:
        value(session, node("Crash", how=how))
    (problem,) = caught.value.problems
    assert (problem.code, problem.node, problem.message) == (code, "n", words)
    if how == "bad":
        assert (problem.expected, problem.got) == ("less", "more")
    if code == "process_failed":
        assert "last words" in str(problem.got)
    assert value(session, node("Crash", how="not")) == process(session).pid


def test_a_call_has_a_time_limit(site: Path, tmp_path: Path) -> None:
    with opened(site, tmp_path, isolated_seconds=2.0) as session:
        with pytest.raises(LoomError, match="the plugin 'iso' gave no answer in 2 s"):
            value(session, node("Crash", how="sleep"))
        assert process(session).pid is None


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is for Linux")
def test_a_process_has_a_memory_limit(site: Path, tmp_path: Path) -> None:
    with opened(site, tmp_path, isolated_bytes=2**30) as session:
        assert value(session, node("Hoard", megabytes=10)) == 10 * 2**17
        with pytest.raises(LoomError) as caught:
            value(session, node("Hoard", megabytes=2000))
        (problem,) = caught.value.problems
        assert (problem.code, problem.message) == ("out_of_memory", "iso/Hoard ran out of memory")
        assert value(session, node("Hoard", megabytes=11)) == 11 * 2**17


def test_a_cancel_ends_the_call_and_not_the_process(session: Session, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    running = session.stream(document({"x": edge("n")}, n=node("Waits", mark=str(mark))))
    until(mark.exists)
    pid = process(session).pid
    running.cancel()
    with pytest.raises(Cancelled):
        running.result()
    assert process(session).pid == pid


def test_a_cancel_ends_a_process_that_does_not_listen(session: Session) -> None:
    value(session, node("Crash", how="not"))
    running = session.stream(document({"x": edge("n")}, n=node("Crash", how="sleep")))
    next(event for event in running if event.name == "node_started")
    running.cancel()
    with pytest.raises(Cancelled):
        running.result()
    assert process(session).pid is None


@pytest.mark.parametrize("size", [4, 256])
def test_a_node_that_writes_to_its_input_fails(session: Session, size: int) -> None:
    made = document({"x": edge("n")}, f=node("Fill", size=size), n=node("Writes", image=edge("f", "image")))
    with pytest.raises(LoomError) as caught:
        session.run(made)
    (problem,) = caught.value.problems
    assert (problem.code, problem.node, problem.input) == ("input_mutated", "n", "image")
    assert problem.message == "iso/Writes changed its input in place"


def test_models_stay_in_the_engine(session: Session) -> None:
    made = document({"x": edge("n")}, f=node("Fill"), n=node("Loads", image=edge("f", "image")))
    with pytest.raises(LoomError) as caught:
        session.run(made)
    (problem,) = caught.value.problems
    assert problem.message == "iso/Loads: an isolated plugin has no ctx.load"
    assert "models stay in the engine's process" in str(problem.hint)


@pytest.mark.parametrize("isolated", [True, False])
def test_a_node_logs_under_its_name_and_has_a_folder(
    site: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, isolated: bool
) -> None:
    caplog.set_level("INFO", logger="latentloom.nodes")
    with opened(site, tmp_path, isolated=isolated) as session:
        folder = Path(value(session, node("Notes")))
    assert folder == tmp_path / "data" / "plugin-data" / "iso"
    assert (folder / "note").read_text() == "kept"
    own = [record for record in caplog.records if record.name == "latentloom.nodes.iso.Notes"]
    assert [(record.levelname, record.getMessage().partition("\n")[0]) for record in own] == [
        ("INFO", "3 steps"), ("ERROR", "it went wrong")
    ]  # fmt: skip
    assert [record.fields for record in own] == [{"node": "n"}] * 2  # type: ignore[attr-defined]
    text = own[1].getMessage() if isolated else caplog.text
    assert "ValueError: odd" in text


def test_an_isolated_node_has_no_device(site: Path, session: Session, tmp_path: Path) -> None:
    with pytest.raises(LoomError) as caught:
        value(session, node("Device"))
    (problem,) = caught.value.problems
    assert problem.message == "iso/Device: an isolated plugin has no ctx.device"
    with opened(site, tmp_path, isolated=False, device="cpu") as beside:
        assert value(beside, node("Device")) == "cpu"


def test_lazy_external_and_older_nodes(session: Session, tmp_path: Path) -> None:
    one, two = node("Later", a=1), node("Crash", how="exit")
    made = document({"x": edge("n")}, n=node("Chooses", first=True, a=edge("a"), b=edge("b")), a=one, b=two)
    assert session.run(made).outputs["x"] == 2
    file = tmp_path / "world"
    for text in ("one", "two"):
        file.write_text(text)
        assert value(session, node("Outside", path=str(file))) == text
    older = {"type": "iso/Older", "version": 1, "inputs": {"old": 4}}
    assert value(session, older) == 5


def test_a_node_may_stand_for_others_and_save_and_lack_an_output(session: Session) -> None:
    fill = node("Fill", level=0.25)
    made = document({"x": edge("n", "image")}, f=fill, n=node("Stands", image=edge("f", "image")))
    assert session.run(made).outputs["x"].numpy()[0, 0, 0].tolist() == [0.75, 0.75, 0.75]
    result = session.run(document({"x": edge("n")}, f=fill, n=node("Saves", image=edge("f", "image"))))
    assert result.outputs["x"] == "mine-00001.png"
    assert [os.path.basename(path) for path in result.files] == ["mine-00001.png"]
    with pytest.raises(LoomError, match="there is none"):
        value(session, node("Nothing", a=1), "image")


def test_data_and_files_arrive_as_they_are(session: Session) -> None:
    json, many = {"a": [1, None, {"is": "value"}], "b": 2**60}, [0.1, 2.0, -3e30]
    assert value(session, node("Data", json={"literal": json}, many=many)) == {"json": json, "many": many}
    session.settings.input.mkdir(exist_ok=True)
    (session.settings.input / "note.txt").write_text("read me")
    assert value(session, node("Reads", file="note.txt")) == "read me"


def test_the_host_stays_as_it_is(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTLOOM_TOKENS", "me:0123456789abcdef0123")
    process(session).end()
    before = (Path.cwd(), np.geterr(), dict(os.environ), set(sys.modules))
    assert value(session, node("Sees", name="LATENTLOOM_TOKENS")) == "nothing"
    assert (Path.cwd(), np.geterr(), dict(os.environ)) == before[:3]
    events = list(session.stream(document({"x": edge("n")}, n=node("Sees", name="HOME"))))
    assert "node_warning" not in {event.name for event in events}


def test_an_entry_point_or_the_user_asks_for_isolation(site: Path, tmp_path: Path) -> None:
    found = discovered(site, isolation=Isolation(frozenset({"iso"})))
    (record,) = found.records
    assert record.isolated and record.nodes == 20
    assert record.error == "isolated plugins provide nodes only; left out: sampler 'euler_iso'"
    assert not found.registry.extensions("sampler")
    (record,) = discovered(site).records
    assert not record.isolated
    (tmp_path / "plain").mkdir()
    install(tmp_path / "plain", "asks", CODE)
    listed = tmp_path / "plain" / "dist_asks-1.0.dist-info" / "entry_points.txt"
    listed.write_text(listed.read_text().replace("[latentloom]", "[latentloom.isolated]"))
    sys.path.insert(0, str(tmp_path / "plain"))
    try:
        (record,) = discovered(tmp_path / "plain").records
    finally:
        sys.path.remove(str(tmp_path / "plain"))
    assert record.isolated
    write_isolated(tmp_path, ["b", "a"])
    settings = load_settings({"data": tmp_path, "isolated_seconds": 5}, {"LATENTLOOM_HOME": str(tmp_path)})
    assert Isolation.of(settings) == Isolation(frozenset({"a", "b"}), Limits(5.0, None))


def test_a_kept_input_does_not_change_and_results_outlive_the_process(session: Session) -> None:
    image = value(session, node("Fill", size=256, level=0.125), "image")
    process(session).end()
    assert isinstance(image, Image) and float(image.numpy().mean()) == 0.125


def test_code_that_was_edited_before_its_process_started_gives_no_result(site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "edited"
    folder.mkdir()
    name = install(folder, "moving", MOVING.format(more=1))
    sys.path.insert(0, str(folder))
    try:
        both = [point for point in entry_points(group="latentloom") if point.name == "builtin"] + points(folder)
        found = discover(points=both, isolation=Isolation(frozenset({"moving"})))
        with Session(load_settings({}, {"LATENTLOOM_HOME": str(tmp_path)}), found.registry) as session:
            (folder / f"{name}.py").write_text(MOVING.format(more=22))
            made = document({"x": edge("n")}, n={"type": "moving/Add", "version": 1, "inputs": {"a": 1}})
            with pytest.raises(LoomError) as caught:
                session.run(made)
            assert caught.value.problems[0].code == "changed_code"
    finally:
        sys.path.remove(str(folder))


MOVING = '''
from latentloom.engine import node
from latentloom.plugins import hookimpl

@node("Add")
def add(a: int) -> int:
    """A larger number."""
    return a + {more}

@hookimpl
def register(registry):
    registry.node(add)
'''


PROGRAM = """
import os, queue, subprocess, threading
import numpy as np
from latentloom.plugins.isolation.child_io import opened

line, requests = opened(), queue.SimpleQueue()

def receive():
    while True:
        requests.put(line.receive())

threading.Thread(target=receive, daemon=True).start()
while True:
    body = requests.get().body
    if body["is"] == "leave":
        left = subprocess.Popen(["sleep", "60"], start_new_session=True)
        line.send({"is": "answer", "pid": left.pid})
    else:
        for _ in range(20):
            line.send({"is": "event"}, [np.zeros(2**16, np.uint8)])
        line.send({"is": "answer", "files": len(os.listdir("/proc/self/fd"))})
"""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Process]:
    (tmp_path / "loom_program.py").write_text(PROGRAM, encoding="utf-8")
    made = Process(Program("a program", python("loom_program", [str(tmp_path)]), 60.0, ""))
    yield made
    made.end()


@pytest.mark.skipif(sys.platform != "linux", reason="shared memory is used on Linux only")
def test_shared_memory_of_events_is_released_when_they_are_read(program: Process) -> None:
    before = program.ask({"is": "events"}).body["files"]

    program.ask({"is": "events"})
    after = program.ask({"is": "events"}).body["files"]

    assert after <= before + 20  # those of one call


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no sessions")
def test_a_process_ends_though_what_it_started_holds_its_output_open(program: Process) -> None:
    left = program.ask({"is": "leave"}).body["pid"]

    program.end()

    assert program.pid is None
    os.kill(left, signal.SIGKILL)  # it lives: nothing waited for its end
