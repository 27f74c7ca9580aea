"""Discovery with real distributions on the path: faults are named, duplicates stay out, snapshots save imports."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from plugin_sites import NODE, discovered, install, points

from latentloom.plugins.code import distribution_code
from latentloom.plugins.snapshots import Snapshots


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return folder


def test_a_plugin_s_nodes_get_its_name_in_front(services: Path) -> None:
    install(services, "maths", NODE)
    found = discovered(services)
    (record,) = found.records
    assert (record.plugin, record.distribution, record.status, record.nodes) == ("maths", "dist-maths 1.0", "loaded", 1)
    assert list(found.registry.nodes) == ["maths/Twice"]


@pytest.mark.parametrize(
    ("code", "error", "missing"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'", "no_such_module"),
        ("import sys; sys.exit(4)", "SystemExit: 4", None),
        ("1 / 0", "ZeroDivisionError: division by zero", None),
        ("raise BaseException('at the root')", "BaseException: at the root", None),
        ("def (", "SyntaxError: invalid syntax", None),
        (NODE.replace("int)", "bytes)"), "not a port type", None),
        (NODE + "\n    1 / 0", "ZeroDivisionError: division by zero", None),
        (NODE.replace("(twice)", "(lambda: 1)"), "only functions and classes at the top of a module", None),
        (NODE.replace("(twice)", "(len)"), "is not a node", None),
        (NODE.replace("def register(registry)", "def register(registry, more)"), "PluginValidationError", None),
    ],
)
def test_a_plugin_that_fails_is_named_and_the_others_load(
    services: Path, code: str, error: str, missing: str | None
) -> None:
    install(services, "broken", code)
    install(services, "maths", NODE)
    found = discovered(services)
    bad, good = found.records
    assert (bad.plugin, bad.status, bad.missing) == ("broken", "failed", missing)
    assert bad.error is not None and error in bad.error
    assert good.status == "loaded" and list(found.registry.nodes) == ["maths/Twice"]


def test_a_clash_of_one_name_costs_one_name(services: Path) -> None:
    install(services, "first", NODE + "    registry.sampler('odd', twice)\n")
    install(services, "second", NODE + "    registry.sampler('odd', twice)\n    registry.schedule('own', twice)\n")
    found = discovered(services)
    assert [(record.status, record.error) for record in found.records] == [
        ("loaded", None),
        ("loaded", "sampler 'odd' is left out: dist-first 1.0 provides it"),
    ]
    assert list(found.registry.nodes) == ["first/Twice", "second/Twice"]
    assert found.registry.extensions("sampler")["odd"].distribution.plugin == "first"
    assert list(found.registry.extensions("schedule")) == ["own"]


def test_a_node_that_is_registered_twice_is_there_once(services: Path) -> None:
    install(services, "maths", NODE.replace("(twice)", "(twice, twice)"))
    found = discovered(services)
    assert found.records[0].error == "node type 'maths/Twice' is left out: it is registered twice"
    assert (found.records[0].nodes, list(found.registry.nodes)) == (1, ["maths/Twice"])


def test_only_the_selected_plugins_load(services: Path) -> None:
    install(services, "maths", NODE)
    install(services, "broken", "1 / 0")
    found = discovered(services, only=["maths"])
    assert [(record.plugin, record.status) for record in found.records] == [
        ("broken", "not selected"),
        ("maths", "loaded"),
    ]


# Snapshots


def test_a_snapshot_saves_the_import(services: Path, tmp_path: Path) -> None:
    name = install(services, "maths", NODE)
    first = discovered(services, snapshots=Snapshots(tmp_path / "specs"))
    second = discovered(services, snapshots=Snapshots(tmp_path / "specs"))
    assert [found.records[0].status for found in (first, second)] == ["loaded", "from snapshot"]
    assert name not in sys.modules
    assert second.registry.nodes == first.registry.nodes
    assert second.registry.nodes["maths/Twice"].definition().function(4) == 8


def test_changed_code_is_registered_anew(services: Path, tmp_path: Path) -> None:
    name = install(services, "maths", NODE)
    discovered(services, snapshots=Snapshots(tmp_path / "specs"))
    install(services, "maths", NODE.replace("Twice", "Double"), module=name)
    found = discovered(services, snapshots=Snapshots(tmp_path / "specs"))
    assert (found.records[0].status, list(found.registry.nodes)) == ("loaded", ["maths/Double"])


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", "schema", "registration", "check"])
def test_a_damaged_snapshot_is_ignored(services: Path, tmp_path: Path, damage: str) -> None:
    install(services, "maths", NODE)
    discovered(services, snapshots=Snapshots(tmp_path / "specs"))
    (path,) = (tmp_path / "specs").iterdir()
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, damage: {"nodes": []}}) if damage in record else damage)
    found = discovered(services, snapshots=Snapshots(tmp_path / "specs"))
    assert (found.records[0].status, list(found.registry.nodes)) == ("loaded", ["maths/Twice"])


def test_a_snapshot_folder_that_cannot_be_written_only_costs_time(services: Path, tmp_path: Path) -> None:
    (tmp_path / "specs").write_text("in the way")
    install(services, "maths", NODE)
    assert discovered(services, snapshots=Snapshots(tmp_path / "specs")).records[0].status == "loaded"


def test_the_code_identity_follows_files_version_and_requirements(services: Path) -> None:
    def code() -> str:
        (point,) = points(services)
        assert point.dist is not None
        return distribution_code(point.dist).identity

    name = install(services, "maths", NODE)
    first = code()
    assert code() == first
    install(services, "maths", NODE + "\n", module=name)
    second = code()
    metadata = services / "dist_maths-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text() + "Requires-Dist: numpy\nRequires-Dist: not a requirement!\n")
    assert len({first, second, code()}) == 3


# The built-in nodes


def test_discovering_the_builtin_nodes_imports_no_torch(tmp_path: Path) -> None:
    """Once, by import; then from the snapshot, without importing the nodes at all."""
    script = (
        "import sys; from pathlib import Path; from latentloom.plugins.discovery import discover;"
        "from latentloom.plugins.snapshots import Snapshots;"
        f"found = discover(Snapshots(Path({str(tmp_path)!r})), only=[]);"
        "print(found.records[0].status, 'torch' in sys.modules, 'latentloom.nodes' in sys.modules)"
    )
    environment = {**os.environ, "LATENTLOOM_HOME": str(tmp_path)}
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert outputs == ["loaded False True\n", "from snapshot False False\n"]


STATE = """
import os
import sys

from latentloom.plugins import hookimpl

sys.setrecursionlimit(77_777)
os.chdir("/")


@hookimpl
def register(registry):
    pass
"""


def test_what_an_import_changes_for_the_whole_process_is_told(services: Path, tmp_path: Path) -> None:
    was, folder = sys.getrecursionlimit(), os.getcwd()
    install(services, "changes", STATE)
    (record,) = discovered(services, snapshots=Snapshots(tmp_path / "specs")).records
    assert record.status == "loaded"
    assert record.error == (
        f"its import changed the working folder ({folder} became /), the recursion limit ({was} became 77777); "
        "it was restored"
    )
    assert discovered(services, snapshots=Snapshots(tmp_path / "specs")).records[0].error == record.error
    assert (sys.getrecursionlimit(), os.getcwd()) == (was, folder)
