import json
import os
import signal
import subprocess
import sys
import time

import pytest
from serving import PATIENCE

HEAVY = ("torch", "pydantic", "numpy", "networkx", "PIL", "rich.progress", "latentloom.engine", "latentloom.api")


@pytest.fixture
def slow(workflow):
    nodes = {"slow": ("toy/Steps", {"steps": 100_000, "pause": 0.05})}
    return workflow(nodes, outputs=[("o", "slow", "value")], name="slow")


@pytest.fixture
def stuck(workflow):
    nodes = {"slow": ("toy/Steps", {"steps": 1, "pause": 60.0})}
    return workflow(nodes, outputs=[("o", "slow", "value")], name="stuck")


def imported(args, names):
    """Which of the modules `loom` with these arguments imports, and its exit code."""
    code = f"""
import sys
from latentloom.cli.main import main
code = main({args!r})
print([name for name in {names!r} if name in sys.modules], code)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return found.stdout.splitlines()[-1]


@pytest.mark.parametrize("args", [["--help"], ["--version"]])
def test_help_imports_nothing_heavy(home, args):
    assert imported(args, HEAVY) == "[] 0"


@pytest.mark.parametrize("args", [["run", "--help"], ["models", "get", "--help"], ["nodes", "--help"]])
def test_help_of_a_command_imports_nothing_of_the_engine(home, args):
    names = [name for name in HEAVY if name != "pydantic"]  # typer checks the values of flags with it
    assert imported(args, names) == "[] 0"


def test_without_a_terminal_a_run_does_not_import_rich(home, workflow):
    path = workflow({"say": ("toy/Text", {})}, outputs=[("o", "say", "value")])
    code = f"""
import sys
from latentloom.cli.main import main
main(["run", {path!r}])
main(["run", {path!r}])
print([name for name in ("torch", "rich.console", "PIL") if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("type", "flags", "code", "status"),
    [("Text", [], 0, "done"), ("Text", ["--bad", "1"], 2, "invalid"), ("Fail", [], 3, "failed")],
)
def test_stdout_is_one_json_object_whatever_happens(loom_process, workflow, type, flags, code, status):
    path = workflow({"n": (f"toy/{type}", {})}, outputs=[("o", "n", "value")])
    process = loom_process("run", path, "--json", *flags)
    out, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, json.loads(out)["status"]) == (code, status)


def test_ctrl_c_cancels_and_keeps_the_json_whole(loom_process, slow):
    process = loom_process("run", slow, "--json")
    interrupted(process)
    out, err = process.communicate(timeout=PATIENCE)
    found = json.loads(out)
    assert (process.returncode, found["status"], found["problems"][0]["code"]) == (130, "cancelled", "cancelled")
    assert err == "\ncancelling, again to kill\n"


def test_ctrl_c_is_told_in_words(loom_process, slow):
    process = loom_process("run", slow)
    interrupted(process)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out.splitlines()[-1].partition(" in ")[0]) == (130, "cancelled")
    assert "cancelling, again to kill\n" in err


def test_a_second_ctrl_c_kills_a_node_that_does_not_listen(loom_process, stuck):
    process = loom_process("run", stuck, "--json")
    interrupted(process)
    assert process.stderr.readline() == "\n"
    assert process.stderr.readline() == "cancelling, again to kill\n"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (-signal.SIGINT, "")  # a shell calls that 130


def test_ctrl_c_ends_a_run_whose_code_keeps_the_interpreter_to_itself(loom_process, workflow):
    process = loom_process("run", workflow({"hold": ("toy/Hold", {})}, outputs=[("o", "hold", "value")]), "--json")
    interrupted(process)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    process.communicate()
    assert process.returncode == -signal.SIGINT


def interrupted(process):
    """Press Ctrl-C once the node has begun."""
    assert process.stderr.readline() == "begun\n"
    process.send_signal(signal.SIGINT)


def test_two_runs_at_once_share_one_cache(loom_process, workflow, tmp_path):
    nodes = {f"n{n}": ("toy/Steps", {"text": str(n), "steps": 2, "pause": 0.01}) for n in range(20)}
    nodes["paint"] = ("toy/Paint", {"width": 64, "height": 64})
    nodes["save"] = ("toy/Save", {"image": {"node": "paint", "output": "image"}})
    path = workflow(nodes, outputs=[(f"o{n}", f"n{n}", "value") for n in range(20)])
    both = [loom_process("run", path, "--json", "--out", tmp_path / "out") for _ in range(2)]
    found = [json.loads(process.communicate(timeout=PATIENCE)[0]) for process in both]
    assert [item["status"] for item in found] == ["done", "done"]
    assert found[0]["outputs"] == found[1]["outputs"]
    assert sorted(item.name for item in (tmp_path / "out").iterdir()) == ["toy-00001.png", "toy-00002.png"]
    again = loom_process("run", path, "--json", "--out", tmp_path / "out")
    nodes = json.loads(again.communicate(timeout=PATIENCE)[0])["nodes"]
    assert {node["status"] for id, node in nodes.items() if id != "save"} == {"cached"}


def test_a_reader_that_leaves_early_is_no_traceback(loom_process, home):
    process = loom_process("nodes")
    process.stdout.close()
    _, err = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("given", "found"), [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)]
)
def test_threads_spin_briefly_unless_the_environment_says_otherwise(loom, monkeypatch, given, found):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    loom("--version")
    assert os.environ.get("GOMP_SPINCOUNT") == found
