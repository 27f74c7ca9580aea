"""Upscalers: both networks, the layouts of their files, and tiles that do not show."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawings import edge, put, run_node
from safetensors.torch import save_file

from latentloom.api import Session
from latentloom.engine import Image
from latentloom.engine.errors import FileError
from latentloom.engine.models.weights import HostModel
from latentloom.engine.settings import load_settings
from latentloom.engine.types.context import Context
from latentloom.nodes.families.upscale.kind import UpscalerKind, find_upscaler
from latentloom.nodes.families.upscale.networks import SRVGG, RRDBNet
from latentloom.nodes.upscale import upscaled
from latentloom.training.random_checkpoint import random_tensor


def numbers(network: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def test_the_networks_have_the_size_of_the_published_ones() -> None:
    assert numbers(RRDBNet(64, 32, 23, 2)) == 16_697_987  # RealESRGAN_x4plus
    assert numbers(RRDBNet(64, 32, 6, 2)) == 4_467_779  # RealESRGAN_x4plus_anime_6B
    assert numbers(SRVGG(64, 32, 4)) == 1_213_296  # realesr-general-x4v3
    assert numbers(SRVGG(64, 16, 4)) == 621_424  # realesr-animevideov3


def weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: random_tensor(name, tensor.shape) for name, tensor in network.state_dict().items()}


def real_esrgan(name: str) -> str:
    return name.replace("ups.0.", "conv_up1.").replace("ups.1.", "conv_up2.")


def esrgan(name: str) -> str:
    """The old names of a network of two blocks and two doublings."""
    for ours, theirs in (
        ("conv_first.", "model.0."),
        ("conv_body.", "model.1.sub.2."),
        ("ups.0.", "model.3."),
        ("ups.1.", "model.6."),
        ("conv_hr.", "model.8."),
        ("conv_last.", "model.10."),
    ):
        name = name.replace(ours, theirs)
    if name.startswith("body."):
        _, block, dense, conv, kind = name.split(".")
        return f"model.1.sub.{block}.{dense.upper()}.{conv}.0.{kind}"
    return name


RENAMED = {
    "Real-ESRGAN": real_esrgan,
    "with a prefix": lambda name: f"params_ema.{real_esrgan(name)}",
    "ESRGAN": esrgan,
}


@pytest.mark.parametrize("layout", RENAMED)
@torch.no_grad()
def test_every_layout_of_an_rrdbnet_gives_the_same_picture(layout: str, tmp_path: Path) -> None:
    known = RRDBNet(16, 8, 2, 2)
    known.load_state_dict(weights(known))
    path = tmp_path / "u.safetensors"
    save_file({RENAMED[layout](name): tensor for name, tensor in weights(known).items()}, path)
    assert UpscalerKind().recognise(path) == {
        "upscaler": {"scale": 4, "reach": 34},
        "about": "upscaler x4 (RRDBNet)",
    }
    x = torch.rand(1, 3, 8, 8)
    found = UpscalerKind().load([path], {"component": "upscaler"})(x)
    assert found.shape == (1, 3, 32, 32)
    assert torch.allclose(found, known(x), atol=1e-6)


def test_a_network_that_folds_pixels_first_has_a_smaller_scale() -> None:
    shapes = {real_esrgan(name): tuple(t.shape) for name, t in RRDBNet(16, 8, 2, 2, folds=2).state_dict().items()}
    part = find_upscaler(shapes)
    assert part is not None
    assert (part.scale, part.arguments["folds"]) == (2, 2)


@torch.no_grad()
def test_an_srvgg_is_told_and_adds_to_the_enlarged_picture(tmp_path: Path) -> None:
    known = SRVGG(8, 3, 2)
    path = tmp_path / "u.safetensors"
    save_file({name: tensor * 0 for name, tensor in known.state_dict().items()}, path)
    assert UpscalerKind().recognise(path) == {"upscaler": {"scale": 2, "reach": 5}, "about": "upscaler x2 (SRVGG)"}
    x = torch.rand(1, 3, 4, 4)
    found = UpscalerKind().load([path], {"component": "upscaler"})(x)
    assert torch.equal(found, x.repeat_interleave(2, 2).repeat_interleave(2, 3))


class Nothing:
    """Services of a node that asks for none."""


def context(events: list[Any]) -> Context:
    services: Any = Nothing()
    return Context(node="n", services=services, emit=events.append, cancelled=threading.Event())


@torch.no_grad()
def test_tiles_do_not_show_and_are_counted() -> None:
    network = SRVGG(8, 3, 2)  # sees 5 pixels around one, less than the margin
    network.load_state_dict(weights(network))
    pixels, events = torch.rand(1, 90, 70, 3), []
    whole, tiled = (upscaled(context(events), network, pixels, 2, tile) for tile in (512, 64))
    assert whole.shape == (1, 180, 140, 3)
    assert torch.allclose(whole, tiled, atol=1e-5)
    assert [(event.step, event.total) for event in events] == [(1, 1), (1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("margin", [34, 16])
def test_a_margin_as_wide_as_the_network_looks_leaves_no_trace_of_tiles(margin: int) -> None:
    """Real-ESRGAN's compact network has 32 layers and looks 34 pixels around."""
    torch.manual_seed(0)
    network = SRVGG(8, 32, 2)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, torch.nn.Conv2d):
                torch.nn.init.orthogonal_(part.weight, 1.4)  # so that what lies far away still counts
        pixels = torch.rand(1, 96, 96, 3)
        whole, tiled = (upscaled(context([]), network, pixels, 2, tile, margin) for tile in (512, 64))
    assert (float((whole - tiled).abs().max()) < 1e-4) == (margin == 34)


def test_a_file_tells_how_far_its_network_looks(tmp_path: Path) -> None:
    for network, reach in ((SRVGG(8, 32, 2), 34), (RRDBNet(8, 4, 2, 2), 34), (RRDBNet(8, 4, 2, 2, folds=2), 66)):
        path = tmp_path / f"{reach}_{type(network).__name__}.safetensors"
        names = {name: name for name in network.state_dict()}
        if isinstance(network, RRDBNet):
            names |= {name: real_esrgan(name) for name in names}
        save_file({names[name]: tensor for name, tensor in network.state_dict().items()}, path)
        found = UpscalerKind().recognise(path)
        assert found is not None
        assert found["upscaler"]["reach"] == reach


def test_an_upscaler_computes_in_float32_whatever_the_device_does(tmp_path: Path) -> None:
    save_file(SRVGG(8, 1, 2).state_dict(), tmp_path / "u.safetensors")
    loaded = UpscalerKind().load([tmp_path / "u.safetensors"], {"component": "upscaler"})
    assert {slot.dtype(torch.bfloat16) for slot in HostModel(loaded).slots()} == {torch.float32}


def test_another_file_is_no_upscaler(tmp_path: Path) -> None:
    path = tmp_path / "u.safetensors"
    save_file({"layer.weight": torch.zeros(2, 2)}, path)
    assert UpscalerKind().recognise(path) is None
    with pytest.raises(FileError, match=r"'u.safetensors' contains no upscaler"):
        UpscalerKind().load([path], {"component": "upscaler"})


def test_transparency_is_enlarged_and_what_it_hides_is_not_seen(tmp_path: Path) -> None:
    (tmp_path / "upscale_models").mkdir()
    zeros = {name: tensor * 0 for name, tensor in SRVGG(8, 3, 2).state_dict().items()}  # enlarges and adds nothing
    save_file(zeros, tmp_path / "upscale_models" / "twice.safetensors")
    pixels = np.zeros((16, 16, 4), np.float32)
    pixels[:, :8] = [0, 1, 0, 1]
    pixels[:, 8:] = [1, 0, 0, 0]  # hidden red
    settings = {"models": [tmp_path], "device": "cpu", "dtype": "fp32"}
    with Session(load_settings(settings, {"LATENTLOOM_HOME": str(tmp_path)})) as session:
        put(session, "cat.png", Image(pixels[None]))
        made = run_node(session, "UpscaleWithModel", {"image": edge("load"), "upscaler": "twice.safetensors"}).numpy()
    assert made.shape == (1, 32, 32, 4)
    assert np.allclose(made[..., :3], [0, 1, 0], atol=1e-5)
    assert made[0, :, :12, 3].min() > 0.99
    assert made[0, :, 20:, 3].max() < 0.01
