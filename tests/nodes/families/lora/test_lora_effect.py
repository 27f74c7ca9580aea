"""A LoRA that is trained in seconds on the embedded model changes the colour that was asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler
from safetensors.torch import save_file
from torch import nn

from latentloom.api import Session
from latentloom.engine.settings import load_settings
from latentloom.nodes.families.stable_diffusion.diffusers_folder import DiffusersFolder
from latentloom.training.detector import Detector
from latentloom.training.pictures import Painter
from latentloom.training.scenes import Scene, Thing, caption

SHAPES = Path(__file__).parents[4] / "nodes" / "embedded" / "checkpoints" / "shapes"
RED, GREEN = (Scene((Thing("circle", colour, "large"),), "in the center", "white") for colour in ("red", "green"))
RANK, STEPS = 8, 60


class Branch(nn.Module):
    """A linear layer with a LoRA beside it."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        self.down = nn.Parameter(torch.randn(RANK, layer.in_features) / layer.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(layer.out_features, RANK))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + x @ self.down.T @ self.up.T


def embedded(component: str) -> Any:
    found = DiffusersFolder().load([SHAPES], {"component": component})
    (found.modules if component == "clip" else found).float()
    return found


def train(path: Path) -> None:
    """Teach the UNet to draw green things for "red", from its own answers to "green"."""
    torch.manual_seed(0)
    (encoder,) = embedded("clip").encoders
    red, green = (context(encoder, caption(scene)) for scene in (RED, GREEN))
    teacher, student = embedded("unet"), embedded("unet")
    branches = {}
    for name, layer in list(student.named_modules()):
        if isinstance(layer, nn.Linear) and "attn2" in name:
            parent, _, attribute = name.rpartition(".")
            branches[name] = Branch(layer)
            setattr(student.get_submodule(parent), attribute, branches[name])
    weights = [weight for branch in branches.values() for weight in (branch.down, branch.up)]
    optimiser = torch.optim.Adam(weights, lr=5e-3)
    latents, scheduler = green_latents(), DDPMScheduler.from_pretrained(SHAPES / "scheduler")
    for _ in range(STEPS):
        timestep = torch.randint(0, 1000, (8,))
        x = scheduler.add_noise(latents, torch.randn(latents.shape), timestep)
        with torch.no_grad():
            wanted = teacher(x, timestep, green.expand(8, -1, -1)).sample
        loss = (student(x, timestep, red.expand(8, -1, -1)).sample - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    tensors = {}
    for name, branch in branches.items():
        base = f"lora_unet_{name.replace('.', '_')}"
        tensors |= {f"{base}.lora_down.weight": branch.down.detach(), f"{base}.lora_up.weight": branch.up.detach()}
    save_file(tensors, path)


@torch.no_grad()
def green_latents() -> torch.Tensor:
    """Scaled latents of eight green circles."""
    vae, rng = embedded("vae"), np.random.default_rng(0)
    painter = Painter()
    drawn = np.stack([painter.paint(GREEN, rng) for _ in range(8)])
    pixels = torch.tensor(drawn, dtype=torch.float32).movedim(-1, 1) / 127.5 - 1
    return vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor


@torch.no_grad()
def context(encoder: Any, text: str) -> torch.Tensor:
    tokens = encoder.tokenizer(text, padding="max_length", return_tensors="pt").input_ids
    return encoder.encode(tokens)[0]


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(strength: float | None) -> dict[str, Any]:
    """Text to image of a red circle, with the LoRA at a strength or without it."""
    source = "load" if strength is None else "lora"
    wires = {"model": wire("load", "model"), "clip": wire("load", "clip")}
    lora = {"type": "LoadLora", "inputs": {**wires, "lora": "green.safetensors", "model_strength": strength}}
    texts = {"positive": caption(RED), "negative": ""}
    nodes = {
        "load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "shapes"}},
        **({} if strength is None else {"lora": lora}),
        **{
            id: {"type": "CLIPEncode", "inputs": {"clip": wire(source, "clip"), "text": text}}
            for id, text in texts.items()
        },
        "empty": {"type": "EmptyLatent", "inputs": {"width": 128, "height": 128, "batch": 4}},
        "sample": {
            "type": "KSampler",
            "inputs": {
                "model": wire(source, "model"),
                "latent": wire("empty", "latent"),
                **{id: wire(id, "conditioning") for id in texts},
                "cfg": 5.0,
                "seed": 10,
            },
        },
        "decode": {"type": "VAEDecode", "inputs": {"vae": wire("load", "vae"), "latent": wire("sample", "latent")}},
    }
    return {"format": "latentloom/1", "nodes": nodes, "outputs": [{"name": "image", "from": wire("decode", "image")}]}


def pictures(session: Session, strength: float | None) -> np.ndarray:
    return session.run(document(strength), cache=False)["image"].numpy()


def colours(found: np.ndarray) -> list[str]:
    detector = Detector()
    return [thing.colour for picture in found for thing in detector.read(picture).objects[:1]]


def test_a_lora_changes_the_colour_and_without_it_the_pictures_are_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "loras"
    folder.mkdir(parents=True)
    train(folder / "green.safetensors")
    settings = {"device": "cpu", "dtype": "fp32"}
    with Session(load_settings(settings, {"LATENTLOOM_HOME": str(tmp_path)})) as session:
        before = pictures(session, None)
        changed = pictures(session, 1.0)
        assert colours(before).count("red") >= 3
        assert colours(changed).count("green") >= 3
        assert np.array_equal(pictures(session, None), before)
        assert np.array_equal(pictures(session, 0.0), before)
