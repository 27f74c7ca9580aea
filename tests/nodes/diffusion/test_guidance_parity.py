"""Guidance beside diffusers' pipelines: whole trajectories with the same weights, prompts, noise and sigmas."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPAGPipeline,
    StableDiffusionPipeline,
    StableDiffusionSAGPipeline,
)
from PIL import Image
from pipelines import SIDE, ddim, distance, document, expected, latent, pipeline, wire

from latentloom.api import Session
from latentloom.engine.settings import load_settings
from latentloom.nodes.diffusion.attention_control import Alignment, AttentionControl
from latentloom.nodes.diffusion.timeline import Moment
from latentloom.nodes.families.stable_diffusion.single_file import SingleFile
from latentloom.training.random_checkpoint import write_checkpoint


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("guidance") / "models"
    (root / "checkpoints").mkdir(parents=True)
    for recipe in ("sd1_tiny", "sd1_instruct_tiny"):
        write_checkpoint(root / "checkpoints" / f"{recipe}.safetensors", recipe, dtype=torch.float32)
    return root


@pytest.fixture
def session(tmp_path: Path, models: Path) -> Iterator[Session]:
    settings = {"models": [models], "device": "cpu", "dtype": "fp32", "input": tmp_path}
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    with Session(load_settings(settings, {"LATENTLOOM_HOME": str(tmp_path)})) as made:
        yield made


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8)


def guided(type: str | None = None, **inputs: Any) -> dict[str, Any]:
    """Text to image with a guidance node."""
    nodes = {"guide": {"type": type, "inputs": {"model": wire("load", "model"), **inputs}}} if type else {}
    return document("sd1_tiny.safetensors", nodes, **({"model": wire("guide", "model")} if type else {}))


def test_plain_guidance(session: Session, models: Path) -> None:
    pipe = pipeline(StableDiffusionPipeline, models / "checkpoints" / "sd1_tiny.safetensors", image_encoder=None)
    assert distance(latent(session, guided()), expected(pipe)) < 1e-4


def test_freeu(session: Session, models: Path) -> None:
    pipe = pipeline(StableDiffusionPipeline, models / "checkpoints" / "sd1_tiny.safetensors", image_encoder=None)
    pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.3, b2=1.4)
    known = expected(pipe)
    assert distance(latent(session, guided("FreeU", s1=0.9, s2=0.2, b1=1.3, b2=1.4)), known) < 1e-4
    assert distance(latent(session, guided()), known) > 1e-3


def test_perturbed_attention(session: Session, models: Path) -> None:
    parts = {"image_encoder": None, "pag_applied_layers": ["mid"]}
    pipe = pipeline(StableDiffusionPAGPipeline, models / "checkpoints" / "sd1_tiny.safetensors", **parts)
    known = expected(pipe, pag_scale=3.0)
    assert distance(latent(session, guided("PerturbedAttention", scale=3.0)), known) < 1e-4
    assert distance(latent(session, guided()), known) > 1e-3


@pytest.mark.parametrize("cfg", [5.0, 1.0])
def test_self_attention_guidance(cfg: float, session: Session, models: Path) -> None:
    parts = {"image_encoder": None, "scheduler": ddim()}
    pipe = pipeline(StableDiffusionSAGPipeline, models / "checkpoints" / "sd1_tiny.safetensors", **parts)
    known = expected(pipe, sag_scale=0.75, guidance_scale=cfg)
    nodes = guided("SelfAttentionGuidance", scale=0.75)
    nodes["nodes"]["sample"]["inputs"]["cfg"] = cfg
    assert distance(latent(session, nodes), known) < 1e-4
    assert distance(latent(session, guided()), known) > 1e-3


def test_instruct_pix2pix(session: Session, models: Path) -> None:
    path = models / "checkpoints" / "sd1_instruct_tiny.safetensors"
    pipe = pipeline(StableDiffusionInstructPix2PixPipeline, path)
    known = expected(pipe, image=Image.fromarray(pixels()), image_guidance_scale=1.5)
    nodes = {
        "image": {"type": "LoadImage", "inputs": {"image": "a.png"}},
        "told": {
            "type": "InstructConditioning",
            "inputs": {
                "positive": wire("positive", "conditioning"),
                "negative": wire("negative", "conditioning"),
                "vae": wire("load", "vae"),
                "image": wire("image", "image"),
            },
        },
        "guide": {"type": "InstructGuidance", "inputs": {"model": wire("load", "model"), "image_cfg": 1.5}},
    }
    ends = {name: wire("told", name) for name in ("positive", "negative")}
    made = document("sd1_instruct_tiny.safetensors", nodes, model=wire("guide", "model"), **ends)
    assert distance(latent(session, made), known) < 1e-4


class Edited:
    """Prompt-to-Prompt's attention as the paper's own code computes it: on explicit maps, head by head."""

    def __init__(self, alignment: Alignment, *, cross: bool) -> None:
        self.alignment, self.cross = alignment, cross

    def __call__(
        self, layer: Any, hidden: torch.Tensor, encoder_hidden_states: torch.Tensor | None = None, **_: Any
    ) -> torch.Tensor:
        context = hidden if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (
            layer.head_to_batch_dim(part) for part in (layer.to_q(hidden), layer.to_k(context), layer.to_v(context))
        )
        maps = layer.get_attention_scores(q, k, None).unflatten(0, (2, layer.heads)).clone()
        if self.cross:
            mapper, kept, weights = self.alignment.mapper, self.alignment.kept, self.alignment.weights
            carried = torch.einsum("hpw,wn->hpn", maps[0], mapper)
            maps[1] = (carried * kept + maps[1] * (1 - kept)) * weights
        else:
            maps[1] = maps[0]
        found = layer.batch_to_head_dim(torch.bmm(maps.flatten(0, 1), v))
        answer: torch.Tensor = layer.to_out[1](layer.to_out[0](found))
        return answer


@torch.no_grad()
def test_prompt_to_prompt_is_the_papers_edit_of_the_maps(models: Path) -> None:
    unet = SingleFile().load([models / "checkpoints" / "sd1_tiny.safetensors"], {"component": "unet"})
    generator = torch.Generator().manual_seed(0)
    mapper = torch.eye(77)[torch.randperm(77, generator=generator)]
    kept, weights = (torch.rand(77, generator=generator) > 0.5).float(), 1 + torch.rand(77, generator=generator)
    alignment = Alignment(mapper, kept, weights)
    x, context = (torch.randn(shape, generator=generator) for shape in ((2, 4, 8, 8), (2, 77, 64)))
    plain, control = unet(x, 500, context).sample, AttentionControl(alignment, 1.0, 1.0)
    with control.over(unet), control.on(Moment(1.0)):
        found = unet(x, 500, context).sample
    before = dict(unet.attn_processors)
    unet.set_attn_processor({name: Edited(alignment, cross="attn2" in name) for name in before})
    known = unet(x, 500, context).sample
    assert distance(found, known) < 1e-5
    assert torch.allclose(found[:1], plain[:1], atol=1e-5)
    assert distance(found[1:], plain[1:]) > 1e-3
