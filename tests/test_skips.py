import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FILE = """
import pytest

@pytest.mark.gpu
def test_accelerator():
    pytest.skip("no accelerator today")

def test_tool():
    pytest.importorskip("no_such_tool")

@pytest.mark.xfail
def test_known():
    assert False
"""


def summary(folder: Path, **environment: str) -> str:
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    (folder / "test_file.py").write_text(FILE)
    names = {name: value for name, value in os.environ.items() if name != "CI"} | environment
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", str(folder)]
    return subprocess.run(command, cwd=folder, env=names, capture_output=True, text=True).stdout


def test_a_missing_tool_is_a_skip_at_home(tmp_path):
    assert "2 skipped, 1 xfailed" in summary(tmp_path)


def test_a_missing_tool_is_a_failure_in_ci(tmp_path):
    text = summary(tmp_path, CI="true")

    assert "1 failed, 1 skipped, 1 xfailed" in text
    assert "skipped, which CI does not allow: Skipped: could not import 'no_such_tool'" in text


@pytest.mark.parametrize("mark", ["gpu", "full"])
def test_the_markers_are_declared(pytestconfig, mark):
    assert any(line.startswith(f"{mark}:") for line in pytestconfig.getini("markers"))
