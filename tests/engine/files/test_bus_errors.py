"""Mapped files that are cut short. Each test has a process of its own, which the fault would end."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.xfail(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="see docs/adr/0009", run=False
)

MAPPED = """
import faulthandler, mmap, os, signal, sys
from latentloom.engine.files.bus_errors import bus_errors
faulthandler.enable()
with open("file", "wb") as file:
    file.write(b"x" * 40960)
with open("file", "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
errors = bus_errors()
"""

SAMPLED = """
import os, shutil, sys
from pathlib import Path
import numpy as np
import torch
sys.path.insert(0, {tests!r})
from test_changed_files import WORKFLOW, session
from latentloom.engine.errors import ChangedFileError
from latentloom.training.random_checkpoint import write_checkpoint
home = Path.cwd()
there = home / "models" / "checkpoints" / "m.safetensors"
there.parent.mkdir(parents=True)
write_checkpoint(there, "sd1_tiny", seed=0, dtype=torch.float32)
shutil.copy2(there, "kept")
times = there.stat()

def cut(event):
    if event.name == "node_progress" and event.node == "k2" and event.step == 1:
        os.truncate(there, 1000)

def back(event):
    cut(event)
    if event.name == "node_progress" and event.node == "k2" and event.step == 2:
        there.write_bytes(Path("kept").read_bytes())
        os.utime(there, ns=(times.st_atime_ns, times.st_mtime_ns))

with session(home) as made:
    true = made.run(WORKFLOW, cache=False).outputs["o"].numpy().copy()
    for change in (cut, back):
        try:
            made.run(WORKFLOW, on_event=change)
        except ChangedFileError as error:
            print(error.problem.code, error.problem.node)
        shutil.copy2("kept", there)
    print(np.array_equal(made.run(WORKFLOW).outputs["o"].numpy(), true))
"""


def ran(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)


def test_a_read_beyond_a_moved_end_gives_zeros_and_is_counted(tmp_path: Path) -> None:
    code = """
errors.guard()
errors.guard()
os.truncate("file", 5000)
print(mapped[0], mapped[9000], mapped[9001], mapped[30000], errors.count)
"""
    done = ran(tmp_path, MAPPED + code)
    assert (done.stdout, done.returncode) == ("120 0 0 0 2\n", 0), done.stderr


def test_a_handler_that_came_later_is_put_behind_this_one_again(tmp_path: Path) -> None:
    code = """
errors.guard()
signal.signal(signal.SIGBUS, lambda *_: None)
errors.guard()
os.truncate("file", 0)
print(mapped[0], errors.count)
"""
    done = ran(tmp_path, MAPPED + code)
    assert (done.stdout, done.returncode) == ("0 1\n", 0), done.stderr


def test_a_bus_error_of_another_kind_ends_the_process_as_ever(tmp_path: Path) -> None:
    code = """
errors.guard()
os.kill(os.getpid(), signal.SIGBUS)
os.kill(os.getpid(), signal.SIGBUS)
"""
    done = ran(tmp_path, MAPPED + code)
    assert (done.returncode, done.stderr.partition("\n")[0]) == (-7, "Fatal Python error: Bus error")


def test_a_checkpoint_that_is_cut_short_during_a_run_is_an_error_of_that_run_alone(tmp_path: Path) -> None:
    done = ran(tmp_path, SAMPLED.format(tests=str(Path(__file__).parents[1] / "execution")))
    assert (done.stdout, done.returncode) == ("changed_file k2\nchanged_file k2\nTrue\n", 0), done.stderr
