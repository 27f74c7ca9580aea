"""Flux.1 in the files that people have, whole and damaged: folders of a part, shards, files in other folders."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_files import write_gguf
from safetensors.torch import load_file, save_file

from latentloom.api import Session
from latentloom.engine.errors import NodeError


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(
    unet: str = "dev.safetensors", t5: str = "t5xxl.safetensors", clip: str = "clip_l.safetensors"
) -> dict[str, Any]:
    """One step of a prompt."""
    sampled = {"model": wire("unet", "model"), "latent": wire("empty", "latent"), "steps": 1, "cfg": 1.0}
    sampled |= {name: wire("prompt", "conditioning") for name in ("positive", "negative")}
    nodes = {
        "unet": {"type": "LoadUNet", "inputs": {"unet": unet}},
        "clip": {
            "type": "LoadCLIP",
            "inputs": {"text_encoder": t5, "second": clip, "model": wire("unet", "model")},
        },
        "prompt": {"type": "CLIPEncode", "inputs": {"clip": wire("clip", "clip"), "text": "a red fox"}},
        "empty": {"type": "EmptyLatent", "inputs": {"width": 64, "height": 64}},
        "sample": {"type": "KSampler", "inputs": {**sampled, "sampler": "euler", "schedule": "simple"}},
    }
    outputs = [{"name": "out", "from": wire("sample", "latent")}]
    return {"format": "latentloom/1", "name": "files", "nodes": nodes, "outputs": outputs}


def latent(session: Session, **files: str) -> torch.Tensor:
    return torch.tensor(session.run(document(**files))["out"].numpy())


def problem(session: Session, **files: str) -> Any:
    with pytest.raises(NodeError) as caught:
        session.run(document(**files))
    return caught.value.problem


def test_folders_of_one_part_in_several_files_are_that_part(session: Session, flux_models: Path) -> None:
    whole = flux_models / "checkpoints" / "folder"
    shutil.copytree(whole / "transformer", flux_models / "diffusion_models" / "transformer")
    shutil.copytree(whole / "text_encoder_2", flux_models / "text_encoders" / "t5")
    assert len(list((flux_models / "diffusion_models" / "transformer").glob("*.safetensors"))) > 1

    found = latent(session, unet="transformer", t5="t5")

    error = (found - latent(session)).norm() / found.norm()
    assert float(error) < 1e-6


def test_a_part_in_the_folder_of_another_part_is_found(session: Session, flux_models: Path) -> None:
    shutil.copy(
        flux_models / "text_encoders" / "t5xxl.safetensors", flux_models / "diffusion_models" / "t5.safetensors"
    )
    (flux_models / "diffusion_models" / "t5_tokenizer").symlink_to(flux_models / "text_encoders" / "t5_tokenizer")
    shutil.copy(flux_models / "diffusion_models" / "dev.safetensors", flux_models / "vae" / "dev2.safetensors")

    assert torch.equal(latent(session, unet="dev2.safetensors", t5="t5.safetensors"), latent(session))


def test_one_file_of_a_split_model_asks_for_the_others(session: Session, flux_models: Path) -> None:
    state = load_file(flux_models / "diffusion_models" / "dev.safetensors")
    part = {name: state[name] for name in sorted(state)[: len(state) // 2]}
    save_file(part, flux_models / "diffusion_models" / "m-00001-of-00002.safetensors")

    found = problem(session, unet="m-00001-of-00002.safetensors")

    assert found.message == "LoadUNet: 'm-00001-of-00002.safetensors' is one of the 2 files of a Flux.1 dev"
    assert found.hint == "put all of its files and its config.json into a folder of their own, and name the folder"


LACKING = {  # what a file lacks, and what is told
    "img_in.": "LoadUNet: 'part.safetensors' is only a part of Flux.1 dev",
    "single_blocks.0.": "KSampler: the Flux.1 of 'part.safetensors' lacks weights",
    "double_blocks.0.img_mlp.0.bias": "KSampler: the Flux.1 of 'part.safetensors' lacks weights",
}


@pytest.mark.parametrize("begin", LACKING)
def test_a_file_that_lacks_layers_is_refused(session: Session, flux_models: Path, begin: str) -> None:
    state = load_file(flux_models / "diffusion_models" / "dev.safetensors")
    part = {name: tensor for name, tensor in state.items() if not name.startswith(begin)}
    save_file(part, flux_models / "diffusion_models" / "part.safetensors")

    assert problem(session, unet="part.safetensors").message == LACKING[begin]


def test_parts_in_each_others_place_are_named_by_what_they_are(session: Session, flux_models: Path) -> None:
    for found, message, got in (
        (problem(session, unet="ae.safetensors"), "LoadUNet: 'ae.safetensors' has no UNet", "VAE"),
        (problem(session, unet="t5xxl.safetensors"), "LoadUNet: 't5xxl.safetensors' has no UNet", "T5 text encoder"),
        (problem(session, t5="dev.safetensors"), "LoadCLIP: 'dev.safetensors' has no text encoder", "Flux.1 dev"),
    ):
        assert (found.message, found.got) == (message, got)


STARTS = {
    "nothing": (b"", "LoadUNet: 'm.gguf' is not a safetensors file", "an empty file"),
    "a version of the future": (
        b"GGUF" + (4).to_bytes(4, "little"),
        "LoadUNet: 'm.gguf' is a GGUF file of another kind",
        "version 4",
    ),
    "big-endian": (
        b"GGUF" + (3).to_bytes(4, "big"),
        "LoadUNet: 'm.gguf' is a GGUF file of another kind",
        "big-endian numbers",
    ),
}


@pytest.mark.parametrize("start", STARTS)
def test_files_that_begin_otherwise_are_told(session: Session, flux_models: Path, start: str) -> None:
    path = flux_models / "diffusion_models" / "m.gguf"
    write_gguf(path, load_file(flux_models / "diffusion_models" / "dev.safetensors"), "Q8_0")
    data, message, got = STARTS[start]
    path.write_bytes(data + path.read_bytes()[len(data) :] if data else data)

    found = problem(session, unet="m.gguf")

    assert (found.message, found.got) == (message, got)


@pytest.mark.parametrize("wide", ["wo", "attention"])
def test_t5_reads_in_float16_what_overflows_there(session: Session, flux_models: Path, wide: str) -> None:
    """Its feed-forward sums leave the range of float16 in the published weights."""
    state = load_file(flux_models / "text_encoders" / "t5xxl.safetensors")
    raised = "DenseReluDense.wo" if wide == "wo" else "SelfAttention.o"
    state |= {name: tensor * 2e5 for name, tensor in state.items() if raised in name}
    save_file(state, flux_models / "text_encoders" / "wide.safetensors")
    settings = session.settings.model_copy(update={"dtype": "fp16"})
    document_ = document(t5="wide.safetensors")
    document_["outputs"] = [{"name": "out", "from": wire("prompt", "conditioning")}]

    with Session(settings) as narrow:
        if wide == "wo":
            assert narrow.run(document_)["out"].entries[0].embedding.tensor().isfinite().all()
        else:
            with pytest.raises(NodeError, match="returned numbers that are not finite"):
                narrow.run(document_)


def test_a_vae_that_overflows_is_an_error_and_no_black_picture(session: Session, flux_models: Path) -> None:
    state = load_file(flux_models / "vae" / "ae.safetensors")
    state["decoder.conv_in.weight"] = state["decoder.conv_in.weight"] * 1e30
    save_file(state, flux_models / "vae" / "wide.safetensors")
    nodes = document()
    nodes["nodes"]["vae"] = {"type": "LoadVAE", "inputs": {"vae": "wide.safetensors"}}
    nodes["nodes"]["decode"] = {
        "type": "VAEDecode",
        "inputs": {"vae": wire("vae", "vae"), "latent": wire("sample", "latent")},
    }
    nodes["outputs"] = [{"name": "out", "from": wire("decode", "image")}]

    with pytest.raises(NodeError) as caught:
        session.run(nodes)

    assert caught.value.problem.message == "VAEDecode: IMAGE contains numbers that are out of range"
    assert caught.value.problem.hint is not None
    assert "try --dtype fp32" in caught.value.problem.hint
