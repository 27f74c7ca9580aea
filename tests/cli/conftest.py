import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from latentloom.cli.main import main

HERE = Path(__file__).parent


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of its own, and the toy plugin on the path."""
    monkeypatch.setenv("LATENTLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.syspath_prepend(str(HERE / "toy"))
    monkeypatch.setenv("PYTHONPATH", str(HERE / "toy"))
    return tmp_path / "home"


@pytest.fixture
def torn(monkeypatch):
    """A plugin that cannot be imported."""
    monkeypatch.syspath_prepend(str(HERE / "torn"))


@pytest.fixture
def workflow(tmp_path):
    """A function that writes a workflow file; nodes are (type, inputs), edges ("node", "output")."""

    def write(nodes, inputs=(), outputs=(), name="toy"):
        data = {
            "format": "latentloom/1",
            "name": name,
            "inputs": [{"name": n, "to": [{"node": node, "input": port}]} for n, node, port in inputs],
            "outputs": [{"name": n, "from": {"node": node, "output": port}} for n, node, port in outputs],
            "nodes": {id: {"type": type, "inputs": values} for id, (type, values) in nodes.items()},
        }
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(data), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def loom(home, capsys):
    """`loom` in this process: (exit code, stdout, stderr)."""

    def call(*args):
        code = main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def loom_process(home):
    """`loom` in a process of its own, started."""

    def start(*args):
        command = [sys.executable, "-c", "import sys; from latentloom.cli.main import main; sys.exit(main())"]
        return subprocess.Popen(
            [*command, *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: signal.signal(
                signal.SIGINT, signal.default_int_handler
            ),  # a job in the background has none
        )

    return start
