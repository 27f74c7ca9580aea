"""ControlNets: the same numbers as diffusers, and what they do and do not change while sampling."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from PIL import Image
from safetensors.torch import load_file, save_file
from shards import shard

from latentloom.api import Session
from latentloom.engine import Array, Cond, Conditioning, ControlNet, FileIdentity
from latentloom.engine.errors import BadValueError, FileError, NodeError
from latentloom.engine.settings import load_settings
from latentloom.engine.types import values
from latentloom.nodes.controlnet import apply_controlnet, apply_inpaint_controlnet
from latentloom.nodes.diffusion.control_pictures import fitted
from latentloom.nodes.diffusion.control_residuals import Controls, with_control
from latentloom.nodes.families.controlnet.kind import ControlNetKind
from latentloom.nodes.families.stable_diffusion.configs import controlnet_config
from latentloom.training.random_checkpoint import RECIPES, controlnet_shapes, write_checkpoint, write_controlnet

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


def test_a_folder_with_several_weight_files_is_that_with_one(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sharded"
    shutil.copytree(models / "controlnet/folder", folder)
    shard(folder / "diffusion_pytorch_model.safetensors")
    kind = ControlNetKind()
    assert (kind.recognise(folder) or {})["controlnet"] == (kind.recognise(models / "controlnet/folder") or {})[
        "controlnet"
    ]
    known, found = loaded(models / "controlnet/folder").state_dict(), loaded(folder).state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in known.items())
    (folder / "diffusion_pytorch_model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileError, match="has only some of its weight files"):
        loaded(folder)


def test_a_controlnet_in_fp8_is_its_numbers(session: Session, models: Path) -> None:
    folder = models / "controlnet"
    packed = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in load_file(folder / "d.safetensors").items()}
    save_file(packed, folder / "packed.safetensors")
    save_file({name: tensor.float() for name, tensor in packed.items()}, folder / "plain.safetensors")
    found, known = (latent(session, {}, net=f"{name}.safetensors") for name in ("packed", "plain"))
    for name in ("packed", "plain"):
        (folder / f"{name}.safetensors").unlink()
    assert torch.equal(found, known) and not torch.equal(found, latent(session, {}))


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
    assert problem.message == "LoadControlNet: 'tiny.safetensors' is not a ControlNet that Latentloom knows"
    assert problem.got == "SD 1.x checkpoint"


# How a picture is fitted


def half_lines(height: int, width: int) -> Any:
    """White lines, one pixel wide, on black: [1, 3, H, W]."""
    picture = np.zeros((1, 3, height, width), np.float32)
    picture[:, :, :: height // 4] = picture[:, :, :, :: width // 4] = 1
    return picture


@pytest.mark.parametrize("size", [(96, 96), (48, 48), (96, 48), (40, 104)])
def test_lines_stay_lines_and_shapes_keep_their_shape(size: tuple[int, int]) -> None:
    picture = half_lines(64, 128)
    found = fitted(Array(picture), size, 1, "image", "fill", "auto")
    assert set(found.unique().tolist()) == {0.0, 1.0}
    high, wide = min(64, round(128 * size[0] / size[1])), min(128, round(64 * size[1] / size[0]))
    top, left = (64 - high) // 2, (128 - wide) // 2
    middle = torch.tensor(picture)[:, :, top : top + high, left : left + wide]
    # comfy.utils.common_upscale(..., "nearest-exact", "center")
    assert torch.equal(found, torch.nn.functional.interpolate(middle, size, mode="nearest-exact"))


def test_a_square_stays_a_square_by_filling_and_by_padding() -> None:
    picture = np.zeros((1, 3, 128, 256), np.float32)
    picture[:, :, 32:96, 96:160] = 1

    def extent(fit: Any) -> tuple[int, int]:
        found = fitted(Array(picture), (128, 128), 1, "image", fit, "smooth")[0, 0] > 0.5
        return int(found.any(0).sum()), int(found.any(1).sum())

    assert [extent(fit) for fit in ("fill", "pad", "stretch")] == [(64, 64), (32, 32), (32, 64)]
    padded = fitted(Array(picture + 0.5), (128, 128), 1, "image", "pad", "smooth")
    assert padded[:, :, :32].max() == padded[:, :, 96:].max() == 0
    assert padded[:, :, 32:96].min() > 0


def test_greys_are_averaged_unless_the_nearest_is_asked_for() -> None:
    picture = Array(np.random.default_rng(0).random((1, 3, 64, 64), np.float32))
    smooth = torch.nn.functional.interpolate(picture.tensor(), (48, 48), mode="bilinear", antialias=True)
    assert torch.equal(fitted(picture, (48, 48), 1, "image", "fill", "auto"), smooth)
    nearest = torch.nn.functional.interpolate(picture.tensor(), (48, 48), mode="nearest-exact")
    assert torch.equal(fitted(picture, (48, 48), 1, "image", "fill", "nearest"), nearest)


def test_a_mask_goes_the_way_of_its_picture() -> None:
    mask = np.zeros((1, 1, 64, 128), np.float32)
    mask[..., 32:96] = 1  # what is left of a picture of 64 x 128 that fills a square
    assert fitted(Array(mask), (64, 64), 1, "mask", "fill", "smooth").min() == 1


# Inpaint and union ControlNets


def inputs_of(conditioning: Conditioning, model: Any, side: int = 64) -> Any:
    controls = Controls(model, [conditioning])
    shape = (1, 4, side // 8, side // 8)
    return controls, controls.inputs(conditioning.entries[0], shape, 8, torch.zeros(1))


def conditioning_of(width: int = 64) -> Conditioning:
    return Conditioning([Cond(Array(np.zeros((1, 77, width), np.float32)))])


def test_an_inpaint_controlnet_is_shown_what_diffusers_shows_it() -> None:
    draw = np.random.default_rng(0)
    image, mask = draw.random((1, 64, 64, 3), np.float32), draw.random((1, 64, 64), np.float32)
    control = ControlNet("controlnet", [FileIdentity("c", "0" * 64)], {})
    found = apply_inpaint_controlnet(
        conditioning_of(), conditioning_of(), control, values.Image(image), values.Mask(mask)
    ).positive
    expected = torch.tensor(image.copy())
    expected[torch.tensor(mask) > 0.5] = -1.0  # make_inpaint_condition of diffusers' ControlNet inpainting
    _, inputs = inputs_of(found, values.Model("single_file", [FileIdentity("m", "1" * 64)], {}))
    assert torch.equal(inputs["control_image_0"], expected.movedim(-1, 1))
    assert inputs.keys() == {"control_image_0"}


def test_an_inpaint_controlnet_samples_and_what_is_hidden_does_not_count(session: Session) -> None:
    def run(picture: str, mask: str) -> Any:
        nodes = document({"image": picture, "mask": mask})
        nodes["nodes"]["apply0"]["type"] = "ApplyInpaintControlNet"
        return torch.tensor(session.run(nodes)["out"].numpy())

    pixels = np.asarray(Image.open(session.settings.input / "a.png")).copy()
    pixels[:, :32] = 7  # under half.png
    Image.fromarray(pixels).save(session.settings.input / "changed.png")
    first = run("a.png", "half.png")
    assert torch.equal(run("changed.png", "half.png"), first)
    assert distance(run("a.png", "none.png"), first) > 1e-4
    assert torch.equal(run("a.png", "none.png"), latent(session, {}))


def write_union(path: Path, kinds: int) -> Any:
    """A random union ControlNet for sdxl_tiny, and its module."""
    from diffusers import ControlNetUnionModel

    shape = RECIPES["sdxl_tiny"].unet
    width = shape.widths[0]
    torch.manual_seed(3)
    net = ControlNetUnionModel(
        **controlnet_config(shape, (16, 32, 96, 256)),
        num_control_type=kinds,
        num_trans_channel=width,
        num_proj_channel=width,
        num_trans_layer=1,
    )
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)  # diffusers begins with zeros where the net touches the UNet
    save_file(net.state_dict(), path)
    return net.eval()


@pytest.fixture(scope="module")
def union(models: Path) -> Any:
    write_checkpoint(models / "checkpoints" / "union-base.safetensors", "sdxl_tiny", dtype=torch.float32)
    return write_union(models / "controlnet" / "union.safetensors", 8)


@torch.no_grad()
def test_a_union_controlnet_adds_what_diffusers_adds(union: Any, models: Path) -> None:
    path = models / "controlnet" / "union.safetensors"
    facts = ControlNetKind().recognise(path)
    assert facts is not None
    assert (facts["controlnet"]["union"], facts["about"]) == (8, "SDXL union ControlNet")
    net = ControlNetKind().load([path], {"component": "controlnet"})
    width = facts["controlnet"]["context"]
    control = ControlNet("controlnet", [FileIdentity("u", "0" * 64)], facts["controlnet"])
    picture = np.random.default_rng(0).random((1, 64, 64, 3), np.float32)
    found = apply_controlnet(
        conditioning_of(width), conditioning_of(width), control, values.Image(picture), strength=0.7, kind="lines"
    ).positive
    model = values.Model("single_file", [FileIdentity("m", "1" * 64)], {"betas": (0.1, 0.2, 1000)})
    controls, inputs = inputs_of(found, model)
    controls.loaded(None, [net])
    x, context, step = torch.randn(1, 4, 8, 8), torch.randn(1, 77, width), torch.tensor([500])
    pooled = union.config.projection_class_embeddings_input_dim - 6 * union.config.addition_time_embed_dim
    added = {"text_embeds": torch.randn(1, pooled), "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]])}
    ours = controls.residuals(x, step, context, inputs, added_cond_kwargs=added)
    types = torch.zeros(1, 8)
    types[:, 3] = 1
    steps, last = union(
        x,
        step,
        context,
        [torch.tensor(picture).movedim(-1, 1)],
        types,
        [3],
        conditioning_scale=0.7,
        added_cond_kwargs=added,
        return_dict=False,
    )
    made = (*ours["down_block_additional_residuals"], ours["mid_block_additional_residual"])
    assert all(distance(a, b) < 1e-5 for a, b in zip(made, (*steps, last), strict=True))


def test_a_union_controlnet_must_be_told_what_it_is_shown(session: Session, union: Any) -> None:
    def with_net(**control: Any) -> dict[str, Any]:
        nodes = document(control, net="union.safetensors")
        nodes["nodes"]["load"]["inputs"]["checkpoint"] = "union-base.safetensors"
        return nodes

    lines, depth = (torch.tensor(session.run(with_net(kind=k))["out"].numpy()) for k in ("lines", "depth"))
    assert distance(lines, depth) > 1e-4
    problem = fault(session, with_net())
    assert problem.message == (
        "ApplyControlNet: 'union.safetensors' is a union ControlNet, which needs to know what the picture shows"
    )
    problem = fault(session, document({"kind": "depth"}))
    assert problem.message == "ApplyControlNet: 'c.safetensors' has no kind 'depth'"
    assert problem.expected == "plain: it is not a union ControlNet"


def test_a_union_controlnet_repaints_what_it_is_shown_black(union: Any, models: Path) -> None:
    facts = ControlNetKind().recognise(models / "controlnet" / "union.safetensors")
    assert facts is not None
    control = ControlNet("controlnet", [FileIdentity("u", "0" * 64)], facts["controlnet"])
    mask = np.zeros((1, 64, 64), np.float32)
    mask[:, :32] = 1
    plain, white = conditioning_of(), values.Image(np.ones((1, 64, 64, 3)))
    found = apply_inpaint_controlnet(plain, plain, control, white, values.Mask(mask)).positive
    _, inputs = inputs_of(found, values.Model("single_file", [FileIdentity("m", "1" * 64)], {}))
    assert inputs["control_image_0"][:, :, :32].max() == 0
    assert inputs["control_image_0"][:, :, 32:].min() == 1
    assert found.entries[0].extra["controls"][0]["kind"] == "repaint"
    six = ControlNet("controlnet", [FileIdentity("six", "0" * 64)], {**facts["controlnet"], "union": 6})
    with pytest.raises(BadValueError, match=r"'six' has no kind 'repaint'"):
        apply_inpaint_controlnet(plain, plain, six, white, values.Mask(mask))


@torch.no_grad()
def test_a_mask_keeps_its_place_where_a_controlnet_gives_one_number_for_all(models: Path) -> None:
    config = {**SD1, "global_pool_conditions": True}
    net = ControlNetModel(**config).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    control = ControlNet("controlnet", [FileIdentity("c", "0" * 64)], {})
    left = np.zeros((1, 72, 72), np.float32)
    left[..., :36] = 1
    found = with_control(
        conditioning_of(), control, values.Image(np.ones((1, 72, 72, 3)) * 0.5), 1.0, 0.0, 1.0, values.Mask(left)
    )
    model = values.Model("single_file", [FileIdentity("m", "1" * 64)], {"betas": (0.1, 0.2, 1000)})
    controls, inputs = inputs_of(found, model, 72)
    controls.loaded(None, [net])
    x, context, step = torch.randn(1, 4, 9, 9), torch.randn(1, 77, 64), torch.tensor([500])
    made = controls.residuals(x, step, context, inputs)
    parts = (*made["down_block_additional_residuals"], made["mid_block_additional_residual"])
    whole = net(x, step, context, torch.full((1, 3, 72, 72), 0.5), return_dict=False)
    assert [tuple(part.shape[2:]) for part in parts] == [(9, 9), (9, 9), (5, 5), (5, 5), (5, 5)]
    for part, pooled in zip(parts, (*whole[0], whole[1]), strict=True):
        assert torch.allclose(part[..., :2], pooled.expand(-1, -1, part.shape[2], 2))
        assert part[..., -2:].abs().max() == 0


def test_the_identity_of_a_conditioning_leaves_out_the_names_of_its_controls() -> None:
    def essence(name: str, sha256: str, strength: float = 1.0) -> Any:
        plain = Conditioning([Cond(Array(np.zeros((1, 2, 3))))])
        control = ControlNet("controlnet", [FileIdentity(name, sha256)])
        return with_control(plain, control, values.Image(np.zeros((1, 2, 2, 3))), strength, 0.0, 1.0, None).essence()

    assert essence("a", "0" * 64) == essence("b", "0" * 64)
    assert essence("a", "0" * 64) != essence("a", "1" * 64)
    assert essence("a", "0" * 64) != essence("a", "0" * 64, 0.5)
