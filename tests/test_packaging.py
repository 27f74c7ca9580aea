import re
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("engine", "nodes", "plugins", "api", "web", "cli", "training", "workflows")


def build(kind: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("latentloom-*"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    return zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def names(wheel) -> set[str]:
    return set(wheel.namelist())


def tracked(pattern: str) -> list[str]:
    return sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob(pattern) if p.is_file())


def test_the_wheel_claims_one_name(names):
    tops = {name.partition("/")[0] for name in names}

    assert tops == {"latentloom", "latentloom-0.1.0.dist-info"}
    assert {name.split("/")[1] for name in names if name.startswith("latentloom/")} == set(FOLDERS)


def test_the_wheel_holds_every_module(names):
    modules = [path for folder in FOLDERS for path in tracked(f"{folder}/**/*.py") if "/examples/" not in path]

    assert modules
    assert {f"latentloom/{path}" for path in modules} == {name for name in names if name.endswith(".py")}


@pytest.mark.parametrize(
    "pattern", ["workflows/*.json", "workflows/blocks/*.json", "*/py.typed", "nodes/embedded*/**/*"]
)
def test_the_wheel_holds_the_data(names, pattern):
    data = [path for path in tracked(pattern) if "__pycache__" not in path]

    assert data
    assert {f"latentloom/{path}" for path in data} <= names


def test_the_wheel_holds_the_editor(wheel, names):
    page = wheel.read("latentloom/web/dist/index.html").decode()
    assets = re.findall(r'(?:src|href)="\./(assets/[^"]+)"', page)

    assert len(assets) >= 3
    assert {f"latentloom/web/dist/{asset}" for asset in assets} <= names
    assert any(name.endswith(".js.gz") for name in names)


def test_the_wheel_holds_no_tests_examples_or_leftovers(names):
    strangers = [
        name
        for name in names
        if {"tests", "examples", "__pycache__", ".dev", "editor", "node_modules"} & set(name.split("/"))
    ]

    assert strangers == []


def test_the_entry_points(wheel):
    points = ConfigParser()
    points.read_string(wheel.read("latentloom-0.1.0.dist-info/entry_points.txt").decode())

    assert dict(points["console_scripts"]) == {"loom": "latentloom.cli.main:main"}
    assert dict(points["latentloom"]) == {"builtin": "latentloom.nodes", "comfyui": "latentloom.plugins.comfyui"}


def test_the_wheel_names_its_licence_and_python(wheel, names):
    metadata = wheel.read("latentloom-0.1.0.dist-info/METADATA").decode()

    assert "latentloom-0.1.0.dist-info/licenses/LICENSE" in names
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: >=3.11" in metadata


def test_the_sdist_holds_the_real_folders(tmp_path):
    with tarfile.open(build("sdist", tmp_path)) as sdist:
        files = {name.partition("/")[2]: sdist.getmember(name) for name in sdist.getnames()}

    assert {f"{folder}/{name}" for folder, name in REAL} <= files.keys()
    assert all(files[path].isfile() for path in tracked("engine/*.py"))
    assert not [name for name in files if name.startswith((".dev", ".venv", "web/dist", "web/editor/node_modules"))]
    assert {"build_editor.py", "web/editor/package-lock.json", "web/editor/src/main.tsx"} <= files.keys()


REAL = [
    ("engine", "document/workflow.py"),
    ("nodes", "__init__.py"),
    ("plugins", "examples/vignette/pyproject.toml"),
    ("api", "session.py"),
    ("web", "app.py"),
    ("cli", "main.py"),
    ("training", "unet.py"),
    ("workflows", "txt2img.json"),
    ("tests", "test_packaging.py"),
    ("docs", "format.md"),
]


def test_constraints_pin_what_is_asked_for_and_name_no_host():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]

    assert all(line.count("==") == 1 and "+" not in line and "/" not in line for line in lines)
    assert "torch==2.13.0" in lines
