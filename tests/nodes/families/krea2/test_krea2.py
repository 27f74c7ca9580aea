"""Krea 2, end to end, beside diffusers' pipeline on the same weights, noise and sigmas."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import Krea2Pipeline
from gguf_files import write_gguf
from PIL import Image as Picture
from safetensors.torch import load_file
from tiny_transformers import write

from latentloom.api import Session
from latentloom.engine.errors import NodeError
from latentloom.engine.events import NodeWarning
from latentloom.engine.settings import load_settings
from latentloom.nodes.diffusion.noise import first_noise
from latentloom.nodes.families.qwen_image import DEVIATION, MEAN

PROMPT, NEGATIVE, SEED, STEPS, SIDE = "a red fox", "blurry and grey in a wood", 5, 4, 128


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(*, folder: str = "", output: str = "sample", port: str = "latent", **sampler: Any) -> dict[str, Any]:
    """A workflow as a person makes it: split files or a folder, prompts, KSampler; the VAE is the folder's."""
    nodes: dict[str, Any] = {"load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": folder or "folder"}}}
    model, clip, vae = (wire("load", part) for part in ("model", "clip", "vae"))
    if not folder:
        model, clip = wire("unet", "model"), wire("clip", "clip")
        nodes |= {
            "unet": {"type": "LoadUNet", "inputs": {"unet": "krea2.safetensors"}},
            "clip": {"type": "LoadCLIP", "inputs": {"text_encoder": "qwen3vl_4b.safetensors", "model": model}},
        }
    inputs = {"seed": SEED, "steps": STEPS, "cfg": 1.0, "sampler": "euler", "schedule": "simple", "model": model}
    inputs |= {side: wire(side, "conditioning") for side in ("positive", "negative")}
    mask = {"width": SIDE, "height": SIDE, "box_width": 64, "box_height": SIDE}
    nodes |= {
        "positive": {"type": "CLIPEncode", "inputs": {"clip": clip, "text": PROMPT}},
        "negative": {"type": "CLIPEncode", "inputs": {"clip": clip, "text": NEGATIVE}},
        "empty": {"type": "EmptyLatent", "inputs": {"width": SIDE, "height": SIDE}},
        "picture": {"type": "LoadImage", "inputs": {"image": "picture.png"}},
        "encode": {"type": "VAEEncode", "inputs": {"vae": vae, "image": wire("picture", "image")}},
        "mask": {"type": "MaskRectangle", "inputs": mask},
        "masked": {
            "type": "SetLatentMask",
            "inputs": {"latent": wire("encode", "latent"), "mask": wire("mask", "mask")},
        },
        "sample": {"type": "KSampler", "inputs": {**inputs, "latent": wire("empty", "latent"), **sampler}},
    }
    outputs = [{"name": "out", "from": wire(output, port)}]
    return {"format": "latentloom/1", "name": "krea", "nodes": nodes, "outputs": outputs}


@pytest.fixture(autouse=True)
def picture(tmp_path: Path) -> torch.Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Picture.fromarray(pixels).save(tmp_path / "picture.png")
    return torch.from_numpy(pixels).float() / 255


def distance(found: Any, expected: torch.Tensor) -> float:
    found = torch.tensor(found.numpy())
    return float((found - expected).norm() / expected.norm())


def of_channels(numbers: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(numbers).view(1, 16, 1, 1)


def unscaled(latent: torch.Tensor) -> torch.Tensor:
    return latent * of_channels(DEVIATION) + of_channels(MEAN)


def noise() -> torch.Tensor:
    return first_noise((1, 16, SIDE // 8, SIDE // 8), SEED)


def expected(pipe: Any, guidance: float) -> torch.Tensor:
    """The latent of a pipeline, as the VAE gives it."""
    with torch.no_grad():
        tokens = pipe(
            PROMPT,
            negative_prompt=NEGATIVE,
            guidance_scale=guidance,
            height=SIDE,
            width=SIDE,
            num_inference_steps=STEPS,
            latents=pipe._pack_latents(noise(), 1, 16, SIDE // 8, SIDE // 8),
            max_sequence_length=300,
            output_type="latent",
        ).images
    return unscaled(pipe._unpack_latents(tokens, SIDE, SIDE)[:, :, 0])


@pytest.mark.parametrize("folder", ["", "folder"], ids=["split files", "folder"])
@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_the_whole_workflow_is_the_pipeline(session: Session, pipe: Any, folder: str, cfg: float) -> None:
    """cfg is 1 + the guidance of the authors. The pipeline pads its prompts, and masks what it pads."""
    heard: list[Any] = []
    found = session.run(document(folder=folder, cfg=cfg), on_event=heard.append)["out"]
    assert distance(found, expected(pipe, cfg - 1)) < 1e-5
    assert [event for event in heard if isinstance(event, NodeWarning) and event.code == "not_used"] == []


def test_a_turbo_folder_has_a_fixed_shift_and_its_own_defaults(session: Session, pipe: Any, krea_models: Path) -> None:
    turbo = krea_models / "checkpoints" / "turbo"
    turbo.mkdir()
    for part in (krea_models / "checkpoints" / "folder").iterdir():
        (turbo / part.name).symlink_to(part)
    index = json.loads((turbo / "model_index.json").read_text())
    (turbo / "model_index.json").unlink()
    (turbo / "model_index.json").write_text(json.dumps({**index, "is_distilled": True}))
    made = Krea2Pipeline(**pipe.components, is_distilled=True)
    made.set_progress_bar_config(disable=True)
    assert distance(session.run(document(folder="turbo"))["out"], expected(made, 0.0)) < 1e-5
    _, facts = session.engine.recognise(turbo) or ("", {})
    assert facts["about"] == "Krea 2 Turbo (folder)"
    assert facts["unet"]["defaults"] == {"steps": 8, "cfg": 1.0, "sampler": "euler", "schedule": "simple"}


def test_a_set_shift_gives_a_file_of_turbo_its_sigmas(session: Session, pipe: Any) -> None:
    made = Krea2Pipeline(**pipe.components, is_distilled=True)
    made.set_progress_bar_config(disable=True)
    nodes = document(model=wire("shift", "model"))
    nodes["nodes"]["shift"] = {"type": "SetShift", "inputs": {"model": wire("unet", "model"), "shift": 3.15819291}}
    assert distance(session.run(nodes)["out"], expected(made, 0.0)) < 1e-5


def test_a_qwen3_vl_in_gguf_reads_without_its_vision_tower(session: Session, krea_models: Path) -> None:
    """llama.cpp keeps the tower in another file; only the metadata tell such a file from one of a Qwen3."""
    texts = krea_models / "text_encoders"
    whole = load_file(texts / "qwen3vl_4b.safetensors")
    language = {llama_cpp(name): tensor for name, tensor in whole.items() if not name.startswith("visual.")}
    for name, architecture in (("vl", "qwen3vl"), ("plain", "qwen3")):
        write_gguf(texts / f"{name}.gguf", language, architecture=architecture)

    def sampled(file: str) -> Any:
        nodes = document(steps=1)
        nodes["nodes"]["clip"]["inputs"]["text_encoder"] = file
        return session.run(nodes)["out"]

    expected = torch.tensor(sampled("qwen3vl_4b.safetensors").numpy())
    assert distance(sampled("vl.gguf"), expected) < 1e-5
    with pytest.raises(NodeError, match="is not a text encoder of Krea 2"):
        sampled("plain.gguf")


def llama_cpp(name: str) -> str:
    outer = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if name in outer:
        return outer[name]
    _, _, layer, *part, _ = name.split(".")
    inner = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.o_proj": "attn_output"}
    inner |= {f"self_attn.{one}_proj": f"attn_{one}" for one in "qkv"}
    inner |= {f"self_attn.{one}_norm": f"attn_{one}_norm" for one in "qk"}
    inner |= {f"mlp.{one}_proj": f"ffn_{one}" for one in ("gate", "up", "down")}
    return f"blk.{layer}.{inner['.'.join(part)]}.weight"


def test_image_to_image_starts_from_the_pipelines_latent(session: Session, pipe: Any, picture: torch.Tensor) -> None:
    """diffusers has no such pipeline: its sigmas from the middle on, and the latent that they start with."""
    with torch.no_grad():
        mean = pipe.vae.encode(picture.movedim(-1, 0)[None, :, None] * 2 - 1).latent_dist.mean[:, :, 0]
    levels = type(pipe.scheduler)(**pipe.scheduler.config)
    levels.set_timesteps(sigmas=np.linspace(1, 1 / 8, 8), mu=0.5 + (64 - 256) * 0.65 / (6400 - 256))
    x = noise() * levels.sigmas[4] + (mean - of_channels(MEAN)) / of_channels(DEVIATION) * (1 - levels.sigmas[4])
    prompt, mask = pipe.encode_prompt(PROMPT, max_sequence_length=300)
    ids = pipe.prepare_position_ids(prompt.shape[1], 8, 8, torch.device("cpu"))
    for sigma, after in zip(levels.sigmas[4:-1], levels.sigmas[5:], strict=True):
        with torch.no_grad():
            tokens = pipe._pack_latents(x, 1, 16, 16, 16)
            v = pipe.transformer(tokens, prompt, sigma[None], ids, mask, return_dict=False)[0]
        x = x + (after - sigma) * pipe._unpack_latents(v, SIDE, SIDE)[:, :, 0]
    found = session.run(document(latent=wire("encode", "latent"), denoise=0.5))["out"]
    assert distance(found, unscaled(x)) < 1e-5


def test_inpainting_keeps_what_is_not_masked_and_paints_the_rest(session: Session) -> None:
    nodes = document(latent=wire("masked", "latent"), denoise=0.8, cfg=3.0)
    nodes["outputs"].append({"name": "before", "from": wire("encode", "latent")})
    run = session.run(nodes)
    found, before = run["out"].numpy(), run["before"].numpy()
    assert np.array_equal(found[..., 8:], before[..., 8:])
    assert np.abs(found[..., :8] - before[..., :8]).min() > 0


def test_norms_compute_in_float32_where_the_rest_computes_in_bfloat16(tmp_path: Path, krea_models: Path) -> None:
    home = {"LATENTLOOM_HOME": str(tmp_path)}
    settings = load_settings({"models": [krea_models], "input": tmp_path, "device": "cpu", "dtype": "bf16"}, home)
    nodes = document()
    nodes["outputs"].append({"name": "model", "from": wire("unet", "model")})
    with Session(settings) as session:
        found = session.run(nodes)
        with session.engine.models.load([found["model"]]) as (net,):
            assert net.transformer_blocks[0].norm1.weight.dtype == torch.float32
            assert net.transformer_blocks[0].attn.to_q.weight.dtype == torch.bfloat16
    assert np.isfinite(found["out"].numpy()).all()


def problem(session: Session, nodes: dict[str, Any]) -> Any:
    with pytest.raises(NodeError) as caught:
        session.run(nodes)
    return caught.value.problem


def test_the_text_encoder_of_another_size_is_refused_before_anything_is_loaded(
    session: Session, krea_models: Path
) -> None:
    state = load_file(krea_models / "text_encoders" / "qwen3vl_4b.safetensors")
    place = krea_models / "text_encoders" / "large.safetensors"
    write({**state, "model.embed_tokens.weight": torch.zeros(300, 64)}, place)
    nodes = document()
    nodes["nodes"]["clip"]["inputs"]["text_encoder"] = place.name
    found = problem(session, nodes)
    place.unlink()
    assert found.message == "LoadCLIP: the text encoder 'large.safetensors' does not fit 'krea2.safetensors'"
    assert (found.expected, found.got) == ("Qwen3-VL-4B (384 wide)", "one 768 wide")
    assert session.engine.figures()["model_loads"] == 0


def test_a_text_encoder_without_a_model_asks_for_one(session: Session) -> None:
    nodes = document()
    del nodes["nodes"]["clip"]["inputs"]["model"]
    assert problem(session, nodes).expected == "LoadCLIP's `model`, connected to the model that the prompts are for"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("first.weight"), "LoadUNet: 'bad.safetensors' is only a part of Krea 2"),
        (lambda state: state.pop("blocks.1.mod.lin"), "KSampler: the Krea 2 of 'bad.safetensors' lacks weights"),
        (
            lambda state: state.update({"blocks.1.mod.lin": torch.zeros(7)}),
            "KSampler: the Krea 2 of 'bad.safetensors' has a weight of a different shape, 'blocks.1.mod.lin'",
        ),
    ],
    ids=["half a network", "a table", "a shape"],
)
def test_bad_networks_are_told(session: Session, krea_models: Path, change: Any, message: str) -> None:
    state = load_file(krea_models / "diffusion_models" / "krea2.safetensors")
    change(state)
    place = write(state, krea_models / "diffusion_models" / "bad.safetensors")
    nodes = document()
    nodes["nodes"]["unet"]["inputs"]["unet"] = place.name
    found = problem(session, nodes)
    place.unlink()
    assert found.message == message


@pytest.mark.parametrize(
    ("start", "names"),
    [
        ("diffusion_model.", ("blocks.0.attn.wq", "txtfusion.refiner_blocks.1.mlp.up", "first")),
        (
            "transformer.",
            ("transformer_blocks.0.attn.to_q", "text_fusion.refiner_blocks.1.ff.up", "img_in"),
        ),
    ],
    ids=["authors", "diffusers"],
)
def test_loras_by_either_names_are_added_to_the_weights(
    session: Session, krea_models: Path, start: str, names: tuple[str, ...]
) -> None:
    path, random = krea_models / "diffusion_models" / "krea2.safetensors", torch.Generator().manual_seed(1)
    state, lora = load_file(path), {}
    for name, layer in zip(names, ("blocks.0.attn.wq", "txtfusion.refiner_blocks.1.mlp.up", "first"), strict=True):
        rows, columns = state[f"{layer}.weight"].shape
        down, up = torch.randn(2, columns, generator=random), torch.randn(rows, 2, generator=random)
        lora |= {f"{start}{name}.lora_A.weight": down, f"{start}{name}.lora_B.weight": up}
        state[f"{layer}.weight"] = state[f"{layer}.weight"] + up @ down
    write(lora, krea_models / "loras" / "l.safetensors")
    write(state, path.with_name("merged.safetensors"))
    nodes = document(model=wire("lora", "model"))
    inputs = {"model": wire("unet", "model"), "lora": "l.safetensors"}
    nodes["nodes"]["lora"] = {"type": "LoadLoraModel", "inputs": inputs}
    changed = session.run(nodes)["out"]
    merged = document()
    merged["nodes"]["unet"]["inputs"]["unet"] = "merged.safetensors"
    assert distance(changed, torch.tensor(session.run(merged)["out"].numpy())) < 1e-5
    path.with_name("merged.safetensors").unlink()
