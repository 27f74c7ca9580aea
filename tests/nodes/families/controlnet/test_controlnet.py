"""ControlNets: the same numbers as diffusers, and what they do and do not change while sampling."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from PIL import Image
from safetensors.torch import load_file

from latentloom.api import Session
from latentloom.engine import Array, Cond, Conditioning, ControlNet, FileIdentity
from latentloom.engine.errors import NodeError
from latentloom.engine.settings import load_settings
from latentloom.engine.types import values
from latentloom.nodes.diffusion.control_residuals import with_control
from latentloom.nodes.families.controlnet.kind import ControlNetKind
from latentloom.training.random_checkpoint import controlnet_shapes, write_checkpoint, write_controlnet

SD1 = {
    "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "cross_attention_dim": 64,
    "attention_head_dim": 8,
    "layers_per_block": 1,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint, ControlNets for it in both layouts and as a folder, and one for SDXL."""
    root = tmp_path_factory.mktemp("controlnet") / "models"
    for folder in ("checkpoints", "controlnet/folder"):
        (root / folder).mkdir(parents=True)
    write_checkpoint(root / "checkpoints" / "tiny.safetensors", "sd1_tiny", dtype=torch.float32)
    for name, recipe, original in (("c", "sd1_tiny", True), ("d", "sd1_tiny", False), ("xl", "sdxl_tiny", True)):
        write_controlnet(root / "controlnet" / f"{name}.safetensors", recipe, original=original)
    os.link(root / "controlnet" / "d.safetensors", root / "controlnet/folder/diffusion_pytorch_model.safetensors")
    config = {"_class_name": "ControlNetModel", **SD1}
    (root / "controlnet/folder/config.json").write_text(json.dumps(config))
    return root


@pytest.fixture
def session(tmp_path: Path, models: Path) -> Iterator[Session]:
    settings = {"models": [models], "device": "cpu", "dtype": "fp32", "input": tmp_path}
    rng = np.random.default_rng(0)
    for name, size in (("a", 64), ("b", 64), ("large", 96)):
        Image.fromarray(rng.integers(0, 255, (size, size, 3), np.uint8)).save(tmp_path / f"{name}.png")
    half = np.zeros((64, 64), np.uint8)
    half[:, :32] = 255
    Image.fromarray(half).save(tmp_path / "half.png")
    Image.fromarray(half * 0).save(tmp_path / "none.png")
    with Session(load_settings(settings, {"LATENTLOOM_HOME": str(tmp_path)})) as made:
        yield made


def loaded(path: Path) -> Any:
    return ControlNetKind().load([path], {"component": "controlnet"})


def distance(found: Any, expected: Any) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", ["c.safetensors", "d.safetensors", "folder"])
@torch.no_grad()
def test_a_controlnet_computes_what_diffusers_computes(name: str, models: Path) -> None:
    known = ControlNetModel(**SD1)
    weights = load_file(models / "controlnet" / "c.safetensors")
    known.load_state_dict(convert_controlnet_checkpoint(weights, dict(known.config)))
    torch.manual_seed(0)
    x, context, hint = torch.randn(1, 4, 8, 8), torch.randn(1, 77, 64), torch.rand(1, 3, 64, 64)
    steps, last = known(x, 500, context, hint, return_dict=False)
    found, middle = loaded(models / "controlnet" / name)(x, 500, context, hint, return_dict=False)
    assert len(found) == len(steps) == 4
    assert all(distance(a, b) < 1e-4 for a, b in zip((*found, middle), (*steps, last), strict=True))


def test_the_original_names_are_those_of_the_published_files() -> None:
    names = controlnet_shapes("sd1")
    assert len(names) == 340
    assert {
        "control_model.input_hint_block.14.weight",
        "control_model.zero_convs.11.0.bias",
        "control_model.middle_block_out.0.weight",
        "control_model.input_blocks.10.0.in_layers.2.weight",
    } <= names.keys()


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(*controls: dict[str, Any], batch: int = 1, net: str = "c.safetensors") -> dict[str, Any]:
    """Text to image with controls in a row; "image" and "mask" of a control name files."""
    nodes: dict[str, Any] = {
        "load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "tiny.safetensors"}},
        "positive": {"type": "CLIPEncode", "inputs": {"clip": wire("load", "clip"), "text": "a red fox"}},
        "negative": {"type": "CLIPEncode", "inputs": {"clip": wire("load", "clip"), "text": ""}},
        "empty": {"type": "EmptyLatent", "inputs": {"width": 64, "height": 64, "batch": batch}},
        "net": {"type": "LoadControlNet", "inputs": {"controlnet": net}},
    }
    ends = (wire("positive", "conditioning"), wire("negative", "conditioning"))
    for number, control in enumerate(controls):
        inputs = {**control, "positive": ends[0], "negative": ends[1], "controlnet": wire("net", "controlnet")}
        nodes[f"image{number}"] = {"type": "LoadImage", "inputs": {"image": inputs.get("image", "a.png")}}
        inputs["image"] = wire(f"image{number}", "image")
        if "mask" in control:
            nodes[f"mask{number}"] = {"type": "LoadMask", "inputs": {"image": control["mask"], "channel": "luminance"}}
            inputs["mask"] = wire(f"mask{number}", "mask")
        nodes[f"apply{number}"] = {"type": "ApplyControlNet", "inputs": inputs}
        ends = (wire(f"apply{number}", "positive"), wire(f"apply{number}", "negative"))
    sampler = {
        "model": wire("load", "model"),
        "positive": ends[0],
        "negative": ends[1],
        "latent": wire("empty", "latent"),
    }
    nodes["sample"] = {"type": "KSampler", "inputs": {**sampler, "steps": 4, "sampler": "euler"}}
    return {"format": "latentloom/1", "nodes": nodes, "outputs": [{"name": "out", "from": wire("sample", "latent")}]}


def latent(session: Session, *controls: dict[str, Any], **changes: Any) -> Any:
    return torch.tensor(session.run(document(*controls, **changes))["out"].numpy())


def test_a_control_changes_the_picture_and_another_image_changes_it_otherwise(session: Session) -> None:
    plain, first, second = latent(session), latent(session, {}), latent(session, {"image": "b.png"})
    assert distance(first, plain) > 0.01
    assert distance(second, first) > 0.001


def test_what_does_not_act_changes_no_bit(session: Session) -> None:
    plain = latent(session)
    assert torch.equal(latent(session, {"strength": 0.0}), plain)
    assert torch.equal(latent(session, {"start": 0.5, "end": 0.5}), plain)
    assert distance(latent(session, {"mask": "none.png"}), plain) < 1e-6


def test_start_and_end_divide_the_way(session: Session) -> None:
    whole, early, late = latent(session, {}), latent(session, {"end": 0.4}), latent(session, {"start": 0.4})
    assert min(distance(early, whole), distance(late, whole), distance(early, late)) > 1e-4
    assert torch.equal(latent(session, {"end": 0.4}, {"start": 0.4}), whole)


def test_several_add_up(session: Session) -> None:
    assert distance(latent(session, {"strength": 0.5}, {"strength": 0.5}), latent(session, {"strength": 1.0})) < 1e-4
    assert distance(latent(session, {}, {"image": "b.png"}), latent(session, {})) > 1e-3


def test_a_mask_of_another_size_and_a_larger_picture_are_resized(session: Session) -> None:
    assert distance(latent(session, {"image": "large.png"}), latent(session)) > 0.01
    assert distance(latent(session, {"mask": "half.png"}), latent(session, {})) > 1e-4


def test_a_batch_shares_one_picture(session: Session) -> None:
    batch, single = latent(session, {}, batch=2), latent(session, {})
    assert distance(batch[:1], single) < 1e-5


def test_the_three_layouts_give_one_picture(session: Session) -> None:
    first = latent(session, {})
    assert torch.equal(latent(session, {}, net="d.safetensors"), first)
    assert torch.equal(latent(session, {}, net="folder"), first)


def test_an_area_sees_its_part_of_the_picture(session: Session) -> None:
    nodes = document({})
    area = {"x": 0, "y": 0, "width": 32, "height": 64}
    joined = {"conditionings": [wire("area", "conditioning"), wire("positive", "conditioning")]}
    nodes["nodes"]["area"] = {
        "type": "ConditioningArea",
        "inputs": {"conditioning": wire("apply0", "positive"), **area},
    }
    nodes["nodes"]["both"] = {"type": "ConditioningCombine", "inputs": joined}
    nodes["nodes"]["sample"]["inputs"]["positive"] = wire("both", "conditioning")
    found = torch.tensor(session.run(nodes)["out"].numpy())
    assert torch.isfinite(found).all()
    assert distance(found, latent(session)) > 1e-3


def test_sdxl_samples_with_its_controlnet(session: Session, models: Path) -> None:
    path = models / "checkpoints" / "sdxl.safetensors"
    if not path.exists():
        write_checkpoint(path, "sdxl_tiny", dtype=torch.float32)
    plain, controlled = document(), document({}, net="xl.safetensors")
    for nodes in (plain, controlled):
        nodes["nodes"]["load"]["inputs"]["checkpoint"] = "sdxl.safetensors"
    first, second = (torch.tensor(session.run(nodes)["out"].numpy()) for nodes in (plain, controlled))
    assert torch.isfinite(second).all()
    assert distance(second, first) > 1e-3


def fault(session: Session, nodes: dict[str, Any]) -> Any:
    with pytest.raises(NodeError) as caught:
        session.run(nodes)
    return caught.value.problem


def test_a_controlnet_of_another_family_is_refused_with_both_names(session: Session) -> None:
    problem = fault(session, document({}, net="xl.safetensors"))
    assert problem.message == "KSampler: the ControlNet 'xl.safetensors' does not fit 'tiny.safetensors'"
    assert (problem.expected, problem.got) == ("one for text embeddings 64 wide", "one for 192")


def test_an_end_before_the_start_is_refused(session: Session) -> None:
    problem = fault(session, document({"start": 0.6, "end": 0.4}))
    assert problem.message == "ApplyControlNet: the control ends before it starts"
    assert (problem.expected, problem.got) == ("an end of at least 0.6", "0.4")


def test_a_checkpoint_is_no_controlnet(session: Session, models: Path) -> None:
    link = models / "controlnet" / "tiny.safetensors"
    if not link.exists():
        os.link(models / "checkpoints" / "tiny.safetensors", link)
    problem = fault(session, document({}, net="tiny.safetensors"))
    assert problem.message == "LoadControlNet: 'tiny.safetensors' is no ControlNet that Latentloom knows"
    assert problem.got == "SD 1.x checkpoint"


def test_the_identity_of_a_conditioning_leaves_out_the_names_of_its_controls() -> None:
    def essence(name: str, sha256: str, strength: float = 1.0) -> Any:
        plain = Conditioning([Cond(Array(np.zeros((1, 2, 3))))])
        control = ControlNet("controlnet", [FileIdentity(name, sha256)])
        return with_control(plain, control, values.Image(np.zeros((1, 2, 2, 3))), strength, 0.0, 1.0, None).essence()

    assert essence("a", "0" * 64) == essence("b", "0" * 64)
    assert essence("a", "0" * 64) != essence("a", "1" * 64)
    assert essence("a", "0" * 64) != essence("a", "0" * 64, 0.5)
