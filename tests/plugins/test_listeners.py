"""`on_event` hooks: they get every event beside the run, and whatever they do ends and delays nothing."""

import sys
import time
from pathlib import Path

import pytest
import toys
from plugin_sites import NODE, discovered, install

from latentloom.api import Session
from latentloom.engine.events import NodeStarted
from latentloom.engine.settings import load_settings
from latentloom.plugins.listeners import ROOM, Listeners
from latentloom.plugins.snapshots import Snapshots

HOOK = """
import threading
HEARD, GATE = [], threading.Event()

@hookimpl
def on_event(event):
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return folder


def listening(site: Path, plugin: str, body: str, told: list[str]) -> tuple[str, Listeners]:
    name = install(site, plugin, NODE + HOOK + body)
    hooks = [hook for hook in discovered(site).hooks if hook.module == name]
    return name, Listeners(hooks, lambda distribution, fault: told.append(f"{distribution.plugin}: {fault}"))


def started(node: str) -> NodeStarted:
    return NodeStarted(node=node, type="T")


def test_hooks_hear_events_in_order_and_faults_are_told_once(site: Path) -> None:
    told: list[str] = []
    body = "    HEARD.append(event.node)\n    if event.node == 'bad':\n        raise SystemExit(4)\n"
    name, listeners = listening(site, "ears", body, told)
    assert name not in sys.modules  # it is imported at the first event
    for node in ("good", "bad", "good", "bad"):
        listeners(started(node))
    listeners.close(600)
    assert sys.modules[name].HEARD == ["good", "bad", "good", "bad"]
    assert told == ["ears: its on_event failed: SystemExit: 4"]


def test_a_slow_hook_delays_nobody_and_drops_events(site: Path) -> None:
    told: list[str] = []
    name, listeners = listening(site, "slow", "    GATE.wait()\n    HEARD.append(event.node)\n", told)
    for number in range(2 * ROOM):
        listeners(started(str(number)))
    listeners.close(0)
    assert told == ["slow: its on_event is too slow: it had not received all events when the program ended"]
    while name not in sys.modules or not hasattr(sys.modules[name], "GATE"):
        time.sleep(0.01)
    sys.modules[name].GATE.set()
    listeners.close(600)
    assert sys.modules[name].HEARD[:ROOM] == [str(number) for number in range(ROOM)]
    assert "slow: its on_event is too slow: events were dropped when more than 256 waited" in told


def test_a_hook_that_can_no_longer_be_imported_is_a_fault(site: Path) -> None:
    told: list[str] = []
    name, listeners = listening(site, "gone", "    pass\n", told)
    (site / f"{name}.py").unlink()
    listeners(started("x"))
    listeners.close(600)
    assert told == [f"gone: it could not be imported for on_event: ModuleNotFoundError: No module named '{name}'"]


def test_a_fault_is_shown_with_the_plugin_until_its_code_changes(site: Path, tmp_path: Path) -> None:
    store = Snapshots(tmp_path / "specs")
    name = install(site, "ears", NODE + HOOK + "    1 / 0\n")
    listeners = Listeners(discovered(site, snapshots=store).hooks, store.note)
    listeners(started("x"))
    listeners.close(600)
    (record,) = discovered(site, snapshots=store).records
    assert (record.status, record.error) == (
        "from snapshot",
        "its on_event failed: ZeroDivisionError: division by zero",
    )
    install(site, "ears", NODE + HOOK + "    pass\n", module=name)
    assert discovered(site, snapshots=store).records[0].error is None


def test_a_run_ends_as_without_a_hook_that_waits_or_exits(site: Path, tmp_path: Path) -> None:
    waits = install(site, "waits", NODE + HOOK + "    GATE.wait()\n")
    install(site, "exits", NODE + HOOK + "    raise KeyboardInterrupt\n")
    settings = load_settings({"plugins": ("waits", "exits")}, {"LATENTLOOM_HOME": str(tmp_path)})
    with Session(settings) as session:
        run = session.run(toys.flow("n", n={"type": "waits/Twice", "version": 1, "inputs": {"a": 4}}))
        assert run.outputs == {"o0": 8}
    sys.modules[waits].GATE.set()
