"""Plugins that crash, end, hang or shout when they are imported: they fail by name, and everything else works."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest
from plugin_sites import NODE, discovered, install

from latentloom.engine.errors import Cancelled
from latentloom.plugins import inspection
from latentloom.plugins.inspection import Inspector
from latentloom.plugins.snapshots import Snapshots

MARK = "\nfrom pathlib import Path\nwith Path({marks!r}).open('a') as file:\n    file.write('x')\n"
HANG = "import threading\nthreading.Event().wait()\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return folder


BAD = {
    "crashes": ("import ctypes\nctypes.string_at(0)\n", "its import crashed: SIGSEGV"),
    "ends": ("print('my last words')\nimport os, sys\nsys.stdout.flush()\nos._exit(3)\n",
             "its import ended the process with exit code 3"),
    "hangs": (HANG, "its import did not end within 6 s"),
    "shouts": ("while True:\n    print('x' * 1000)\n", "its import printed more than 1 MiB"),
    "kills": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", "its import crashed: SIGKILL"),
    "closes": ("import os\nfor n in range(3, 64):\n    try: os.close(n)\n    except OSError: pass\n" + HANG,
               "its import closed the process's output"),
}  # fmt: skip


def test_whatever_an_import_does_fails_by_name_and_is_remembered(
    site: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    marks = {name: tmp_path / name for name in BAD}
    modules = {name: install(site, name, MARK.format(marks=str(marks[name])) + BAD[name][0]) for name in BAD}
    install(site, "maths", "print('HELLO FROM IMPORT')\n" + NODE)
    store = Snapshots(tmp_path / "specs")

    def look() -> dict[str, tuple[str, str | None, str | None]]:
        found = discovered(site, snapshots=store, inspector=Inspector(6))
        assert list(found.registry.nodes) == ["maths/Twice"]
        return {record.plugin: (record.status, record.error, record.trace) for record in found.records}

    first = look()
    assert {name: found[:2] for name, found in first.items()} == {
        **{name: ("failed", error) for name, (_, error) in BAD.items()},
        "maths": ("loaded", None),
    }
    assert "my last words" in str(first["ends"][2])
    assert f"{modules['crashes']}.py" in str(first["crashes"][2])  # where it crashed, and where it hangs
    assert f"{modules['hangs']}.py" in str(first["hangs"][2])
    looks = {name: mark.read_text() for name, mark in marks.items()}
    assert {name: found[:2] for name, found in look().items()} == {
        **{name: ("failed", error) for name, (_, error) in BAD.items()},
        "maths": ("from snapshot", None),
    }
    assert {name: mark.read_text() for name, mark in marks.items()} == looks
    assert capfd.readouterr().out == ""

    install(site, "ends", NODE, module=modules["ends"])
    found = discovered(site, snapshots=store, inspector=Inspector(6))
    assert list(found.registry.nodes) == ["ends/Twice", "maths/Twice"]


def test_a_failure_is_forgotten_when_packages_change(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = tmp_path / "later"
    install(site, "needy", f"import sys\nsys.path.append({str(later)!r})\nimport brought_later\n" + NODE)
    store = Snapshots(tmp_path / "specs")
    (record,) = discovered(site, snapshots=store).records
    assert (record.status, record.missing) == ("failed", "brought_later")
    later.mkdir()
    (later / "brought_later.py").write_text("")
    assert discovered(site, snapshots=store).records[0].status == "failed"
    monkeypatch.setattr("latentloom.plugins.snapshots.site_stamp", lambda: [1])
    assert discovered(site, snapshots=store).records[0].status == "loaded"


def test_a_plugin_is_not_blamed_for_what_another_did_to_the_process(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "PROCESSES", 1)
    install(site, "afirst", "import sys\nsys.modules['colorsys'] = None\n" + NODE)
    install(site, "second", "import colorsys\n" + NODE)
    assert [record.status for record in discovered(site).records] == ["loaded", "loaded"]


def test_plugins_see_neither_secrets_nor_the_input(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTLOOM_TOKENS", "alice:secret")
    install(site, "curious", "import os\nraise Exception(os.environ.get('LATENTLOOM_TOKENS'))\n")
    install(site, "asks", "input()\n")
    errors = {record.plugin: record.error for record in discovered(site).records}
    assert errors == {"asks": "EOFError: EOF when reading a line", "curious": "Exception: None"}


def test_children_of_a_plugin_end_with_its_inspection(site: Path, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    child = "import subprocess\nfrom pathlib import Path\nchild = subprocess.Popen(['sleep', '600'])\n"
    install(site, "parent", f"{child}Path({str(pid)!r}).write_text(str(child.pid))\n{NODE}")
    assert discovered(site).records[0].status == "loaded"
    with pytest.raises(ProcessLookupError):
        while True:
            os.kill(int(pid.read_text()), 0)
            if Path(f"/proc/{pid.read_text()}/stat").read_text().split()[2] == "Z":
                raise ProcessLookupError
            time.sleep(0.01)


def test_an_inspection_can_be_ended_and_nothing_is_remembered(site: Path, tmp_path: Path) -> None:
    install(site, "hangs", f"from pathlib import Path\nPath({str(tmp_path / 'began')!r}).touch()\n{HANG}")
    inspector = Inspector(600)

    def end() -> None:
        while not (tmp_path / "began").exists():
            time.sleep(0.01)
        inspector.end()

    threading.Thread(target=end).start()
    with pytest.raises(Cancelled):
        discovered(site, snapshots=Snapshots(tmp_path / "specs"), inspector=inspector)
    assert not (tmp_path / "specs").exists()


def test_those_that_are_waited_for_are_named(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "TELL_SECONDS", 0)
    gate = tmp_path / "gate"
    install(site, "slow", f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\n" + NODE)
    told: list[str] = []

    def tell(message: str) -> None:
        told.append(message)
        gate.touch()

    assert discovered(site, inspector=Inspector(600, tell)).records[0].status == "loaded"
    assert told == ["inspecting plugins for the first time: slow"]


def test_only_what_is_asked_for_is_inspected(site: Path) -> None:
    install(site, "maths", NODE)
    for inspect in ("none", "shipped"):
        found = discovered(site, inspect=inspect)
        assert [(record.plugin, record.status) for record in found.records] == [("maths", "not inspected")]
        assert not found.registry.nodes
