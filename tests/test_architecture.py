import re
import subprocess
import sys
from pathlib import Path

import grimp
import networkx
import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("engine", "nodes", "plugins", "api", "web", "cli", "training")


def run(*command: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, **options)


def test_import_contracts_hold():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_a_new_folder_cannot_escape_the_contracts():
    contracts = (ROOT / "pyproject.toml").read_text().partition("[tool.importlinter]")[2]
    packages = contracts.partition("]")[0]

    assert all(f'"latentloom.{folder}"' in packages for folder in FOLDERS)
    assert {path.parent.name for path in ROOT.glob("*/py.typed")} == set(FOLDERS)


@pytest.mark.parametrize("name", [*FOLDERS, "workflows"])
def test_short_import_names_are_banned(name):
    ruff = ["-m", "ruff", "check", "--no-cache", "--stdin-filename", "engine/probe.py", "-"]

    done = run(*ruff, input=f"import {name}\n")

    assert f"`{name}` is banned: write latentloom.{name}" in done.stdout


@pytest.mark.parametrize(
    "path", sorted(p.relative_to(ROOT) for f in FOLDERS for p in (ROOT / f).rglob("*.py")), ids=str
)
def test_modules_stay_small(path):
    assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) <= 400


def test_the_server_and_its_worker_import_without_torch():
    modules = [f"latentloom.web.{path.stem}" for path in (ROOT / "web").glob("*.py") if path.stem != "__init__"]
    banned = "{'torch', 'diffusers', 'transformers', 'rich', 'PIL', 'latentloom.nodes'}"

    script = f"import sys, latentloom.api.worker, {', '.join(sorted(modules))}; print({banned} & sys.modules.keys())"

    assert run("-c", script).stdout == "set()\n"


def test_the_engine_and_the_doors_import_without_torch():
    files = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "engine").rglob("*.py")]
    engine = ["latentloom." + ".".join(path.parts) for path in files if path.stem != "__init__"]
    modules = [*sorted(engine), "latentloom.plugins.discovery", "latentloom.api"]
    banned = "{'torch', 'diffusers', 'transformers', 'aiohttp', 'rich', 'latentloom.nodes'}"

    done = run("-c", f"import sys, {', '.join(modules)}; print(sorted({banned} & sys.modules.keys()))")

    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("path", sorted((ROOT / "nodes").glob("*.py")), ids=lambda path: path.stem)
def test_a_node_is_found_in_the_file_of_its_category(path):
    categories = set(re.findall(r'category="([^"]+)"', path.read_text(encoding="utf-8")))

    assert all(path.stem == category or path.stem.startswith(f"{category}_") for category in categories)
    assert len(categories) == (path.stem != "__init__")


def test_node_types_stand_on_the_subjects_and_not_the_other_way_round():
    node_types = {path.stem for path in (ROOT / "nodes").glob("*.py")} - {"__init__"}

    for path in (ROOT / "nodes").glob("*/**/*.py"):
        named = re.findall(r"latentloom\.nodes\.(\w+)", path.read_text(encoding="utf-8"))
        assert not node_types & set(named), path


def test_modules_import_each_other_in_no_circle():
    graph = grimp.build_graph(*(f"latentloom.{folder}" for folder in FOLDERS), cache_dir=None)
    arrows = networkx.DiGraph(
        (module, other) for module in graph.modules for other in graph.find_modules_directly_imported_by(module)
    )

    assert [sorted(circle) for circle in networkx.strongly_connected_components(arrows) if len(circle) > 1] == []
