"""Tests of spandrel's networks, for a process of their own: see test_upscale_others.py.

torchvision's published build carries operators for other builds of torch, and cannot be imported beside a torch for
processors only. None of the networks here uses them, so their names are declared, and that is enough.
"""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

OPERATORS = torch.library.Library("torchvision", "DEF")
for name in (
    "nms", "qnms", "deform_conv2d", "_deform_conv2d_backward", "ps_roi_align", "_ps_roi_align_backward", "ps_roi_pool",
    "_ps_roi_pool_backward", "roi_align", "_roi_align_backward", "roi_pool", "_roi_pool_backward",
):  # fmt: skip
    OPERATORS.define(f"{name}(Tensor x) -> Tensor")

from spandrel.architectures.DnCNN import DnCNN  # noqa: E402
from spandrel.architectures.SwinIR import SwinIR  # noqa: E402

from latentloom.api import open_session  # noqa: E402
from latentloom.engine import Context  # noqa: E402
from latentloom.engine.errors import FileError  # noqa: E402
from latentloom.engine.models.weights import HostModel  # noqa: E402
from latentloom.nodes.families.upscale.spandrel import OtherUpscalerKind  # noqa: E402
from latentloom.nodes.upscale import upscaled  # noqa: E402

SWINIR = {"depths": [2, 2], "num_heads": [2, 2], "embed_dim": 16, "img_size": 16, "window_size": 8, "mlp_ratio": 2}


def write(network: torch.nn.Module, path: Path) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    return path


@pytest.fixture
def swinir(tmp_path: Path) -> tuple[torch.nn.Module, Path]:
    torch.manual_seed(0)
    network = SwinIR(upscale=2, upsampler="pixelshuffledirect", **SWINIR).eval()
    return network, write(network, tmp_path / "swinir.safetensors")


@torch.no_grad()
def test_a_network_is_told_and_answers_as_its_own(swinir: tuple[torch.nn.Module, Path]) -> None:
    network, path = swinir
    facts = OtherUpscalerKind().recognise(path)
    assert facts == {"upscaler": {"scale": 2, "architecture": "SwinIR"}, "about": "upscaler x2 (SwinIR)"}
    loaded = OtherUpscalerKind().load([path], {"component": "upscaler"})
    x = torch.rand(1, 3, 16, 16)
    assert torch.allclose(loaded(x), network(x).clamp(0, 1), atol=1e-6)
    assert loaded(torch.rand(1, 3, 13, 11)).shape == (1, 3, 26, 22)
    assert not any(weight.requires_grad for weight in loaded.parameters())


def test_the_node_uses_it(swinir: tuple[torch.nn.Module, Path], tmp_path: Path) -> None:
    folder = tmp_path / "models" / "upscale_models"
    folder.mkdir(parents=True)
    swinir[1].rename(folder / "swinir.safetensors")
    Image.new("RGB", (40, 24), "red").save(tmp_path / "red.png")
    document: dict[str, Any] = {
        "format": "latentloom/1",
        "name": "t",
        "nodes": {
            "p": {"type": "LoadImage", "version": 1, "inputs": {"image": "red.png"}},
            "u": {
                "type": "UpscaleWithModel",
                "version": 1,
                "inputs": {"image": {"node": "p", "output": "image"}, "upscaler": "swinir.safetensors"},
            },
        },
        "outputs": [{"name": "image", "from": {"node": "u", "output": "image"}}],
    }
    folders = {"data": tmp_path / "data", "input": tmp_path, "models": (tmp_path / "models",)}
    with open_session(**folders, device="cpu", dtype="fp32") as session:
        assert session.run(document)["image"].numpy().shape == (1, 48, 80, 3)


def test_a_network_computes_in_float32_whatever_the_device_does(tmp_path: Path) -> None:
    path = write(DnCNN(in_nc=3, out_nc=3, nc=8, nb=17, act_mode="R"), tmp_path / "restorer.safetensors")
    loaded = OtherUpscalerKind().load([path], {"component": "upscaler"})
    assert loaded(torch.rand(1, 3, 8, 8)).shape == (1, 3, 8, 8)
    assert {slot.dtype(torch.float16) for slot in HostModel(loaded).slots()} == {torch.float32}


def test_tiles_do_not_change_what_a_small_network_sees(swinir: tuple[torch.nn.Module, Path]) -> None:
    class Nothing:
        """Services of a node that asks for none."""

    services: Any = Nothing()
    context = Context(node="n", services=services, emit=lambda event: None, cancelled=threading.Event())
    loaded = OtherUpscalerKind().load([swinir[1]], {"component": "upscaler"})
    assert upscaled(context, loaded, torch.rand(1, 40, 72, 3), 2, 64).shape == (1, 80, 144, 3)


def test_what_spandrel_does_not_know_is_no_upscaler(tmp_path: Path) -> None:
    path = tmp_path / "u.safetensors"
    save_file({"layer.weight": torch.zeros(2, 2)}, path)
    assert OtherUpscalerKind().recognise(path) is None
    with pytest.raises(FileError, match=r"'u.safetensors' contains no upscaler"):
        OtherUpscalerKind().load([path], {"component": "upscaler"})
