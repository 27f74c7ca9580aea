import os
import shutil
import subprocess
import sys

import pytest

from latentloom.cli.new_plugin import new_plugin
from latentloom.engine.errors import BadValueError


def test_a_new_plugin_installs_and_passes_its_own_tests_at_once(tmp_path):
    assert new_plugin("mine-too", tmp_path) == 0
    source, site = tmp_path / "latentloom-mine-too", tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True, stdin=subprocess.DEVNULL)
    shutil.rmtree(source / "latentloom_mine_too")  # only the installed copy is left

    environment = {**os.environ, "PYTHONPATH": str(site), "LATENTLOOM_HOME": str(tmp_path / "home")}
    pytest_run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(pytest_run, cwd=source, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
    assert "8 passed" in done.stdout


@pytest.mark.parametrize("name", ["", "Mine", "a b", "../up", "builtin", "comfyui", "a--b"])
def test_a_new_plugin_needs_a_good_name(tmp_path, name):
    with pytest.raises(BadValueError, match="not a name for a plugin"):
        new_plugin(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_new_plugin_replaces_nothing(tmp_path):
    (tmp_path / "latentloom-mine").mkdir()
    with pytest.raises(BadValueError, match="exists already"):
        new_plugin("mine", tmp_path)
