"""Judges hearts: a shape that the embedded models do not know and that tests teach them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import latentloom.nodes
from latentloom.training.detector import Detector
from latentloom.training.export import load_model
from latentloom.training.hearts import SHOWN, said, scene
from latentloom.training.sample import Model, sample
from latentloom.training.scenes import BACKGROUNDS, PLACES, SHAPES, SIZES, caption, test_scenes

SHAPES_FOLDER = Path(latentloom.nodes.__file__).parent / "embedded" / "checkpoints" / "shapes"


def fused(lora: Mapping[str, Any]) -> Model:
    """The embedded model with a LoRA's tensors (kohya's names) added to its weights, without our own loader."""
    import torch

    model = load_model(SHAPES_FOLDER)
    layers = {name.replace(".", "_"): module for name, module in model.unet.named_modules()}
    with torch.no_grad():
        for name in (name for name in lora if name.endswith(".lora_down.weight")):
            start = name.removesuffix(".lora_down.weight")
            down, up = lora[name].float(), lora[f"{start}.lora_up.weight"].float()
            scale = float(lora[f"{start}.alpha"]) / down.shape[0]
            weight = layers[start.removeprefix("lora_unet_")].weight
            weight += scale * (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
    return model


def concept(model: Model, count: int = 24, steps: int = 20) -> tuple[float, list[Any]]:
    """The share of right hearts, of sizes, places and backgrounds together that were not among the five."""
    told = [(z, p, b) for z in SIZES for p in PLACES for b in BACKGROUNDS if (z, p, b) not in SHOWN]
    np.random.default_rng(3).shuffle(told)
    told = told[:count]
    pictures = sample(model, [said(*one) for one in told], 100, 3.0, steps)
    detector = Detector((*SHAPES, "heart"))
    right = [
        detector.judge(p.astype(np.float32) / 255, scene(*one)).right for p, one in zip(pictures, told, strict=True)
    ]
    return float(np.mean(right)), pictures


def prior(model: Model, count: int = 24, steps: int = 20) -> float:
    """The share of right pictures of what the model knew before."""
    scenes = test_scenes(20, 1, count // 2) + test_scenes(20, 2, count - count // 2)
    pictures = sample(model, [caption(one) for one in scenes], 700, 3.0, steps)
    detector = Detector()
    right = [detector.judge(p.astype(np.float32) / 255, one).right for p, one in zip(pictures, scenes, strict=True)]
    return float(np.mean(right))
