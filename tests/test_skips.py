import os
import re
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


def summary(folder: Path, *flags: str, **environment: str) -> str:
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    (folder / "test_file.py").write_text(FILE)
    names = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST_")}
    names["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "ignore", *flags, str(folder)]
    return subprocess.run(command, cwd=folder, env=names | environment, capture_output=True, text=True).stdout


def test_a_missing_tool_is_a_skip_at_home(tmp_path):
    assert "2 skipped, 1 xfailed" in summary(tmp_path)


def test_a_missing_tool_is_a_failure_in_ci(tmp_path):
    text = summary(tmp_path, CI="true")

    assert "1 failed, 1 skipped, 1 xfailed" in text
    assert "skipped, which CI does not allow: Skipped: could not import 'no_such_tool'" in text


BROKEN = """
import pytest

@pytest.fixture
def broken():
    yield
    raise ValueError

def test_passes(): pass
def test_fails(): assert False
def test_ends_badly(broken): pass
"""


@pytest.mark.parametrize("flags", [(), ("-p", "xdist", "-n2", "--dist=loadfile")])
def test_a_run_ends_with_a_table_by_folder_and_the_closing_line(tmp_path, flags):
    deep = tmp_path / "tests" / "one" / "two" / "three"
    deep.mkdir(parents=True)
    (deep / "test_deep.py").write_text(BROKEN)
    (tmp_path / "tests" / "one" / "test_torn.py").write_text("import a_module_that_nobody_has")

    lines = summary(tmp_path, "--rootdir", str(tmp_path), "--continue-on-collection-errors", *flags).splitlines()

    table = lines[lines.index(next(line for line in lines if " tests by folder " in line)) + 1 :]
    rows = [line.split() for line in table[:4]]
    assert rows[0] == ["passed", "failed", "skipped", "seconds", "cpu"]
    assert [(row[:3], row[5]) for row in rows[1:]] == [
        (["0", "0", "3"], "."),
        (["0", "1", "0"], "tests/one"),
        (["2", "2", "0"], "tests/one/two"),
    ]
    assert re.fullmatch(r"=+ 1 failed, 2 passed, 2 skipped, 1 xfailed, 2 errors in .* =+", lines[-1]), lines[-1]


@pytest.mark.parametrize("mark", ["gpu", "full"])
def test_the_markers_are_declared(pytestconfig, mark):
    assert any(line.startswith(f"{mark}:") for line in pytestconfig.getini("markers"))
