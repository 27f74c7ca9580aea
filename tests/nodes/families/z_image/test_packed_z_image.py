"""Z-Image in every packed form that people have, as a denoiser and as its text encoder: the pictures of its numbers."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_files import write_gguf
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentloom.api import Session
from latentloom.engine.errors import NodeError
from latentloom.engine.events import NodeWarning
from latentloom.nodes.families.module_loading import Weights
from latentloom.nodes.families.packing.scaled import hadamard

State = dict[str, Tensor]
E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(unet: str = "z.safetensors", clip: str = "qwen.safetensors", lora: str = "") -> dict[str, Any]:
    """Split files, a prompt, two steps."""
    model = wire("lora" if lora else "unet", "model")
    words = wire("positive", "conditioning")
    settings = {"steps": 2, "cfg": 1.0, "sampler": "euler", "schedule": "simple"}
    nodes = {
        "unet": {"type": "LoadUNet", "inputs": {"unet": unet}},
        "clip": {"type": "LoadCLIP", "inputs": {"text_encoder": clip, "model": wire("unet", "model")}},
        "positive": {"type": "CLIPEncode", "inputs": {"clip": wire("clip", "clip"), "text": "a red fox"}},
        "empty": {"type": "EmptyLatent", "inputs": {"width": 64, "height": 64}},
        "sample": {
            "type": "KSampler",
            "inputs": {"model": model, "positive": words, "negative": words, "latent": wire("empty", "latent")}
            | settings,
        },
    }
    if lora:
        nodes["lora"] = {"type": "LoadLoraModel", "inputs": {"model": wire("unet", "model"), "lora": lora}}
    outputs = [{"name": "out", "from": wire("sample", "latent")}]
    return {"format": "latentloom/1", "name": "z", "nodes": nodes, "outputs": outputs}


def problem(session: Session, nodes: dict[str, Any]) -> Any:
    with pytest.raises(NodeError) as caught:
        session.run(nodes)
    return caught.value.problem


@pytest.fixture(autouse=True)
def tiny_layers_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers of these sizes are decoded at each call too, as large ones are."""
    monkeypatch.setattr("latentloom.engine.models.weights.SMALL_BYTES", 512)


def layers(state: Mapping[str, Tensor]) -> list[str]:
    return [name.removesuffix(".weight") for name, tensor in state.items() if tensor.ndim == 2 and "pad" not in name]


def scaled(weight: Tensor, dtype: torch.dtype, top: float) -> tuple[Tensor, Tensor]:
    scale = weight.abs().amax() / top
    return (weight / scale).to(dtype), scale


def plain_fp8(dtype: torch.dtype) -> Callable[[State], State]:
    def pack(state: State) -> State:
        return {name: tensor.to(dtype) for name, tensor in state.items()}

    return pack


def scale_weight(state: State) -> State:
    """ComfyUI's first way: a marker, and scales beside weights."""
    made = dict(state) | {"scaled_fp8": torch.zeros(2, dtype=E4M3)}
    for base in layers(state):
        made[f"{base}.weight"], made[f"{base}.scale_weight"] = scaled(state[f"{base}.weight"], E4M3, 448)
        made[f"{base}.scale_input"] = torch.ones(())
    return made


def noted(format: str, dtype: torch.dtype, top: float, *, as_bytes: bool = False) -> Callable[[State], State]:
    def pack(state: State) -> State:
        made = dict(state)
        for base in layers(state):
            weight, scale = scaled(state[f"{base}.weight"], dtype, top)
            made[f"{base}.weight"] = weight.view(torch.uint8) if as_bytes else weight
            made |= {f"{base}.weight_scale": scale, f"{base}.comfy_quant": note(format=format)}
        return made

    return pack


def note(**said: Any) -> Tensor:
    return torch.tensor(list(json.dumps(said).encode()), dtype=torch.uint8)


def rows_of_int8(group: int) -> Callable[[State], State]:
    def pack(state: State) -> State:
        made = dict(state)
        for base in layers(state):
            weight = state[f"{base}.weight"]
            if group and weight.shape[1] % group == 0:
                weight = (weight.view(-1, group) @ hadamard(group)).view(weight.shape)
                said = {"convrot": True, "convrot_groupsize": group}
            else:
                said = {}
            scale = weight.abs().amax(1, keepdim=True) / 127
            made[f"{base}.weight"], made[f"{base}.weight_scale"] = (weight / scale).round().to(torch.int8), scale
            if group:
                made[f"{base}.comfy_quant"] = note(format="int8_tensorwise", **said)
        return made

    return pack


FORMS: dict[str, Callable[[State], State]] = {
    "fp8": plain_fp8(E4M3),
    "fp8 e5m2": plain_fp8(E5M2),
    "scaled_fp8": scale_weight,
    "fp8 with notes": noted("float8_e4m3fn", E4M3, 448),
    "fp8 e5m2 with notes, as bytes": noted("float8_e5m2", E5M2, 57344, as_bytes=True),
    "int8 rows without notes": rows_of_int8(0),
    "ConvRot": rows_of_int8(16),
}


def decoded(path: Path) -> State:
    """The numbers of a file, float32."""
    weights = Weights(path)
    return {name: weights[name].float() for name in weights.keys()}  # noqa: SIM118


def put(path: Path, state: State, **metadata: str) -> None:
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, path, metadata)


def put_aligned(path: Path, state: State) -> None:
    """A file whose weights lie at multiples of 16 bytes: a product with a single vector depends on that in its last
    bits, and decoded weights do.
    """
    for pad in range(0, 16, 8):
        put(path, state, pad=" " * pad)
        if int.from_bytes(path.read_bytes()[:8], "little") % 16 == 8:
            return
    raise AssertionError("no header of such a length")


def pack(folder: Path, name: str, state: State, form: str) -> str:
    """A packed file, and one of its numbers; the name of the first."""
    put(folder / f"{name}-packed.safetensors", FORMS[form](state))
    put_aligned(folder / f"{name}-plain.safetensors", decoded(folder / f"{name}-packed.safetensors"))
    return f"{name}-packed.safetensors"


def latent(session: Session, *files: str, **more: str) -> Tensor:
    return torch.tensor(session.run(document(*files, **more))["out"].numpy())


@pytest.mark.parametrize("form", FORMS)
def test_a_packed_denoiser_samples_as_its_numbers_do(session: Session, z_models: Path, form: str) -> None:
    folder = z_models / "diffusion_models"
    original = load_file(folder / "z.safetensors")
    packed = pack(folder, "z", original, form)
    found = latent(session, packed)
    assert torch.equal(found, latent(session, packed.replace("packed", "plain")))
    whole, numbers = decoded(folder / packed), [name for name in original if name.endswith(".weight")]
    error = max(float((whole[n] - original[n]).norm() / original[n].norm()) for n in numbers)
    assert error < (0.1 if "e5m2" in form else 0.05)


@pytest.mark.parametrize("form", ["fp8", "scaled_fp8", "ConvRot"])
def test_a_packed_text_encoder_reads_as_its_numbers_do(session: Session, z_models: Path, form: str) -> None:
    folder = z_models / "text_encoders"
    packed = pack(folder, "qwen", load_file(folder / "qwen.safetensors"), form)
    assert torch.equal(latent(session, clip=packed), latent(session, clip=packed.replace("packed", "plain")))


@pytest.mark.parametrize("format", ["Q8_0", "Q4_0"])
def test_a_denoiser_in_gguf_samples_as_its_numbers_do(session: Session, z_models: Path, format: str) -> None:
    """Its q, k and v are rows of one packed matrix."""
    folder = z_models / "diffusion_models"
    write_gguf(folder / "z.gguf", load_file(folder / "z.safetensors"), format)
    put_aligned(folder / "z-plain.safetensors", decoded(folder / "z.gguf"))
    assert torch.equal(latent(session, "z.gguf"), latent(session, "z-plain.safetensors"))


def test_a_text_encoder_in_gguf_has_other_names_and_reads_as_its_numbers_do(session: Session, z_models: Path) -> None:
    folder = z_models / "text_encoders"
    state = load_file(folder / "qwen.safetensors")
    write_gguf(
        folder / "qwen.gguf", {LLAMA[name.split(".")[-2]](name): tensor for name, tensor in state.items()}, "Q8_0"
    )
    put_aligned(folder / "qwen-plain.safetensors", decoded(folder / "qwen.gguf"))
    assert set(decoded(folder / "qwen.gguf")) == set(state)
    assert torch.equal(latent(session, clip="qwen.gguf"), latent(session, clip="qwen-plain.safetensors"))


def block(part: str) -> Callable[[str], str]:
    return lambda name: f"blk.{name.split('.')[2]}.{part}.weight"


LLAMA: dict[str, Callable[[str], str]] = {
    "embed_tokens": lambda _: "token_embd.weight",
    "norm": lambda _: "output_norm.weight",
    "q_proj": block("attn_q"),
    "k_proj": block("attn_k"),
    "v_proj": block("attn_v"),
    "o_proj": block("attn_output"),
    "q_norm": block("attn_q_norm"),
    "k_norm": block("attn_k_norm"),
    "input_layernorm": block("attn_norm"),
    "post_attention_layernorm": block("ffn_norm"),
    "gate_proj": block("ffn_gate"),
    "up_proj": block("ffn_up"),
    "down_proj": block("ffn_down"),
}


def test_a_gguf_that_is_cut_off_is_told_by_the_loader(session: Session, z_models: Path) -> None:
    folder = z_models / "diffusion_models"
    write_gguf(folder / "z.gguf", load_file(folder / "z.safetensors"), "Q8_0")
    (folder / "cut.gguf").write_bytes((folder / "z.gguf").read_bytes()[:-999])
    found = problem(session, document("cut.gguf"))
    assert (found.message, found.node) == ("LoadUNet: 'cut.gguf' ends early", "unet")


def test_an_encoder_in_gguf_in_the_denoisers_place_is_named(session: Session, z_models: Path) -> None:
    state = load_file(z_models / "text_encoders" / "qwen.safetensors")
    names = {LLAMA[name.split(".")[-2]](name): tensor for name, tensor in state.items()}
    write_gguf(z_models / "diffusion_models" / "wrong.gguf", names, "Q8_0", architecture="flux")
    assert problem(session, document("wrong.gguf")).message == "LoadUNet: 'wrong.gguf' has no UNet"


def test_notes_may_be_in_the_metadata(session: Session, z_models: Path) -> None:
    folder = z_models / "diffusion_models"
    state = rows_of_int8(16)(load_file(folder / "z.safetensors"))
    notes = {
        base: json.loads(bytes(state.pop(f"{base}.comfy_quant").tolist()))
        for base in [name.removesuffix(".comfy_quant") for name in list(state) if name.endswith(".comfy_quant")]
    }
    said = {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": notes})}
    put(folder / "m.safetensors", state, **said)
    pack(folder, "z", load_file(folder / "z.safetensors"), "ConvRot")
    assert torch.equal(latent(session, "m.safetensors"), latent(session, "z-packed.safetensors"))


def test_nothing_of_a_packed_file_is_told_as_unused(session: Session, z_models: Path) -> None:
    folder = z_models / "text_encoders"
    packed = pack(folder, "qwen", load_file(folder / "qwen.safetensors"), "scaled_fp8")
    heard: list[Any] = []
    session.run(document(clip=packed), on_event=heard.append)
    told = [event.code for event in heard if isinstance(event, NodeWarning)]
    assert "not_used" not in told


def test_a_lora_on_a_packed_layer_changes_its_numbers(session: Session, z_models: Path) -> None:
    packed = pack(z_models / "diffusion_models", "z", load_file(z_models / "diffusion_models" / "z.safetensors"), "fp8")
    (z_models / "loras").mkdir(exist_ok=True)
    torch.manual_seed(1)
    name = "diffusion_model.layers.0.attention.to_q"
    factors = {f"{name}.lora_A.weight": torch.randn(2, 64), f"{name}.lora_B.weight": torch.randn(64, 2)}
    put(z_models / "loras" / "packed.safetensors", factors)

    lora = "packed.safetensors"
    changed, plain = (latent(session, name, lora=lora) for name in (packed, packed.replace("packed", "plain")))
    bare = latent(session, packed)
    assert float((changed - plain).norm()) < 0.05 * float((bare - plain).norm())
    assert torch.equal(latent(session, packed), bare)


def spoil(state: State, **put: Tensor) -> State:
    return state | {f"layers.0.attention.qkv.{end}": tensor for end, tensor in put.items()}


FAULTS: dict[str, tuple[dict[str, Tensor], str, str]] = {
    "a scale of the wrong shape": (
        {"weight_scale": torch.ones(7)},
        "KSampler: 'bad.safetensors' has a scale of a different shape, 'layers.0.attention.qkv.weight_scale'",
        "[7]",
    ),
    "a scale that is NaN": (
        {"weight_scale": torch.tensor(torch.nan)},
        "KSampler: the Z-Image of 'bad.safetensors' contains numbers that are not finite",
        "NaN or infinity in 'layers.0.attention.qkv.weight' or its scale",
    ),
    "an unknown format": (
        {"weight_scale": torch.ones(()), "comfy_quant": note(format="mxfp8")},
        "LoadUNet: 'bad.safetensors' (Z-Image) is packed as mxfp8, which Latentloom does not support",
        "'layers.0.attention.qkv.weight' in that format",
    ),
    "nvfp4": (
        {"weight_scale": torch.ones(()), "weight_scale_2": torch.ones(())},
        "LoadUNet: 'bad.safetensors' (Z-Image) is packed as nvfp4, which Latentloom does not support",
        "'layers.0.attention.qkv.weight_scale_2' in that format",
    ),
    "NF4": (
        {"weight.quant_state.bitsandbytes__nf4": torch.zeros(9, dtype=torch.uint8)},
        "LoadUNet: 'bad.safetensors' (Z-Image) is packed as NF4 (bitsandbytes), which Latentloom does not support",
        "'layers.0.attention.qkv.weight.quant_state.bitsandbytes__nf4' in that format",
    ),
    "SVDQuant": (
        {"qweight": torch.zeros(4, 4, dtype=torch.int8), "wscales": torch.ones(4)},
        "LoadUNet: 'bad.safetensors' (Z-Image) is packed as SVDQuant (nunchaku), which Latentloom does not support",
        "'layers.0.attention.qkv.wscales' in that format",
    ),
    "a note that is no note": (
        {"comfy_quant": torch.full((4,), 255, dtype=torch.uint8)},
        "LoadUNet: 'bad.safetensors' (Z-Image) has a note on a packed weight that cannot be read",
        "'layers.0.attention.qkv.comfy_quant'",
    ),
    "a rotation that does not fit": (
        {
            "weight": torch.ones(192, 64, dtype=torch.int8),
            "weight_scale": torch.ones(192, 1),
            "comfy_quant": note(format="int8_tensorwise", convrot=True),
        },
        "KSampler: 'bad.safetensors' has a rotated weight that cannot be rotated back, 'layers.0.attention.qkv.weight'",
        "256 of [192, 64]",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_decoded_is_told_before_a_step(session: Session, z_models: Path, fault: str) -> None:
    spoilt, message, got = FAULTS[fault]
    state = spoil(load_file(z_models / "diffusion_models" / "z.safetensors"), **spoilt)
    put(z_models / "diffusion_models" / "bad.safetensors", state)
    found = problem(session, document("bad.safetensors"))
    assert (found.message, found.got) == (message, got)


def test_parts_in_each_others_place_are_named(session: Session, z_models: Path) -> None:
    unet, clip = z_models / "diffusion_models", z_models / "text_encoders"
    (unet / "encoder.safetensors").write_bytes((clip / "qwen.safetensors").read_bytes())
    (clip / "denoiser.safetensors").write_bytes((unet / "z.safetensors").read_bytes())
    assert problem(session, document("encoder.safetensors")).message == "LoadUNet: 'encoder.safetensors' has no UNet"
    assert (
        problem(session, document(clip="denoiser.safetensors")).message
        == "LoadCLIP: 'denoiser.safetensors' has no text encoder"
    )
