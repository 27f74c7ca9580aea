"""The garbage collector runs rarely in sessions, unless the program has its own thresholds."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("before", "after"), [("", "10000"), ("gc.set_threshold(5)", "5"), ("gc.set_threshold(0)", "0")]
)
def test_thresholds_are_raised_once_and_those_of_a_program_stay(tmp_path, before, after):
    opens = "from latentloom.api import open_session\nopen_session().close()"
    script = f"import gc; {before}\n{opens}\nprint(gc.get_threshold()[0])"
    done = subprocess.run(
        [sys.executable, "-c", script], env={"LATENTLOOM_HOME": str(tmp_path)}, capture_output=True, text=True
    )

    assert done.stdout.strip() == after, done.stderr
