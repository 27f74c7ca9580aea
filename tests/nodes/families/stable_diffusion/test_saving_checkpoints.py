"""Checkpoints written out again: the same tensors under the same names, and files that give the same pictures."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from latentloom.api import Session
from latentloom.engine.errors import NodeError
from latentloom.engine.settings import load_settings
from latentloom.nodes.families.stable_diffusion.single_file import SingleFile
from latentloom.nodes.families.unused import harmless
from latentloom.training.random_checkpoint import write_checkpoint

FAMILIES = ("sd1_tiny", "sd1_inpaint_tiny", "sd2_tiny", "sdxl_tiny", "refiner_tiny")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    for folder in ("checkpoints", "loras", "unet", "vae"):
        (root / folder).mkdir(parents=True)
    return root


@pytest.fixture
def session(tmp_path: Path, models: Path) -> Iterator[Session]:
    settings = {"models": [models], "device": "cpu", "dtype": "fp32"}
    with Session(load_settings(settings, {"LATENTLOOM_HOME": str(tmp_path)})) as made:
        yield made


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def saved(session: Session, checkpoint: str, nodes: dict[str, Any] | None = None, **inputs: Any) -> Path:
    """The file that SaveCheckpoint writes of a checkpoint."""
    loaded = {"checkpoint": f"{checkpoint}.safetensors"}
    parts = {name: wire("load", name) for name in ("model", "clip", "vae")}
    made = {
        "load": {"type": "LoadCheckpoint", "inputs": loaded},
        **(nodes or {}),
        "save": {"type": "SaveCheckpoint", "inputs": {**parts, **inputs}},
    }
    document = {"format": "latentloom/1", "nodes": made, "outputs": [{"name": "path", "from": wire("save", "value")}]}
    return Path(session.run(document)["path"])


def sampled(session: Session, checkpoint: str, nodes: dict[str, Any] | None = None, model: str = "load") -> np.ndarray:
    made: dict[str, Any] = {
        "load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": f"{checkpoint}.safetensors"}},
        **(nodes or {}),
        "text": {"type": "CLIPEncode", "inputs": {"clip": wire(model, "clip"), "text": "a red fox"}},
        "empty": {"type": "EmptyLatent", "inputs": {"width": 64, "height": 64}},
        "sample": {
            "type": "KSampler",
            "inputs": {
                "model": wire(model, "model"),
                "positive": wire("text", "conditioning"),
                "negative": wire("text", "conditioning"),
                "latent": wire("empty", "latent"),
                "steps": 3,
            },
        },
        "decode": {"type": "VAEDecode", "inputs": {"vae": wire("load", "vae"), "latent": wire("sample", "latent")}},
    }
    document = {"format": "latentloom/1", "nodes": made, "outputs": [{"name": "o", "from": wire("decode", "image")}]}
    found: np.ndarray = session.run(document)["o"].numpy()
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_loaded_and_saved_is_the_file_again(session: Session, models: Path, family: str) -> None:
    source = models / "checkpoints" / "m.safetensors"
    write_checkpoint(source, family)
    before, after = load_file(source), load_file(saved(session, "m"))
    assert [name for name in before if name not in after and not harmless(name)] == []
    for name, tensor in after.items():
        assert torch.equal(before[name], tensor), name


def test_a_lora_is_in_the_file_and_the_file_gives_the_same_picture(session: Session, models: Path) -> None:
    write_checkpoint(models / "checkpoints" / "m.safetensors", "sd1_tiny", dtype=torch.float32)
    layers = {
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q": (32, 32),
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj": (64, 64),
    }
    factors = {}
    for layer, (rows, columns) in layers.items():
        factors |= {
            f"{layer}.lora_up.weight": torch.randn(rows, 4),
            f"{layer}.lora_down.weight": torch.randn(4, columns),
        }
    save_file(factors, models / "loras" / "l.safetensors")
    lora = {
        "lora": {
            "type": "LoadLora",
            "inputs": {"model": wire("load", "model"), "clip": wire("load", "clip"), "lora": "l.safetensors"},
        }
    }
    path = saved(session, "m", lora, model=wire("lora", "model"), clip=wire("lora", "clip"))
    path.rename(models / "checkpoints" / "with.safetensors")
    assert np.array_equal(sampled(session, "with"), sampled(session, "m", lora, "lora"))
    assert not np.array_equal(sampled(session, "with"), sampled(session, "m"))


def test_a_part_that_is_not_connected_is_left_out(session: Session, models: Path) -> None:
    write_checkpoint(models / "checkpoints" / "m.safetensors", "sd1_tiny")
    names = load_file(saved(session, "m", clip=None, vae=None)).keys()
    assert names == {name for name in load_file(models / "checkpoints" / "m.safetensors") if name.startswith("model.")}


@pytest.mark.parametrize(("dtype", "kind"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_weights_have_the_type_that_is_asked_for(session: Session, models: Path, dtype: str, kind: Any) -> None:
    write_checkpoint(models / "checkpoints" / "m.safetensors", "sd1_tiny")
    before, after = load_file(models / "checkpoints" / "m.safetensors"), load_file(saved(session, "m", dtype=dtype))
    assert all(torch.equal(tensor, before[name].to(kind)) for name, tensor in after.items())


def test_the_file_says_what_its_weights_do_not(session: Session, models: Path) -> None:
    write_checkpoint(models / "checkpoints" / "m.safetensors", "sd1_tiny")
    v = {
        "v": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "m.safetensors", "prediction": "v", "zero_snr": "yes"}}
    }
    with safe_open(saved(session, "m", v, model=wire("v", "model")), "pt") as file:
        said = file.metadata()
    assert (said["modelspec.prediction_type"], said["ss_zero_terminal_snr"]) == ("v", "true")


def test_a_placed_model_is_saved_as_its_file_has_it(session: Session, models: Path) -> None:
    """The network computes in fp32; the file's type is fp16."""
    write_checkpoint(models / "checkpoints" / "m.safetensors", "sd1_tiny")
    sampled(session, "m")
    before, after = load_file(models / "checkpoints" / "m.safetensors"), load_file(saved(session, "m"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())


def test_packed_weights_are_refused(session: Session, models: Path, checkpoint: Callable[[str], Path]) -> None:
    weights = load_file(checkpoint("sd1_tiny"))
    begin = "model.diffusion_model."
    packed = {n: w.to(torch.float8_e4m3fn) if n.startswith(begin) and w.ndim > 1 else w for n, w in weights.items()}
    save_file(packed, models / "checkpoints" / "m.safetensors")
    with pytest.raises(NodeError, match=r"the weights of 'm\.safetensors' are packed"):
        saved(session, "m")


def test_parts_of_folders_are_saved_in_the_files_layout(session: Session, models: Path) -> None:
    source = models / "checkpoints" / "m.safetensors"
    write_checkpoint(source, "sd1_tiny", dtype=torch.float32)
    for name in ("unet", "vae"):
        SingleFile().load([source], {"component": name}).save_pretrained(models / name / "mine")
    parts = {
        "unet": {"type": "LoadUNet", "inputs": {"unet": "mine"}},
        "vae": {"type": "LoadVAE", "inputs": {"vae": "mine"}},
    }
    after = load_file(saved(session, "m", parts, model=wire("unet", "model"), vae=wire("vae", "vae")))
    assert all(torch.equal(tensor, load_file(source)[name]) for name, tensor in after.items())
