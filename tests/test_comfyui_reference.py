"""Latents that ComfyUI 0.3.64 gave on a processor in float32, made again from its own graphs.

The checkpoint has SD 1.5's true form and random weights (2.1 GB, made here); graphs and latents are in tests/data.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from reference_checkpoint import SHA256, write_reference_checkpoint
from safetensors.torch import load_file

from latentloom.api import Session
from latentloom.engine.settings import load_settings
from latentloom.plugins.comfyui.importing import import_graph

DATA = Path(__file__).parent / "data"
GRAPHS = json.loads((DATA / "comfyui-graphs.json").read_text())

SHORT = ("adv_from2", "average", "inpaint_softcell")  # few steps; each takes seconds
CASES = [*SHORT, *(pytest.param(name, marks=pytest.mark.full) for name in GRAPHS if name not in SHORT)]

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    home = tmp_path_factory.mktemp("reference")
    (home / "models" / "checkpoints").mkdir(parents=True)
    checkpoint = home / "models" / "checkpoints" / "sd15_random.safetensors"
    write_reference_checkpoint(checkpoint)
    with checkpoint.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == SHA256
    _write_inputs(home / "input")
    told = {"models": [home / "models"], "input": home / "input", "device": "cpu", "dtype": "fp32"}
    with Session(load_settings(told, {"LATENTLOOM_HOME": str(home)})) as made:
        yield made


def _write_inputs(folder: Path) -> None:
    """The picture and the masks of the cases, 64x64."""
    folder.mkdir()
    y, x = np.mgrid[:64, :64]
    picture = np.stack([x * 4, y * 4, (x + y) * 2], -1).clip(0, 255)
    picture[20:45, 15:40] = [200, 30, 30]
    noisy = picture + np.random.default_rng(5).integers(-20, 20, picture.shape)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / "parity_in.png")
    cells = np.hypot(*np.meshgrid(np.arange(8) - 3.5, np.arange(8) - 3.5))
    masks = {
        "rect": np.pad(np.full((32, 32), 255.0), ((16, 16), (8, 24))),
        "soft": 255 * np.clip(1.5 - np.hypot(x - 32, y - 32) / 20, 0, 1),
        "offgrid": np.pad(np.full((38, 40), 255.0), ((13, 13), (5, 19))),
        "cmask": np.pad(np.full((64, 32), 255.0), ((0, 0), (32, 0))),
        "softcell": np.kron(np.clip(1.5 - cells / 2.5, 0, 1) * 255, np.ones((8, 8))),
    }
    for name, mask in masks.items():
        Image.fromarray(np.repeat(mask.astype(np.uint8)[..., None], 3, -1)).save(folder / f"{name}.png")


@pytest.mark.parametrize("case", CASES)
def test_comfyui_s_latent_is_made_again(session: Session, case: str) -> None:
    document, report = import_graph(GRAPHS[case])
    assert report["lines"] == ["node 'sl': changed: the latent is an output of the workflow, not a file"]
    for node in document["nodes"].values():
        if "noise_rule" in node["inputs"]:
            node["inputs"]["noise_rule"] = "comfyui_0_3"  # the reference is of that version
    found = torch.tensor(session.run(document)["latent"].numpy())
    known = load_file(DATA / "comfyui-latents.safetensors")[case]
    assert float((found - known).norm() / known.norm()) < 1e-4
