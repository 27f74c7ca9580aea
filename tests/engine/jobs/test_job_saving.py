"""A job's files: one each, wherever the worker dies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from queues import new_job, opened

from latentloom.engine.failpoints import POINTS
from latentloom.engine.jobs.database import transaction
from latentloom.engine.jobs.effects import Effects
from latentloom.engine.jobs.outputs import Outputs

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from queues import opened
from latentloom.engine.jobs.database import transaction
from latentloom.engine.jobs.effects import Effects
from latentloom.engine.jobs.saving import JournalledSaver

class Ledger:
    def __init__(self):
        self.connection = opened(Path({home!r}) / "queue.db")[2]
        self.effects = Effects(self.connection, lambda: 1000.0)
    def __getattr__(self, name):
        def call(*args):
            with transaction(self.connection, durable=True):
                return getattr(self.effects, name)("job", *args)
        return call

about = {{"texts": "", "models": [], "choices": [], "outputs": []}}
saver = JournalledSaver(Path({home!r}) / "out", Ledger(), lambda *_: about)
for text in ("one", "two"):
    print(saver.save(text.encode(), "p/{{name}}", ".txt", {{"node": "save", "name": "x", "seed": 1}}).name)
"""

EFFECTS = [point for point in POINTS if point.startswith(("effect.", "save."))]


def attempt(home: Path, failpoint: str = "") -> subprocess.CompletedProcess[str]:
    script = SCRIPT.format(tests=os.path.dirname(sys.modules["queues"].__file__), home=str(home))
    env = {**os.environ, "LATENTLOOM_FAILPOINT": failpoint}
    return subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)


@pytest.mark.parametrize("point", EFFECTS)
def test_a_killed_worker_leaves_each_file_once(tmp_path, point):
    queue, _, connection = opened(tmp_path / "queue.db")
    with transaction(connection, durable=True):
        queue.submit(new_job("job"))

    killed = attempt(tmp_path, f"{point}:kill")
    again = attempt(tmp_path)

    assert killed.returncode == (0 if point == "save.renamed" else -9)
    assert (again.stdout, again.stderr) == ("x-00001.txt\nx-00002.txt\n", "")
    files = sorted((tmp_path / "out" / "p").iterdir())
    assert [file.read_text() for file in files] == ["one", "two"]
    assert [output.path for output in Outputs(connection).of_job("job")] == ["p/x-00001.txt", "p/x-00002.txt"]


def test_a_name_that_somebody_else_took_meanwhile_is_not_taken_for_ours(tmp_path):
    queue, _, connection = opened(tmp_path / "queue.db")
    with transaction(connection, durable=True):
        queue.submit(new_job("job"))
        Effects(connection).intend("job", "save", 0, "p/x-00001.txt", "0" * 64)
    (tmp_path / "out" / "p").mkdir(parents=True)
    (tmp_path / "out" / "p" / "x-00001.txt").write_text("theirs")

    assert attempt(tmp_path).stdout == "x-00002.txt\nx-00003.txt\n"
    assert (tmp_path / "out" / "p" / "x-00001.txt").read_text() == "theirs"
