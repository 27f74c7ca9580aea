"""Upscalers that the optional library spandrel reads; where it is missing, the way to get it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from latentloom.api import open_session
from latentloom.engine.errors import NodeError
from latentloom.nodes.families.upscale.spandrel import OtherUpscalerKind

CASES = Path(__file__).with_name("spandrel_cases.py")


def test_spandrels_networks_pass_their_tests_beside_it() -> None:
    library = Path(sys.prefix) / "spandrel"  # where make puts it, out of sight of everything else
    assert library.is_dir(), f"make sets up {library}"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(library)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_without_the_library_its_files_are_unknown_and_the_hint_says_how_to_get_it(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "upscale_models"
    folder.mkdir(parents=True)
    save_file({"conv_first.weight": torch.zeros(8, 3, 3, 3)}, folder / "swinir.safetensors")
    assert OtherUpscalerKind().recognise(folder / "swinir.safetensors") is None
    Image.new("RGB", (8, 8)).save(tmp_path / "black.png")
    image = {"node": "p", "output": "image"}
    document = {
        "format": "latentloom/1",
        "nodes": {
            "p": {"type": "LoadImage", "version": 1, "inputs": {"image": "black.png"}},
            "u": {
                "type": "UpscaleWithModel",
                "version": 1,
                "inputs": {"image": image, "upscaler": "swinir.safetensors"},
            },
        },
        "outputs": [{"name": "image", "from": {"node": "u", "output": "image"}}],
    }
    folders = {"data": tmp_path / "data", "input": tmp_path, "models": (tmp_path / "models",)}
    with (
        open_session(**folders, device="cpu") as session,
        pytest.raises(NodeError, match=r"'swinir.safetensors' is not an upscaler that Latentloom knows") as refused,
    ):
        session.run(document)
    assert refused.value.problems[0].hint == "`pip install spandrel` adds support for other kinds"
