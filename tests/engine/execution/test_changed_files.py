"""Files that change while a run reads them: an error of that run, and nothing in the cache."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from latentloom.api import Session
from latentloom.engine.errors import ChangedFileError
from latentloom.engine.settings import load_settings
from latentloom.training.random_checkpoint import write_checkpoint

LONG_AGO = (1_700_000_000, 1_700_000_000)


def edge(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def sampled(latent: tuple[str, str], seed: int) -> dict[str, Any]:
    inputs = {
        "model": edge("c", "model"),
        "positive": edge("p", "conditioning"),
        "negative": edge("p", "conditioning"),
        "latent": edge(*latent),
        "seed": seed,
        "steps": 2,
    }
    return {"type": "KSampler", "version": 1, "inputs": inputs}


WORKFLOW = {
    "format": "latentloom/1",
    "name": "t",
    "nodes": {
        "c": {"type": "LoadCheckpoint", "version": 1, "inputs": {"checkpoint": "m.safetensors"}},
        "p": {"type": "CLIPEncode", "version": 1, "inputs": {"clip": edge("c", "clip"), "text": "a"}},
        "e": {"type": "EmptyLatent", "version": 1, "inputs": {"width": 64, "height": 64}},
        "k1": sampled(("e", "latent"), 1),
        "k2": sampled(("k1", "latent"), 2),
    },
    "outputs": [{"name": "o", "from": edge("k2", "latent")}],
}


def session(home: Path) -> Session:
    return Session(load_settings({"device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(home)}))


def computed(home: Path, **options: Any) -> np.ndarray[Any, Any]:
    with session(home) as made:
        return np.array(made.run(WORKFLOW, **options).outputs["o"].numpy())


def test_a_checkpoint_that_is_written_over_during_a_run_leaves_nothing_wrong_in_the_cache(
    tmp_path: Path,
) -> None:
    there = tmp_path / "models" / "checkpoints" / "m.safetensors"
    there.parent.mkdir(parents=True)
    for name, seed in (("a", 0), ("b", 7)):
        write_checkpoint(tmp_path / name, "sd1_tiny", seed=seed, dtype=torch.float32)
        os.utime(tmp_path / name, LONG_AGO)
    shutil.copy2(tmp_path / "a", there)
    true = computed(tmp_path, cache=False)

    def write_over(event: Any) -> None:
        if event.name == "node_progress" and event.node == "k2" and event.step == 1:
            shutil.copy2(tmp_path / "b", there)

    with session(tmp_path) as made, pytest.raises(ChangedFileError) as caught:
        made.run(WORKFLOW, on_event=write_over)
    assert (caught.value.problem.code, caught.value.problem.node) == ("changed_file", "k2")

    shutil.copy2(tmp_path / "a", there)
    assert np.array_equal(computed(tmp_path), true)


def test_a_picture_that_is_replaced_while_it_is_read_is_an_error(tmp_path: Path, monkeypatch: Any) -> None:
    from latentloom.nodes import image

    place, read = tmp_path / "input" / "p.png", image.read_pixels
    place.parent.mkdir()
    Pillow.new("RGB", (8, 8), "red").save(place)

    def replaced(path: Path) -> Any:
        Pillow.new("RGB", (8, 8), "blue").save(path)
        return read(path)

    document = {
        "format": "latentloom/1",
        "name": "t",
        "nodes": {"i": {"type": "LoadImage", "version": 1, "inputs": {"image": "p.png"}}},
        "outputs": [{"name": "o", "from": edge("i", "image")}],
    }
    monkeypatch.setattr(image, "read_pixels", replaced)
    with session(tmp_path) as made, pytest.raises(ChangedFileError, match=r"'p\.png' was overwritten"):
        made.run(document)
