"""Flux.1 as most people have it: packed weights, whose q, k and v are rows of one matrix."""

from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_files import write_gguf
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentloom.api import Session
from latentloom.engine.events import NodeWarning
from latentloom.nodes.families.module_loading import Weights

State = dict[str, Tensor]


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(unet: str = "dev.safetensors", t5: str = "t5xxl.safetensors") -> dict[str, Any]:
    """Split files, a prompt, two steps."""
    words = wire("positive", "conditioning")
    texts = {"text_encoder": t5, "second": "clip_l.safetensors", "model": wire("unet", "model")}
    sampler = {"model": wire("unet", "model"), "positive": words, "negative": words, "latent": wire("empty", "latent")}
    nodes = {
        "unet": {"type": "LoadUNet", "inputs": {"unet": unet}},
        "clip": {"type": "LoadCLIP", "inputs": texts},
        "positive": {"type": "CLIPEncode", "inputs": {"clip": wire("clip", "clip"), "text": "a red fox"}},
        "empty": {"type": "EmptyLatent", "inputs": {"width": 64, "height": 64}},
        "sample": {
            "type": "KSampler",
            "inputs": {**sampler, "steps": 2, "cfg": 1.0, "sampler": "euler", "schedule": "simple"},
        },
    }
    outputs = [{"name": "out", "from": wire("sample", "latent")}]
    return {"format": "latentloom/1", "name": "flux", "nodes": nodes, "outputs": outputs}


def scaled(state: State) -> State:
    """ComfyUI's scaled fp8: a marker, and scales beside weights."""
    made = dict(state) | {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    for name, tensor in state.items():
        if tensor.ndim == 2 and not any(part in name for part in ("shared", "relative_attention_bias")):
            scale = tensor.abs().amax() / 448
            made[name] = (tensor / scale).to(torch.float8_e4m3fn)
            made[name.replace(".weight", ".scale_weight")] = scale
    return made


def put(path: Path, state: State) -> Path:
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, path)
    return path


def decoded(path: Path) -> State:
    """The numbers of a file, float32."""
    weights = Weights(path)
    return {name: weights[name].float() for name in weights.keys()}  # noqa: SIM118


def latent(session: Session, *files: str) -> Tensor:
    """The run's latent; nothing of the files is left over."""
    heard: list[Any] = []
    found = torch.tensor(session.run(document(*files), on_event=heard.append)["out"].numpy())
    assert [event.message for event in heard if isinstance(event, NodeWarning) and event.code == "not_used"] == []
    return found


def close(found: Tensor, expected: Tensor) -> bool:
    return float((found - expected).norm() / expected.norm()) < 1e-5


def test_a_transformer_in_scaled_fp8_samples_as_its_numbers_do(session: Session, flux_models: Path) -> None:
    folder = flux_models / "diffusion_models"
    packed = put(folder / "fp8.safetensors", scaled(load_file(folder / "dev.safetensors")))
    plain = put(folder / "fp8-plain.safetensors", decoded(packed))
    assert close(latent(session, packed.name), latent(session, plain.name))


def test_scaled_fp8_with_a_zeroed_text_samples(session: Session, flux_models: Path) -> None:
    """ComfyUI issues 5304 and 5849: black pictures."""
    folder = flux_models / "diffusion_models"
    packed = put(folder / "fp8.safetensors", scaled(load_file(folder / "dev.safetensors")))
    nodes = document(packed.name)
    positive = nodes["nodes"]["sample"]["inputs"]["positive"]
    nodes["nodes"]["zero"] = {"type": "ConditioningZeroOut", "inputs": {"conditioning": positive}}
    nodes["nodes"]["sample"]["inputs"]["positive"] = wire("zero", "conditioning")

    found = torch.tensor(session.run(nodes)["out"].numpy())

    assert found.isfinite().all()
    assert float(found.std()) > 0.1
    assert not close(found, latent(session, packed.name))


@pytest.mark.parametrize("format", ["Q8_0", "Q4_0"])
def test_a_transformer_in_gguf_samples_as_its_numbers_do(session: Session, flux_models: Path, format: str) -> None:
    folder = flux_models / "diffusion_models"
    write_gguf(folder / "dev.gguf", load_file(folder / "dev.safetensors"), format)
    plain = put(folder / "gguf-plain.safetensors", decoded(folder / "dev.gguf"))
    assert close(latent(session, "dev.gguf"), latent(session, plain.name))


LLAMA = {  # of transformers' names to llama.cpp's
    "shared.": "token_embd.",
    "encoder.final_layer_norm.": "enc.output_norm.",
    "encoder.block.": "enc.blk.",
    "layer.0.SelfAttention.relative_attention_bias.": "attn_rel_b.",
    "layer.0.SelfAttention.": "attn_",
    "layer.0.layer_norm.": "attn_norm.",
    "layer.1.DenseReluDense.wi_0.": "ffn_gate.",
    "layer.1.DenseReluDense.wi_1.": "ffn_up.",
    "layer.1.DenseReluDense.wo.": "ffn_down.",
    "layer.1.layer_norm.": "ffn_norm.",
}


def in_llama(name: str) -> str:
    for ours, theirs in LLAMA.items():
        name = name.replace(ours, theirs)
    return name


def test_a_t5_in_gguf_has_other_names_and_reads_as_its_numbers_do(session: Session, flux_models: Path) -> None:
    folder = flux_models / "text_encoders"
    state = load_file(folder / "t5xxl.safetensors")
    write_gguf(folder / "t5.gguf", {in_llama(name): tensor for name, tensor in state.items()}, "Q8_0")
    plain = put(folder / "t5-plain.safetensors", decoded(folder / "t5.gguf"))
    files = [latent(session, "dev.safetensors", name) for name in ("t5.gguf", plain.name)]
    (folder / "t5.gguf").unlink()
    plain.unlink()
    assert close(*files)


def test_a_t5_in_scaled_fp8_reads_as_its_numbers_do(session: Session, flux_models: Path) -> None:
    folder = flux_models / "text_encoders"
    packed = put(folder / "t5-fp8.safetensors", scaled(load_file(folder / "t5xxl.safetensors")))
    plain = put(folder / "t5-plain.safetensors", decoded(packed))
    files = [latent(session, "dev.safetensors", path.name) for path in (packed, plain)]
    packed.unlink()
    plain.unlink()
    assert close(*files)
