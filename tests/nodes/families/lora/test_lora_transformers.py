"""LoRAs on transformers: each layer by every name that files have for it, against weights changed by hand."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders import lora_conversion_utils
from lora_files import applied, applied_together, written
from safetensors.torch import load_file, save_file
from tiny_nets import FAMILIES
from tiny_transformers import randomised
from torch import Tensor

from latentloom.engine import FileIdentity, Patch
from latentloom.engine.errors import FileError
from latentloom.engine.models.load_warnings import gathered_warnings
from latentloom.nodes.families.family import Family
from latentloom.nodes.families.lora.kind import LoraFile
from latentloom.nodes.families.lora.patch import apply_loras

State = dict[str, Tensor]
RANK, ALPHA, STRENGTH = 2, 3.0, 0.5
NAMED = {
    "ComfyUI": lambda layer: f"diffusion_model.{layer}",
    "a whole checkpoint's": lambda layer: f"model.diffusion_model.{layer}",
    "kohya": lambda layer: f"lora_unet_{layer.replace('.', '_')}",
    "lora_transformer": lambda layer: f"lora_transformer_{layer.replace('.', '_')}",
    "lycoris": lambda layer: f"lycoris_{layer.replace('.', '_')}",
    "diffusers": lambda layer: f"transformer.{layer}",
    "peft": lambda layer: f"base_model.model.{layer}",
    "none": lambda layer: layer,
}


@dataclass(frozen=True)
class Files:
    """A tiny model of a family as a file by its authors' names and as a folder."""

    family: Family
    names: Callable[[State], State]
    path: Path

    @property
    def file(self) -> Path:
        return self.path / "net.safetensors"

    @property
    def state(self) -> State:
        return load_file(self.file)

    def loaded(self, path: Path | None = None) -> Any:
        return self.family.load([path or self.file], {"component": "unet"})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Files]:
    root, made = tmp_path_factory.mktemp("nets"), dict[str, Files]()

    def files(name: str) -> Files:
        if name not in made:
            family, build, names = FAMILIES[name]
            torch.manual_seed(0)
            net = randomised(build())
            net.save_pretrained(root / name / "transformer")
            made[name] = Files(family, names, root / name)
            written(made[name].file, names(net.state_dict()))
        return made[name]

    return files


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(3)


def factors(rows: int, columns: int, base: str) -> State:
    down, up = torch.randn(RANK, columns) / columns**0.5, torch.randn(rows, RANK)
    return {f"{base}.lora_down.weight": down, f"{base}.lora_up.weight": up, f"{base}.alpha": torch.tensor(ALPHA)}


def change(lora: State, base: str) -> Tensor:
    return STRENGTH * ALPHA / RANK * lora[f"{base}.lora_up.weight"] @ lora[f"{base}.lora_down.weight"]


def linear(state: State) -> list[str]:
    return [n.removesuffix(".weight") for n in sorted(state) if n.endswith(".weight") and state[n].ndim == 2]


def lora_of_all(state: State, named: Callable[[str], str]) -> tuple[State, State]:
    """A LoRA of every linear layer of some weights, and the weights with its changes."""
    lora, changed = State(), dict(state)
    for layer in linear(state):
        lora |= factors(*state[f"{layer}.weight"].shape, base=named(layer))
        changed[f"{layer}.weight"] = state[f"{layer}.weight"] + change(lora, named(layer))
    return lora, changed


def same(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.allclose(found[name], expected[name], atol=1e-5)] == []


@pytest.mark.parametrize("layout", ["ComfyUI", "kohya"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_layer_is_changed_by_its_authors_name(name: str, layout: str, models: Any, tmp_path: Path) -> None:
    files = models(name)
    lora, expected = lora_of_all(files.state, NAMED[layout])
    path = written(tmp_path / "l.safetensors", lora)
    by_hand = files.loaded(written(tmp_path / "changed.safetensors", expected))
    same(applied(files.loaded(), path, STRENGTH).state_dict(), by_hand.state_dict())
    same(files.names(applied(files.loaded(files.path), path, STRENGTH).state_dict()), expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_layer_is_changed_by_its_name_in_diffusers(name: str, models: Any, tmp_path: Path) -> None:
    files = models(name)
    state = files.loaded(files.path).state_dict()
    lora, expected = lora_of_all(state, NAMED["diffusers"])
    path = written(tmp_path / "l.safetensors", lora)
    same(applied(files.loaded(files.path), path, STRENGTH).state_dict(), expected)
    by_hand = files.loaded(written(tmp_path / "changed.safetensors", files.names(expected)))
    same(applied(files.loaded(), path, STRENGTH).state_dict(), by_hand.state_dict())


@pytest.mark.parametrize("layer", ["double_blocks.0.img_attn.qkv", "transformer_blocks.0.attn.to_k"])
@pytest.mark.parametrize("layout", NAMED)
def test_every_prefix_is_known(layout: str, layer: str, models: Any, tmp_path: Path) -> None:
    net = models("flux").loaded()
    rows = 192 if layer.endswith("qkv") else 64
    lora = factors(rows, 64, NAMED[layout](layer))
    found = applied(net, written(tmp_path / "l.safetensors", lora), STRENGTH).state_dict()
    whole, state = change(lora, NAMED[layout](layer)), net.state_dict()
    if rows == 64:
        whole = torch.cat([torch.zeros(64, 64), whole, torch.zeros(64, 64)])
    for part, delta in zip(("to_q", "to_k", "to_v"), whole.chunk(3), strict=True):
        weight = f"transformer_blocks.0.attn.{part}.weight"
        assert torch.allclose(found.pop(weight), state[weight] + delta, atol=1e-5)
    assert [name for name in found if not torch.equal(found[name], state[name])] == []


CONVERTERS = {
    "flux": (
        lora_conversion_utils._convert_kohya_flux_lora_to_diffusers,
        "kohya",
        lambda layer: layer.startswith("double_blocks") and "norm" not in layer,
    ),
    "z_image": (
        lora_conversion_utils._convert_non_diffusers_z_image_lora_to_diffusers,
        "ComfyUI",
        lambda layer: layer.startswith("layers.") and ("feed_forward" in layer or "attention.qkv" in layer),
    ),
}


@pytest.mark.parametrize("name", CONVERTERS)
def test_a_file_means_what_diffusers_converts_it_to(name: str, models: Any, tmp_path: Path) -> None:
    files = models(name)
    convert, layout, chosen = CONVERTERS[name]
    lora = State()
    for layer in filter(chosen, linear(files.state)):
        lora |= factors(*files.state[f"{layer}.weight"].shape, base=NAMED[layout](layer))
    assert len(lora) > 20
    net, path = files.loaded(), written(tmp_path / "l.safetensors", lora)
    converted = {k: v.clone() for k, v in convert(dict(lora)).items()}
    there = written(tmp_path / "converted.safetensors", converted)
    found = applied(net, path, STRENGTH).state_dict()
    same(found, applied(net, there, STRENGTH).state_dict())
    assert sum(not torch.equal(found[n], t) for n, t in net.state_dict().items()) >= len(lora) / 3


def test_a_file_of_xlabs_means_what_diffusers_converts_it_to(models: Any, tmp_path: Path) -> None:
    """Every layer of theirs: attention alone, and in single blocks the query, key and value without the MLP."""
    files, lora = models("flux"), State()
    rows = {"double_blocks.0.processor.qkv_lora1": (192, 64), "double_blocks.0.processor.qkv_lora2": (192, 64)}
    rows |= {"double_blocks.0.processor.proj_lora1": (64, 64), "double_blocks.0.processor.proj_lora2": (64, 64)}
    for n in range(2):
        rows[f"single_blocks.{n}.processor.qkv_lora"] = (192, 64)
        rows[f"single_blocks.{n}.processor.proj_lora"] = (64, 320)
    for name, (out, columns) in rows.items():
        lora[f"{name}.down.weight"], lora[f"{name}.up.weight"] = torch.randn(RANK, columns), torch.randn(out, RANK)
    converted = lora_conversion_utils._convert_xlabs_flux_lora_to_diffusers(dict(lora))
    there = written(tmp_path / "converted.safetensors", {k: v.clone() for k, v in converted.items()})
    net, changed = files.loaded(), 16
    for prefix in ("", "diffusion_model."):
        path = written(tmp_path / "l.safetensors", {prefix + name: tensor for name, tensor in lora.items()})
        with gathered_warnings() as told:
            found = applied(net, path, STRENGTH).state_dict()
        assert list(told) == []
        same(found, applied(net, there, STRENGTH).state_dict())
        assert sum(not torch.equal(found[n], t) for n, t in net.state_dict().items()) == changed


def test_lokr_and_dora_see_the_layer_that_the_file_has(models: Any, tmp_path: Path) -> None:
    """Blocks of a Kronecker product reach across query and key; a length by input is one of all rows."""
    files = models("flux")
    layer, base = "single_blocks.1.linear1", "lycoris_single_blocks_1_linear1"
    weight = files.state[f"{layer}.weight"]
    first, second = torch.randn(2, 4), torch.randn(weight.shape[0] // 2, 16)
    lengths = torch.rand(1, weight.shape[1]) + 0.5
    lora = {f"{base}.lokr_w1": first, f"{base}.lokr_w2": second, f"{base}.dora_scale": lengths}
    whole = weight + torch.kron(first, second)
    by_hand = whole / whole.norm(dim=0, keepdim=True) * lengths
    found = applied(files.loaded(), written(tmp_path / "l.safetensors", lora))
    changed = files.loaded(written(tmp_path / "c.safetensors", {**files.state, f"{layer}.weight": by_hand}))
    same(found.state_dict(), changed.state_dict())


def test_loras_by_both_names_and_of_a_bias_add_up(models: Any, tmp_path: Path) -> None:
    files = models("flux")
    one = factors(192, 64, "diffusion_model.double_blocks.0.txt_attn.qkv")
    bias = torch.randn(192)
    two = factors(64, 64, "transformer.transformer_blocks.0.attn.add_v_proj")
    whole = change(one, "diffusion_model.double_blocks.0.txt_attn.qkv")
    whole[128:] += change(two, "transformer.transformer_blocks.0.attn.add_v_proj")
    one |= {"diffusion_model.double_blocks.0.txt_attn.qkv.diff_b": bias}
    state = files.state
    state["double_blocks.0.txt_attn.qkv.weight"] += whole
    state["double_blocks.0.txt_attn.qkv.bias"] += STRENGTH * bias
    paths = [written(tmp_path / f"{n}.safetensors", lora) for n, lora in enumerate((one, two))]
    found = applied_together(files.loaded(), [(path, STRENGTH) for path in paths])
    same(found.state_dict(), files.loaded(written(tmp_path / "c.safetensors", state)).state_dict())


def test_packed_rows_are_decoded_and_all_other_layers_stay_packed(models: Any, tmp_path: Path) -> None:
    files = models("z_image")
    numbers = {name: t.to(torch.float8_e4m3fn) if t.ndim == 2 else t for name, t in files.state.items()}
    packed = files.loaded(written(tmp_path / "packed.safetensors", numbers))
    plain = files.loaded(written(tmp_path / "plain.safetensors", {n: t.float() for n, t in numbers.items()}))
    lora = written(tmp_path / "l.safetensors", factors(192, 64, "lora_unet_layers_1_attention_qkv"))
    found, expected = applied(packed, lora), applied(plain, lora)
    names = {f"layers.1.attention.{part}.weight" for part in ("to_q", "to_k", "to_v")}
    for name, weight in found.named_parameters():
        if name in names:
            assert torch.allclose(weight.float(), expected.get_parameter(name), atol=2e-3)
        else:
            assert weight is packed.get_parameter(name) or weight.data_ptr() == packed.get_parameter(name).data_ptr()


def test_the_alpha_in_a_header_of_diffusers_counts(models: Any, tmp_path: Path) -> None:
    files, name = models("flux"), "transformer_blocks.0.attn.to_q"
    lora = {k: v for k, v in factors(64, 64, f"transformer.{name}").items() if not k.endswith("alpha")}
    said = {"transformer.lora_alpha": 1.0, "transformer.alpha_pattern": {"attn.to_q": ALPHA}, "text_encoder.r": 4}
    save_file(lora, tmp_path / "l.safetensors", {"lora_adapter_metadata": json.dumps(said)})
    net = files.loaded()
    found = applied(net, tmp_path / "l.safetensors", STRENGTH).get_parameter(f"{name}.weight")
    assert torch.allclose(found, net.get_parameter(f"{name}.weight") + change(lora, f"transformer.{name}"), atol=1e-5)


# Files that do not fit


FOREIGN = {
    "z_image": ("lora_unet_double_blocks_0_img_attn_qkv", "Z-Image", "a Flux model or Chroma"),
    "flux": ("diffusion_model.layers.0.attention.qkv", "Flux.1", "Z-Image or Lumina 2"),
    "sd3": ("lora_unet_input_blocks_4_1_proj_in", "Stable Diffusion 3", "Stable Diffusion with a UNet"),
    "chroma": ("transformer_blocks.0.img_mlp.net.2", "Chroma", "Qwen-Image"),
    "qwen_image": ("diffusion_model.joint_blocks.0.x_block.attn.qkv", "Qwen-Image", "Stable Diffusion 3"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_lora_of_another_family_is_refused_and_both_are_named(name: str, models: Any, tmp_path: Path) -> None:
    base, title, origin = FOREIGN[name]
    path = written(tmp_path / "l.safetensors", factors(192, 64, base))
    with pytest.raises(FileError) as caught:
        applied(models(name).loaded(), path)
    problem = caught.value.problem
    assert problem.message == f"the LoRA 'l.safetensors' does not change this {title}"
    assert problem.expected == f"layers of the {title}"
    assert problem.got.startswith(f"1 layer of {origin}, such as '")


def test_layers_that_are_not_there_are_counted(models: Any, tmp_path: Path) -> None:
    names = ("double_blocks.0.img_mlp.0", "double_blocks.7.img_mlp.0", "single_blocks.9.linear2")
    lora = {k: v for name in names for k, v in factors(256, 64, f"diffusion_model.{name}").items()}
    lora |= {"diffusion_model.x_embedder.diff_b": torch.zeros(64), "unheard_of": torch.zeros(1)}
    with gathered_warnings() as told:
        applied(models("flux").loaded(), written(tmp_path / "l.safetensors", lora))
    first = "'diffusion_model.double_blocks.7.img_mlp.0.alpha'"
    assert [(warning.code, warning.message) for warning in told] == [
        ("not_used", f"6 of 11 tensors of l.safetensors are not used, e.g. {first}"),
        ("not_used", "1 of 11 tensors of l.safetensors is not used, e.g. 'unheard_of'"),
    ]


def test_a_change_of_a_bias_that_is_not_there_is_counted(models: Any, tmp_path: Path) -> None:
    base = "diffusion_model.layers.0.attention.qkv"
    path = written(tmp_path / "l.safetensors", {**factors(192, 64, base), f"{base}.diff_b": torch.ones(192)})
    with gathered_warnings() as told:
        applied(models("z_image").loaded(), path)
    assert [w.message for w in told] == [f"1 of 4 tensors of l.safetensors is not used, e.g. '{base}.diff_b'"]


def test_strengths_by_third_of_a_unet_are_refused(models: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "l.safetensors", factors(192, 64, "lora_unet_double_blocks_0_img_attn_qkv"))
    parameters = {"strength": 1.0, "sections": {"input": 0.0, "middle": 1.0, "output": 1.0}}
    with pytest.raises(FileError) as caught:
        apply_loras(
            models("flux").loaded(), [Patch("lora", parameters, (FileIdentity(path.name, "0" * 64),))], [[path]]
        )
    message = "the LoRA 'l.safetensors' has a strength for each part of a UNet, and Flux.1 is not a UNet"
    assert (caught.value.problem.message, caught.value.problem.expected) == (message, "a UNet")


def test_factors_of_another_size_name_the_layers(models: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "l.safetensors", factors(96, 64, "lora_unet_double_blocks_0_img_attn_qkv"))
    with pytest.raises(FileError) as caught:
        applied(models("flux").loaded(), path)
    layers = " + ".join(f"transformer_blocks.0.attn.{part}" for part in ("to_q", "to_k", "to_v"))
    expected = f"the LoRA 'l.safetensors' does not fit the model: its change of '{layers}' has a different shape"
    assert (caught.value.problem.message, caught.value.problem.expected) == (expected, "[192, 64]")


def test_a_file_is_told_to_be_a_lora_of_its_networks(tmp_path: Path) -> None:
    bases = ("double_blocks.0.img_attn.qkv", "lora_te1_text_model_encoder_layers_0_mlp_fc1")
    t5 = "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q"
    tensors = {k: v for base in (*bases, t5) for k, v in factors(4, 4, base).items()}
    path = written(tmp_path / "l.safetensors", tensors)
    assert LoraFile().recognise(path) == {"lora": ["te1", "te3", "unet"], "about": "LoRA (3 layers)"}
