"""Every command of the page for people who come from other programs runs, one after the other, in one folder."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from latentloom.cli.main import main

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
COMMANDS = [
    line.partition("  #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]
GRAPH: dict[str, Any] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 8, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "blue"}},
}
PARAMETERS = "a red circle\nSteps: 4, Sampler: Euler a, CFG scale: 7, Seed: 3, Size: 128x128, Model: shapes"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The files that the page names."""
    made = tmp_path_factory.mktemp("coming")
    pixels = np.zeros((128, 128, 3), np.uint8)
    pixels[32:96, 32:96] = (220, 30, 30)
    Image.fromarray(pixels).save(made / "photo.png")
    Image.fromarray(pixels[..., 0]).save(made / "mask.png")
    (made / "graph.json").write_text(json.dumps(GRAPH))
    chunks = PngInfo()
    chunks.add_text("parameters", PARAMETERS)
    Image.new("RGB", (8, 8)).save(made / "a1111.png", pnginfo=chunks)
    (made / "models").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATENTLOOM_HOME", str(made / "home"))
        patch.chdir(made)
        yield made


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_runs(folder: Path, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    program, *words = shlex.split(line)
    assert program == "loom"
    try:
        code = main(words)
    except SystemExit as ended:
        code = ended.code
    told = capsys.readouterr()
    assert code in (0, None), told.err
    made = folder / "pictures"
    if "--out" in words:
        newest = max(made.glob("**/*.png"), key=lambda path: path.stat().st_mtime_ns)
        if not (folder / "picture.png").exists():
            (folder / "picture.png").write_bytes(newest.read_bytes())
    if "-o" in words:
        assert json.loads((folder / words[words.index("-o") + 1]).read_text())


def test_the_script_runs(folder: Path) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "(1, 128, 128, 3)\n"), done.stderr


def test_the_page_knows_the_words_of_the_programs() -> None:
    """Node types in the column of ours exist."""
    from latentloom.plugins.discovery import discover

    types = discover(only=["comfyui"]).registry.nodes
    for name in ("KSampler", "DynamicPrompt", "FormatText", "JoinText", "ConditioningMask", "ApplyControlNet", "Noise"):
        assert name in PAGE
        assert name in types
