import json

import pytest
from plugin_sites import NODE, install

SEGV = "import ctypes\nctypes.string_at(0)\n"


@pytest.fixture
def bad(home, tmp_path, monkeypatch):
    """Plugins that print, end and crash when they are imported, and one that works."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    for plugin, code in (
        ("prints", "print('HELLO FROM IMPORT')\n" + NODE),
        ("ends", "import os\nos._exit(3)\n"),
        ("crashes", SEGV),
    ):
        install(site, plugin, code)
    return site


def test_the_commands_work_beside_plugins_that_end_and_crash(bad, loom, workflow):
    code, out, err = loom("run", workflow({"n": ("prints/Twice", {"a": 4})}, outputs=[("n", "n", "value")]), "--json")
    assert (code, json.loads(out)["outputs"]) == (0, {"n": 8})
    assert "the plugin 'ends' (dist-ends 1.0) failed: its import ended the process with exit code 3" in err

    code, out, _ = loom("plugins")
    found = {line.split()[0]: line for line in out.splitlines()}
    assert code == 0 and "from snapshot" in found["prints"]
    assert "failed" in found["crashes"] and "its import crashed: SIGSEGV" in found["crashes"]

    code, out, _ = loom("plugins", "--trace", "crashes")
    assert "Segmentation fault" in out and "module_crashes" in out
    code, out, _ = loom("nodes", "list")
    assert code == 0 and "prints/Twice" in out


def test_a_failure_is_looked_at_again_when_asked_for(bad, loom, tmp_path):
    gate = tmp_path / "gate"
    install(bad, "moody", f"from pathlib import Path\nassert Path({str(gate)!r}).exists(), 'not today'\n" + NODE)
    assert "AssertionError: not today" in loom("plugins")[1]
    gate.touch()
    assert "AssertionError: not today" in loom("plugins")[1]
    code, out, _ = loom("plugins", "--again")
    assert code == 0 and "not today" not in out and "its import crashed: SIGSEGV" in out


def test_a_plugin_is_isolated_and_no_longer(bad, loom, workflow):
    code, out, _ = loom("plugins", "isolate", "prints")
    assert (code, out.strip()) == (0, "from the next start on, 'prints' runs in a process of its own")
    assert "isolated" in next(line for line in loom("plugins")[1].splitlines() if line.startswith("prints"))
    code, out, _ = loom("run", workflow({"n": ("prints/Twice", {"a": 5})}, outputs=[("n", "n", "value")]), "--json")
    assert (code, json.loads(out)["outputs"]) == (0, {"n": 10})
    assert loom("plugins", "isolate", "prints", "--off")[1].strip().endswith("'prints' runs with the other plugins")
    assert "isolated" not in loom("plugins")[1]
    for name in ("print", "builtin"):
        code, _, err = loom("plugins", "isolate", name)
        assert code != 0 and f"there is no plugin '{name}' to isolate" in err
