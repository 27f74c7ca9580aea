"""Two denoisers in one run, with memory for one of them: the first makes room for the second."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from latentloom.api import Session
from latentloom.engine.settings import load_settings

STEPS, SIDE = 4, 64
NAMES = ("first.safetensors", "second.safetensors")


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document() -> dict[str, Any]:
    """Two samplers share one schedule: the first model takes the first half of the steps."""
    words, shared = (
        wire("words", "conditioning"),
        {"steps": STEPS, "cfg": 1.0, "sampler": "euler", "schedule": "simple"},
    )
    nodes: dict[str, Any] = {
        "a": {"type": "LoadUNet", "inputs": {"unet": NAMES[0]}},
        "b": {"type": "LoadUNet", "inputs": {"unet": NAMES[1]}},
        "clip": {"type": "LoadCLIP", "inputs": {"text_encoder": "qwen.safetensors", "model": wire("a", "model")}},
        "words": {"type": "CLIPEncode", "inputs": {"clip": wire("clip", "clip"), "text": "a red fox"}},
        "empty": {"type": "EmptyLatent", "inputs": {"width": SIDE, "height": SIDE}},
    }
    parts = {"high": ("a", "empty", {"end_step": 2, "leftover_noise": True})}
    parts["low"] = ("b", "high", {"start_step": 2, "add_noise": False})
    for name, (model, start, part) in parts.items():
        sides = {"positive": words, "negative": words, "latent": wire(start, "latent"), "model": wire(model, "model")}
        nodes[name] = {"type": "KSamplerAdvanced", "inputs": {**shared, **sides, **part}}
    outputs = [{"name": "out", "from": wire("low", "latent")}]
    return {"format": "latentloom/1", "name": "two", "nodes": nodes, "outputs": outputs}


@pytest.fixture
def size(z_models: Path) -> Iterator[int]:
    """Writes both denoisers, in bf16, so that a run in fp32 has copies; the bytes of the copies of one of them."""
    folder = z_models / "diffusion_models"
    state = load_file(folder / "z.safetensors")
    for name, by in zip(NAMES, (1.0, 0.5), strict=True):
        save_file({key: (tensor * by).bfloat16() for key, tensor in state.items()}, folder / name)
    yield sum(4 * tensor.numel() for tensor in state.values())
    for name in NAMES:
        (folder / name).unlink()


def run(home: Path, models: Path, budget: int) -> tuple[torch.Tensor, dict[str, int], set[str]]:
    """The latent, the figures of the models, and the files of the models that are still held."""
    settings = {"models": [models], "device": "cpu", "dtype": "fp32", "ram_budget": budget}
    with Session(load_settings(settings, {"LATENTLOOM_HOME": str(home)})) as session:
        found = torch.tensor(session.run(document())["out"].numpy())
        return found, session.engine.models.figures(), set(session.engine.models.resident()) & set(NAMES)


def test_the_first_of_two_denoisers_makes_room_for_the_second(tmp_path: Path, z_models: Path, size: int) -> None:
    whole, roomy, both = run(tmp_path / "roomy", z_models, 10 * size)
    found, tight, last = run(tmp_path / "tight", z_models, size * 3 // 2)
    assert np.array_equal(found, whole)
    assert both == set(NAMES) and last == {NAMES[1]}
    assert roomy["model_bytes"] >= 2 * size > size * 3 // 2 >= tight["model_bytes"]
    assert (
        roomy["model_loads"] == tight["model_loads"] == 3 and tight["model_evictions"] > 0 == roomy["model_evictions"]
    )
