"""LoRA files on models: layouts, several at once, removal, and files that do not fit."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lora_files import applied, applied_together, written

from latentloom.engine.errors import FileError
from latentloom.nodes.families.lora.kind import LoraFile
from latentloom.nodes.families.stable_diffusion.single_file import SingleFile
from latentloom.training.random_checkpoint import write_checkpoint

LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
FLAT = LAYER.replace(".", "_")
TEXT = "encoder.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Any]:
    """A part of a tiny random checkpoint, loaded once."""
    folder, kept = tmp_path_factory.mktemp("lora"), {}

    def made(recipe: str, component: str) -> Any:
        path = folder / f"{recipe}.safetensors"
        if not path.exists():
            write_checkpoint(path, recipe, dtype=torch.float32)
        if (recipe, component) not in kept:
            kept[recipe, component] = SingleFile().load([path], {"component": component})
        return kept[recipe, component]

    return made


def factors(size: int = 128, rank: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rank, size, generator=generator), torch.randn(size, rank, generator=generator)


LAYOUTS = {
    "kohya": (f"lora_unet_{FLAT}.lora_down.weight", f"lora_unet_{FLAT}.lora_up.weight"),
    "kohya, original names": tuple(
        f"lora_unet_{'input_blocks_3_1_transformer_blocks_0_attn1_to_q'}.lora_{side}.weight" for side in ("down", "up")
    ),
    "diffusers": (f"unet.{LAYER}.lora_A.weight", f"unet.{LAYER}.lora_B.weight"),
    "peft": (
        f"base_model.model.unet.{LAYER}.lora_A.default.weight",
        f"base_model.model.unet.{LAYER}.lora_B.default.weight",
    ),
    "diffusers, older": (f"unet.{LAYER}.lora.down.weight", f"unet.{LAYER}.lora.up.weight"),
    "diffusers, processors": tuple(
        f"unet.{LAYER.removesuffix('to_q')}processor.to_q_lora.{side}.weight" for side in ("down", "up")
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_changes_the_same_weight(layout: str, loaded: Any, tmp_path: Path) -> None:
    unet = loaded("sdxl_tiny", "unet")
    down, up = factors()
    names = LAYOUTS[layout]
    path = written(tmp_path / "l.safetensors", {names[0]: down, names[1]: up})
    found, known = applied(unet, path, 0.5).state_dict(), unet.state_dict()
    assert torch.allclose(found[f"{LAYER}.weight"], known[f"{LAYER}.weight"] + 0.5 * up @ down, atol=1e-5)
    assert [name for name in known if not torch.equal(found[name], known[name])] == [f"{LAYER}.weight"]


def test_the_model_stays_as_it_is_and_unchanged_weights_are_shared(loaded: Any, tmp_path: Path) -> None:
    unet = loaded("sdxl_tiny", "unet")
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    down, up = factors()
    path = written(tmp_path / "l.safetensors", dict(zip(LAYOUTS["kohya"], (down, up), strict=True)))
    found = dict(applied(unet, path).named_parameters())
    own = dict(unet.named_parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in unet.state_dict().items())
    assert [name for name in own if found[name].data_ptr() != own[name].data_ptr()] == [f"{LAYER}.weight"]


def test_several_add_up_and_opposites_cancel(loaded: Any, tmp_path: Path) -> None:
    unet = loaded("sdxl_tiny", "unet")
    down, up = factors()
    path = written(tmp_path / "l.safetensors", dict(zip(LAYOUTS["kohya"], (down, up), strict=True)))
    name = f"{LAYER}.weight"
    twice = applied(applied(unet, path, 0.3), path, 0.4).state_dict()[name]
    none = applied(applied(unet, path, 0.7), path, -0.7).state_dict()[name]
    assert torch.allclose(twice, applied(unet, path, 0.7).state_dict()[name], atol=1e-5)
    assert torch.allclose(none, unet.state_dict()[name], atol=1e-5)


def text_names(network: str) -> tuple[str, str]:
    base = f"lora_{network}_text_model_{TEXT.replace('.', '_')}"
    return f"{base}.lora_down.weight", f"{base}.lora_up.weight"


@pytest.mark.parametrize(
    ("recipe", "network", "which", "size"),
    [("sd1_tiny", "te", 0, 64), ("sd2_tiny", "te", 0, 128), ("sdxl_tiny", "te1", 0, 64), ("sdxl_tiny", "te2", 1, 128)],
)
def test_a_text_encoder_is_changed_by_its_name(
    recipe: str, network: str, which: int, size: int, loaded: Any, tmp_path: Path
) -> None:
    clip = loaded(recipe, "clip")
    path = written(tmp_path / "l.safetensors", dict(zip(text_names(network), factors(size), strict=True)))
    found = applied(clip, path)
    changed = [
        (index, name)
        for index, (new, old) in enumerate(zip(found.encoders, clip.encoders, strict=True))
        for name, weight in old.model.state_dict().items()
        if not torch.equal(weight, new.model.state_dict()[name])
    ]
    assert changed == [(which, f"{TEXT}.weight")]
    assert found.encoders[which].projection is clip.encoders[which].projection


def test_a_bias_is_changed_too(loaded: Any, tmp_path: Path) -> None:
    unet = loaded("sdxl_tiny", "unet")
    path = written(tmp_path / "l.safetensors", {"lora_unet_conv_in.diff_b": torch.ones(64)})
    assert torch.allclose(applied(unet, path, 2.0).conv_in.bias, unet.conv_in.bias + 2)


def test_the_dtype_of_the_model_stays(loaded: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "l.safetensors", dict(zip(LAYOUTS["kohya"], factors(), strict=True)))
    half = copy.deepcopy(loaded("sdxl_tiny", "unet")).to(torch.bfloat16)
    assert {weight.dtype for weight in applied(half, path).parameters()} == {torch.bfloat16}


# Bad files


def refused(module: Any, path: Path) -> Any:
    with pytest.raises(FileError) as caught:
        applied(module, path)
    return caught.value.problem


def test_a_lora_without_a_matching_layer_is_refused(loaded: Any, tmp_path: Path) -> None:
    tensors = {
        name.replace("down_blocks_1", "down_blocks_7"): f for name, f in zip(LAYOUTS["kohya"], factors(), strict=True)
    }
    path = written(tmp_path / "l.safetensors", tensors)
    assert refused(loaded("sdxl_tiny", "unet"), path).message == "the LoRA 'l.safetensors' does not change this UNet"
    assert refused(loaded("sdxl_tiny", "clip"), path).message.endswith("does not change this text encoder")


def test_a_lora_of_another_family_is_refused_with_the_layer(loaded: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "l.safetensors", dict(zip(LAYOUTS["kohya"], factors(96), strict=True)))
    problem = refused(loaded("sdxl_tiny", "unet"), path)
    expected = f"the LoRA 'l.safetensors' does not fit the model: its change of '{LAYER}' has a different shape"
    assert (problem.message, problem.expected, problem.got) == (expected, "[128, 128]", "down [2, 96], up [96, 2]")


def test_half_a_change_is_refused(loaded: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "l.safetensors", {LAYOUTS["kohya"][0]: factors()[0]})
    assert "does not fit the model" in refused(loaded("sdxl_tiny", "unet"), path).message


def test_numbers_that_are_not_finite_are_refused(loaded: Any, tmp_path: Path) -> None:
    down, up = factors()
    path = written(tmp_path / "l.safetensors", dict(zip(LAYOUTS["kohya"], (down * torch.nan, up), strict=True)))
    assert refused(loaded("sdxl_tiny", "unet"), path).got == f"NaN or infinity in the change of '{LAYER}'"


def test_a_file_is_told_to_be_a_lora(tmp_path: Path) -> None:
    names = (*LAYOUTS["kohya"], *text_names("te2"))
    path = written(tmp_path / "l.safetensors", {name: torch.zeros(1) for name in names})
    assert LoraFile().recognise(path) == {"lora": ["te2", "unet"], "about": "LoRA (2 layers)"}
    with pytest.raises(FileError, match="is loaded on top of a model"):
        LoraFile().load([path], {})


def test_a_checkpoint_is_no_lora(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "c.safetensors", "sd1_tiny")
    assert LoraFile().recognise(tmp_path / "c.safetensors") is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_loras_add_up_in_fp32_and_are_rounded_once(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(0)
    size = 320
    net = torch.nn.Module()
    net.mid_block = torch.nn.Module()
    net.mid_block.proj_in = torch.nn.Linear(size, size, bias=False, dtype=dtype)
    base = net.mid_block.proj_in.weight.detach().float()
    expected, loras = base.clone(), []
    for n in range(8):
        down, up = torch.randn(4, size) / size**0.5, torch.randn(size, 4)
        up *= 0.02 * base.norm() / (up @ down).norm()  # as much as trained ones change
        expected += 0.5 * (up @ down)
        names = (f"lora_unet_mid_block_proj_in.lora_{side}.weight" for side in ("down", "up"))
        loras.append((written(tmp_path / f"{n}.safetensors", dict(zip(names, (down, up), strict=True))), 0.5))
    found = applied_together(net, loras).mid_block.proj_in.weight
    assert found.dtype == dtype
    once = (expected.to(dtype).float() - expected).norm()
    assert (found.float() - expected).norm() < 1.01 * once
    there_and_back = [*loras, *((path, -strength) for path, strength in loras)]
    assert torch.equal(applied_together(net, there_and_back).mid_block.proj_in.weight, net.mid_block.proj_in.weight)
