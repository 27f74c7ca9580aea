"""T2I-Adapters: the same numbers as diffusers in every layout, what they change while sampling, and misfits."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionAdapterPipeline, T2IAdapter
from PIL import Image
from pipelines import SIDE, distance, document, expected, latent, pipeline, wire
from safetensors.torch import load_file, save_file

from latentloom.api import Session
from latentloom.engine import Array, Cond, Conditioning, ControlNet, FileIdentity, Model
from latentloom.engine.errors import BadValueError, FileError, NodeError
from latentloom.engine.settings import load_settings
from latentloom.engine.types import values
from latentloom.nodes.diffusion.control_residuals import Controls, with_control
from latentloom.nodes.families.controlnet.t2i_adapter import T2IAdapterKind, features
from latentloom.nodes.families.stable_diffusion.single_file import SingleFile
from latentloom.training.random_checkpoint import write_checkpoint, write_t2i_adapter

FILES = {  # name: kind, widths, channels, original
    "full": ("full_adapter", (32, 64), 3, True),
    "full-diffusers": ("full_adapter", (32, 64), 3, False),
    "grey": ("full_adapter", (32, 64), 1, True),
    "light": ("light_adapter", (32,), 3, True),
    "light-diffusers": ("light_adapter", (32,), 3, False),
    "xl": ("full_adapter_xl", (64, 128), 3, True),
    "xl-diffusers": ("full_adapter_xl", (64, 128), 3, False),
    "wide": ("full_adapter", (64, 128), 3, True),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny checkpoints, and adapters for them of every kind and layout."""
    root = tmp_path_factory.mktemp("t2i") / "models"
    for folder in ("checkpoints", "controlnet/folder"):
        (root / folder).mkdir(parents=True)
    for recipe in ("sd1_tiny", "sdxl_tiny"):
        write_checkpoint(root / "checkpoints" / f"{recipe}.safetensors", recipe, dtype=torch.float32)
    for name, (kind, widths, channels, original) in FILES.items():
        path = root / "controlnet" / f"{name}.safetensors"
        write_t2i_adapter(path, kind, widths, channels=channels, original=original)
    os.link(
        root / "controlnet" / "full-diffusers.safetensors",
        root / "controlnet" / "folder" / "diffusion_pytorch_model.safetensors",
    )
    (root / "controlnet" / "folder" / "config.json").write_text(json.dumps({"_class_name": "T2IAdapter"}))
    return root


@pytest.fixture
def session(tmp_path: Path, models: Path) -> Iterator[Session]:
    settings = {"models": [models], "device": "cpu", "dtype": "fp32", "input": tmp_path}
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    Image.fromarray(255 - pixels()).save(tmp_path / "b.png")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "none.png")
    with Session(load_settings(settings, {"LATENTLOOM_HOME": str(tmp_path)})) as made:
        yield made


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8)


def loaded(models: Path, name: str) -> Any:
    return T2IAdapterKind().load([models / "controlnet" / name], {"component": "controlnet"})


def renamed(models: Path, name: str) -> dict[str, torch.Tensor]:
    """The weights of a file in the original layout under diffusers' names, by rules of their own."""
    weights, found = load_file(models / "controlnet" / f"{name}.safetensors"), {}
    for key, tensor in weights.items():
        parts = key.split(".")
        if name == "light":
            new = key.replace(".body.", ".resnets.")
        elif parts[0] == "body":
            level, layer = divmod(int(parts[1]), 2)
            inner = ".".join(parts[2:])
            new = f"body.{level}.{inner}" if parts[2] == "in_conv" else f"body.{level}.resnets.{layer}.{inner}"
        else:
            new = key
        found[f"adapter.{new}"] = tensor
    return found


@pytest.mark.parametrize("name", ["full", "grey", "light", "xl"])
@torch.no_grad()
def test_an_adapter_computes_what_diffusers_computes(name: str, models: Path) -> None:
    kind, widths, channels, _ = FILES[name]
    known = T2IAdapter(channels, list(widths), 2, 16 if name == "xl" else 8, kind)
    known.load_state_dict(renamed(models, name))
    image = torch.rand(2, 1, 64, 64).expand(-1, 3, -1, -1)
    found, wanted = features(loaded(models, f"{name}.safetensors"), image), known(image[:, :channels])
    assert len(found) == len(wanted) == 2
    assert all(distance(a, b) < 1e-5 for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    ("first", "second"),
    [("full", "full-diffusers.safetensors"), ("light", "light-diffusers.safetensors"), ("full", "folder")],
)
@torch.no_grad()
def test_the_layouts_hold_modules_of_one_form(first: str, second: str, models: Path) -> None:
    one, other = loaded(models, f"{first}.safetensors"), loaded(models, second)
    assert {n: w.shape for n, w in one.state_dict().items()} == {n: w.shape for n, w in other.state_dict().items()}
    assert dict(one.config)["channels"] == dict(other.config)["channels"]


@pytest.mark.parametrize("side", [64, 72])
@torch.no_grad()
def test_xl_takes_pictures_that_are_no_multiple_of_its_fold(side: int, models: Path) -> None:
    unet = SingleFile().load([models / "checkpoints" / "sdxl_tiny.safetensors"], {"component": "unet"})
    found = features(loaded(models, "xl.safetensors"), torch.rand(1, 3, side, side))
    added = {"text_embeds": torch.randn(1, 128), "time_ids": torch.rand(1, 6)}
    x, context = torch.randn(1, 4, side // 8, side // 8), torch.randn(1, 77, 192)
    plain = unet(x, 500, context, added_cond_kwargs=added).sample
    guided = unet(x, 500, context, added_cond_kwargs=added, down_intrablock_additional_residuals=list(found)).sample
    assert distance(guided, plain) > 1e-3


def guided(*controls: dict[str, Any], adapter: str = "full.safetensors", checkpoint: str = "sd1_tiny") -> Any:
    """Text to image with adapters in a row."""
    nodes: dict[str, Any] = {"net": {"type": "LoadControlNet", "inputs": {"controlnet": adapter}}}
    ends = (wire("positive", "conditioning"), wire("negative", "conditioning"))
    for n, control in enumerate(controls):
        nodes[f"image{n}"] = {"type": "LoadImage", "inputs": {"image": control.get("image", "a.png")}}
        inputs = {**control, "positive": ends[0], "negative": ends[1], "controlnet": wire("net", "controlnet")}
        inputs["image"] = wire(f"image{n}", "image")
        if "mask" in control:
            nodes[f"mask{n}"] = {"type": "LoadMask", "inputs": {"image": control["mask"], "channel": "luminance"}}
            inputs["mask"] = wire(f"mask{n}", "mask")
        nodes[f"apply{n}"] = {"type": "ApplyControlNet", "inputs": inputs}
        ends = (wire(f"apply{n}", "positive"), wire(f"apply{n}", "negative"))
    return document(f"{checkpoint}.safetensors", nodes, positive=ends[0], negative=ends[1])


def test_a_trajectory_is_that_of_diffusers_pipeline(session: Session, models: Path) -> None:
    adapter = loaded(models, "full.safetensors")
    pipe = pipeline(StableDiffusionAdapterPipeline, models / "checkpoints" / "sd1_tiny.safetensors", adapter=adapter)
    known = expected(pipe, image=Image.fromarray(pixels()), adapter_conditioning_scale=0.8)
    found = latent(session, guided({"strength": 0.8}))
    assert distance(found, known) < 1e-4
    assert distance(latent(session, guided()), known) > 1e-2


def test_what_does_not_act_changes_no_bit(session: Session) -> None:
    plain = latent(session, guided())
    assert torch.equal(latent(session, guided({"strength": 0.0})), plain)
    assert torch.equal(latent(session, guided({"start": 0.5, "end": 0.5})), plain)
    assert distance(latent(session, guided({"mask": "none.png"})), plain) < 1e-6


def test_start_and_end_divide_the_way_and_several_add_up(session: Session) -> None:
    whole, early = latent(session, guided({})), latent(session, guided({"end": 0.4}))
    assert distance(early, whole) > 1e-4
    assert torch.equal(latent(session, guided({"end": 0.4}, {"start": 0.4})), whole)
    assert distance(latent(session, guided({"strength": 0.5}, {"strength": 0.5})), whole) < 1e-4
    assert distance(latent(session, guided({}, {"image": "b.png"})), whole) > 1e-3


def test_sdxl_samples_with_its_adapter(session: Session) -> None:
    plain = latent(session, guided(checkpoint="sdxl_tiny"))
    found = latent(session, guided({}, adapter="xl.safetensors", checkpoint="sdxl_tiny"))
    assert distance(found, plain) > 1e-3


# Misfits and bad files


def fault(session: Session, nodes: Any) -> Any:
    with pytest.raises(NodeError) as caught:
        session.run(nodes)
    return caught.value.problem


def test_an_adapter_of_another_family_is_refused_with_both_names(session: Session) -> None:
    problem = fault(session, guided({}, adapter="xl.safetensors"))
    assert problem.message == "SampleCustom: the T2I-Adapter 'xl.safetensors' does not fit 'sd1_tiny.safetensors'"
    assert (problem.expected, problem.got) == ("one for SD 1.x", "one for SDXL")


def test_a_family_is_refused_before_anything_is_loaded() -> None:
    model = Model("single_file", [FileIdentity("m.safetensors", "0" * 64)], {"family": "sdxl"})
    adapter = ControlNet("t2i_adapter", [FileIdentity("a", "1" * 64)], {"family": "sd1", "t2i_adapter": True})
    plain = Conditioning([Cond(Array(np.zeros((1, 2, 3))))])
    image = values.Image(np.zeros((1, 2, 2, 3)))
    with pytest.raises(BadValueError, match=r"the T2I-Adapter 'a' does not fit 'm.safetensors'"):
        Controls(model, [with_control(plain, adapter, image, 1.0, 0.0, 1.0, None)])


def test_an_adapter_of_other_widths_is_refused_before_sampling_with_both_names(session: Session) -> None:
    problem = fault(session, guided({}, adapter="wide.safetensors"))
    assert problem.message == "SampleCustom: the T2I-Adapter 'wide.safetensors' does not fit 'sd1_tiny.safetensors'"
    assert (problem.expected, problem.got) == ("one for levels of the widths (32, 64)", "one for (64, 128)")


NAME = "body.1.block1.weight"


def changed(models: Path, tmp_path: Path, change: Any) -> Path:
    weights = load_file(models / "controlnet" / "full.safetensors")
    change(weights)
    save_file(weights, tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


BAD = {
    "missing": (lambda w: w.pop(NAME), "lacks weights", f"19; the first that is missing is '{NAME}'"),
    "shape": (lambda w: w.update({NAME: torch.zeros(32, 32, 5, 5)}), "different shape", "(32, 32, 5, 5)"),
    "nan": (lambda w: w[NAME].fill_(torch.nan), "not finite", f"NaN or infinity in '{NAME}'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_damaged_file_is_refused(case: str, models: Path, tmp_path: Path) -> None:
    change, message, got = BAD[case]
    with pytest.raises(FileError) as caught:
        T2IAdapterKind().load([changed(models, tmp_path, change)], {"component": "controlnet"})
    assert message in caught.value.problem.message
    assert caught.value.problem.got == got


def test_a_file_that_ends_early_is_refused(models: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes((models / "controlnet" / "full.safetensors").read_bytes()[:-10])
    with pytest.raises(FileError, match="ends early"):
        T2IAdapterKind().recognise(path)


def test_files_are_told_to_be_adapters(models: Path) -> None:
    about = {name: T2IAdapterKind().recognise(models / "controlnet" / f"{name}.safetensors") for name in FILES}
    assert {name: found["about"] for name, found in about.items() if found} == {
        name: "SDXL T2I-Adapter" if name.startswith("xl") else "SD 1.x T2I-Adapter" for name in FILES
    }
    assert T2IAdapterKind().recognise(models / "checkpoints" / "sd1_tiny.safetensors") is None
    assert T2IAdapterKind().recognise(models / "checkpoints") is None


def test_the_original_names_are_those_of_the_published_files(tmp_path: Path) -> None:
    write_t2i_adapter(tmp_path / "a.safetensors", "full_adapter", (320, 640))
    write_t2i_adapter(tmp_path / "b.safetensors", "light_adapter", (320, 640))
    full, light = (set(load_file(tmp_path / f"{name}.safetensors")) for name in "ab")
    assert {"conv_in.weight", "body.0.block1.weight", "body.2.in_conv.weight", "body.3.block2.bias"} <= full
    assert {"body.0.in_conv.weight", "body.1.body.1.block2.weight", "body.2.out_conv.bias"} <= light


def test_a_tile_sees_its_part_of_the_picture(session: Session) -> None:
    def run(tile: int | None) -> torch.Tensor:
        nodes = guided({"mask": "none.png"}, {})
        nodes["nodes"]["empty"]["inputs"]["width"] = 128
        if tile:
            inputs = {"model": wire("load", "model"), "tile": tile, "overlap": 32}
            nodes["nodes"]["tiles"] = {"type": "TiledDiffusion", "inputs": inputs}
            nodes["nodes"]["sample"]["inputs"]["model"] = wire("tiles", "model")
        return latent(session, nodes)

    whole, one, many = run(None), run(128), run(64)
    assert torch.equal(one, whole)
    assert 1e-3 < distance(many, whole) < 1
