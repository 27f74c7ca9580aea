"""Code identity: every edit of what a plugin runs counts, and the place of its environment does not."""

import importlib
import itertools
import os
import subprocess
import sys
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

from latentloom.plugins.code import distribution_code

_numbers = itertools.count()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path, as that of an editable install is."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def written(folder: Path, files: dict[str, str], plugin: str, record: str | None = None) -> Distribution:
    """A distribution whose entry point is the module `plugin`, with these files on disk."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    info = folder / f"{plugin}-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {plugin}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[latentloom]\n{plugin} = {plugin}\n")
    if record is not None:
        (info / "RECORD").write_text(record)
    importlib.invalidate_caches()
    return PathDistribution(info)


FILES = {
    "{p}/__init__.py": "import {p}_helper, json\nTABLE = open(__file__.replace('__init__.py', 'presets.json'))\n",
    "{p}/presets.json": "{{}}",
    "{p}/deep/table.csv": "1,2",
    "{p}_helper.py": "import importlib\nother = importlib.import_module('{p}_other.inner')\n",
    "{p}_other/__init__.py": "",
    "{p}_other/inner.py": "from pathlib import Path\nNOISE = Path(__file__).parents[1] / '{p}-noise.txt'\n",
    "{p}-noise.txt": "0.5",
}


@pytest.mark.parametrize("edited", FILES)
def test_an_edit_of_any_file_that_the_code_uses_counts(folder: Path, edited: str) -> None:
    plugin = f"edited{next(_numbers)}"
    installed = written(folder, {name.format(p=plugin): text.format(p=plugin) for name, text in FILES.items()}, plugin)
    before = distribution_code(installed).identity
    assert distribution_code(installed).identity == before

    path = folder / edited.format(p=plugin)
    path.write_text(path.read_text() + "\n#")

    assert distribution_code(installed).identity != before


def test_what_the_code_does_not_use_does_not_count(folder: Path) -> None:
    plugin = f"alone{next(_numbers)}"
    files = {f"{plugin}.py": "import json, numpy\n", "stranger.py": "", "notes.txt": "", f"{plugin}_more.py": ""}
    installed = written(folder, files, plugin)
    before = distribution_code(installed).identity

    for name in ("stranger.py", "notes.txt", f"{plugin}_more.py"):
        (folder / name).write_text("changed")
    (folder / "__pycache__").mkdir(exist_ok=True)
    (folder / "__pycache__" / f"{plugin}.pyc").write_text("bytecode")

    assert distribution_code(installed).identity == before


def test_code_that_cannot_be_parsed_counts_by_its_bytes(folder: Path) -> None:
    plugin = f"broken{next(_numbers)}"
    installed = written(folder, {f"{plugin}.py": "def ("}, plugin)
    before = distribution_code(installed).identity

    (folder / f"{plugin}.py").write_text("def )")

    assert distribution_code(installed).identity != before


def test_the_place_of_an_environment_does_not_count(folder: Path) -> None:
    plugin = f"placed{next(_numbers)}"
    lines = [f"{plugin}.py,sha256=abc,1", f"{plugin}-1.0.dist-info/METADATA,sha256=abc,1"]
    one = "\n".join([*lines, "../../../bin/tool,sha256=here,1", "__editable__.x.pth,sha256=here,1"])
    two = "\n".join([*lines, "../../../bin/tool,sha256=there,2", "__editable__.x.pth,sha256=there,1"])

    codes = {distribution_code(written(folder, {f"{plugin}.py": ""}, plugin, record)).identity for record in (one, two)}

    assert len(codes) == 1
    assert distribution_code(written(folder, {}, plugin, one.replace("=abc", "=other", 1))).identity not in codes


def test_two_modules_that_import_each_other_end(folder: Path) -> None:
    plugin = f"round{next(_numbers)}"
    files = {f"{plugin}.py": f"import {plugin}_b\n", f"{plugin}_b.py": f"import {plugin}, {plugin}_b\n"}

    assert distribution_code(written(folder, files, plugin)).identity


LAZY = {
    "{p}/__init__.py": "from latentloom.plugins import hookimpl\n\n@hookimpl\ndef register(registry):\n"
    "    from {p}.nodes import one\n    registry.node(one)\n",
    "{p}/nodes.py": 'from latentloom.engine import node\n\n@node("One", category="t")\ndef one(a: int) -> int:\n'
    '    """One."""\n    from {p} import factor\n    return a * factor.FACTOR\n',
    "{p}/factor.py": "FACTOR = 1\n",
}
RUN = """
import sys
from pathlib import Path
from latentloom.api import Session
from latentloom.engine.errors import LoomError
node = {"type": "lazy/One", "version": 1, "inputs": {"a": 7}}
edge = {"node": "n", "output": "value"}
document = {"format": "latentloom/1", "name": "t", "nodes": {"n": node}, "outputs": [{"name": "o", "from": edge}]}
with Session() as session:
    print(*(record.status for record in session.plugins if record.plugin == "lazy"))
    for name, text in zip(sys.argv[1::2], sys.argv[2::2]):
        path = Path(name)
        path.write_text(path.read_text().replace(text.split(">")[0], text.split(">")[1]) if path.exists() else text)
    for cache in (True, False) if not sys.argv[1:] else (True,) * 2:
        try:
            print(session.run(document, cache=cache).outputs["o"])
        except LoomError as error:
            print(error.code, error.problem.node)
"""


@pytest.mark.parametrize("edited", ["lazy/nodes.py", "lazy/factor.py"])
def test_code_that_is_edited_before_it_is_imported_leaves_nothing_under_the_old_identity(
    tmp_path: Path, edited: str
) -> None:
    written(tmp_path, {name.format(p="lazy"): text.format(p="lazy") for name, text in LAZY.items()}, "lazy")
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "LATENTLOOM_HOME": str(tmp_path / "home"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def ran(*arguments: str) -> list[str]:
        command = [sys.executable, "-c", RUN, *arguments]
        return subprocess.check_output(command, env=environment, text=True, timeout=120).split("\n")[:-1]

    place = tmp_path / edited
    change = {"lazy/nodes.py": "a *>1000 * a *", "lazy/factor.py": "1>1000"}[edited]
    assert ran(str(tmp_path / "none"), "x")[0] == "loaded"
    (tmp_path / "home" / "cache" / "cache.db").unlink()
    was = place.read_text()
    assert ran(str(place), change) == ["from snapshot", "changed_code n", "changed_code n"]
    assert ran()[1:] == ["7000", "7000"]
    place.write_text(was)
    assert ran()[1:] == ["7", "7"]
