"""Qwen-Image 2.1, end to end, beside diffusers' pipeline on the same weights, noise and sigmas."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize
from gguf_files import write_gguf
from PIL import Image as Picture
from safetensors.torch import load_file
from tiny_transformers import write

from latentloom.api import Session
from latentloom.engine.errors import NodeError
from latentloom.engine.events import NodeWarning
from latentloom.nodes.diffusion.noise import first_noise
from latentloom.nodes.families.qwen_image21_vae import DEVIATION, MEAN

PROMPT, NEGATIVE, SEED, STEPS, SIDE = "a red fox", "blurry and grey in a wood", 5, 4, 128


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(*, folder: bool = False, output: str = "sample", port: str = "latent", **sampler: Any) -> dict[str, Any]:
    """A workflow as a person makes it: split files or a folder, prompts, KSampler, decoded."""
    if folder:
        nodes = {"load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "folder"}}}
        model, clip, vae = (wire("load", part) for part in ("model", "clip", "vae"))
    else:
        model, clip, vae = wire("unet", "model"), wire("clip", "clip"), wire("vae", "vae")
        nodes = {
            "unet": {"type": "LoadUNet", "inputs": {"unet": "qwen_image_2.1.safetensors"}},
            "clip": {"type": "LoadCLIP", "inputs": {"text_encoder": "qwen3vl_8b.safetensors", "model": model}},
            "vae": {"type": "LoadVAE", "inputs": {"vae": "qwen_image_2.1_vae.safetensors", "model": model}},
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
        "decode": {"type": "VAEDecode", "inputs": {"vae": vae, "latent": wire("sample", "latent")}},
    }
    outputs = [{"name": "out", "from": wire(output, port)}]
    return {"format": "latentloom/1", "name": "qwen", "nodes": nodes, "outputs": outputs}


@pytest.fixture(autouse=True)
def picture(tmp_path: Path) -> torch.Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Picture.fromarray(pixels).save(tmp_path / "picture.png")
    return torch.from_numpy(pixels).float() / 255


def distance(found: Any, expected: torch.Tensor) -> float:
    found = torch.tensor(found.numpy())
    return float((found - expected).norm() / expected.norm())


def of_channels(numbers: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(numbers).view(1, 64, 1, 1)


def unscaled(tokens: torch.Tensor) -> torch.Tensor:
    """The latent of a pipeline's tokens, as the VAE gives it."""
    return tokens.transpose(1, 2).unflatten(2, (SIDE // 16, -1)) * of_channels(DEVIATION) + of_channels(MEAN)


def noise() -> torch.Tensor:
    return first_noise((1, 64, SIDE // 16, SIDE // 16), SEED)


def expected(pipe: Any, cfg: float, prompt: str = PROMPT, **call: Any) -> torch.Tensor:
    given = {"latents": noise().flatten(2).transpose(1, 2), "num_inference_steps": STEPS, "output_type": "latent"}
    size = {"height": SIDE, "width": SIDE}
    with torch.no_grad():
        found = pipe(prompt, negative_prompt=NEGATIVE, true_cfg_scale=cfg, **size, **{**given, **call}).images
    return unscaled(found)


@pytest.mark.parametrize("folder", [False, True], ids=["split files", "folder"])
@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_the_whole_workflow_is_the_pipeline(session: Session, pipe: Any, folder: bool, cfg: float) -> None:
    latent = expected(pipe, cfg)
    nodes = document(folder=folder, cfg=cfg)
    nodes["outputs"].append({"name": "pixels", "from": wire("decode", "image")})
    heard: list[Any] = []
    found = session.run(nodes, on_event=heard.append)
    assert distance(found["out"], latent) < 1e-5
    with torch.no_grad():
        pixels = (pipe.vae.decode(latent[:, :, None]).sample[:, :, 0] / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    assert found["pixels"].shape == (1, SIDE, SIDE, 4)
    assert distance(found["pixels"], pixels) < 1e-5
    assert [event for event in heard if isinstance(event, NodeWarning) and event.code == "not_used"] == []


def test_an_empty_prompt_is_read_as_the_pipeline_reads_it(session: Session, pipe: Any) -> None:
    nodes = document()
    nodes["nodes"]["positive"]["inputs"]["text"] = ""
    assert distance(session.run(nodes)["out"], expected(pipe, 1.0, "")) < 1e-5


def test_image_to_image_starts_from_the_pipelines_latent(session: Session, pipe: Any, picture: torch.Tensor) -> None:
    """diffusers has no such pipeline: its sigmas from the middle on, and the latent that they start with."""
    opaque = torch.nn.functional.pad(picture.movedim(-1, 0)[None] * 2 - 1, (0, 0, 0, 0, 0, 1), value=1.0)
    with torch.no_grad():
        mean = pipe.vae.encode(opaque[:, :, None]).latent_dist.mean[:, :, 0]
    assert distance(session.run(document(output="encode"))["out"], mean) < 1e-5
    scaled, levels = (mean - of_channels(MEAN)) / of_channels(DEVIATION), type(pipe.scheduler)(**pipe.scheduler.config)
    levels.set_timesteps(sigmas=np.linspace(1, 1 / 8, 8), mu=0.5 + (64 - 256) * 0.4 / (8192 - 256))
    x = noise() * levels.sigmas[4] + scaled * (1 - levels.sigmas[4])
    prompt, _, mask = pipe.encode_prompt(PROMPT)
    for sigma, after in zip(levels.sigmas[4:-1], levels.sigmas[5:], strict=True):
        with torch.no_grad():
            v = pipe.transformer(
                x.flatten(2).transpose(1, 2),
                prompt,
                sigma[None],
                [[(1, 8, 8)]],
                torch.cat([mask, torch.ones(1, 16, dtype=torch.bool)], 1),
                return_dict=False,
            )[0][:, -64:]
        x = x + (after - sigma) * v.transpose(1, 2).unflatten(2, (8, 8))
    found = session.run(document(latent=wire("encode", "latent"), denoise=0.5))["out"]
    assert distance(found, x * of_channels(DEVIATION) + of_channels(MEAN)) < 1e-5


def test_inpainting_keeps_what_is_not_masked_and_paints_the_rest(session: Session) -> None:
    nodes = document(latent=wire("masked", "latent"), denoise=0.8, cfg=3.0)
    nodes["outputs"].append({"name": "before", "from": wire("encode", "latent")})
    run = session.run(nodes)
    found, before = run["out"].numpy(), run["before"].numpy()
    assert np.array_equal(found[..., 4:], before[..., 4:])
    assert np.abs(found[..., :4] - before[..., :4]).min() > 0


def test_sides_that_are_no_multiple_of_32_keep_their_size(session: Session) -> None:
    odd = document(cfg=3.0)
    odd["nodes"]["empty"]["inputs"] |= {"width": 144, "height": 112}
    assert session.run(odd)["out"].shape == (1, 64, 7, 9)


def problem(session: Session, nodes: dict[str, Any]) -> Any:
    with pytest.raises(NodeError) as caught:
        session.run(nodes)
    return caught.value.problem


def test_sides_that_are_no_multiple_of_a_cell_are_refused(session: Session) -> None:
    nodes = document()
    nodes["nodes"]["empty"]["inputs"] |= {"width": 136, "height": 128}
    found = problem(session, nodes)
    assert found.message == "KSampler: the sides of the picture are no multiples of 16"
    assert (found.expected, found.got) == ("144x128", "136x128")


def test_the_vae_of_qwen_image_is_refused(session: Session, qwen_models: Path) -> None:
    state = {"decoder.middle.0.residual.0.gamma": torch.zeros(8, 1, 1, 1), "conv2.weight": torch.zeros(16, 16, 1, 1, 1)}
    place = write(state, qwen_models / "vae" / "wan.safetensors")
    nodes = document(output="decode", port="image")
    nodes["nodes"]["vae"]["inputs"]["vae"] = place.name
    found = problem(session, nodes)
    place.unlink()
    assert found.message == "LoadVAE: the VAE 'wan.safetensors' does not fit 'qwen_image_2.1.safetensors'"
    expected = "the VAE of Qwen-Image 2.1 (qwen_image_2.1_vae_bf16.safetensors) (64 channels)"
    assert (found.expected, found.got) == (expected, "16 channels of Qwen-Image and Wan")
    assert session.engine.figures()["model_loads"] == 0


def reader(session: Session, folder: Path, change: Any) -> Any:
    """The problem of a text encoder that is changed."""
    state = load_file(folder / "text_encoders" / "qwen3vl_8b.safetensors")
    change(state)
    place = write(state, folder / "text_encoders" / "other.safetensors")
    nodes = document()
    nodes["nodes"]["clip"]["inputs"]["text_encoder"] = place.name
    try:
        return problem(session, nodes)
    finally:
        place.unlink()


def test_a_qwen3_without_a_vision_tower_is_refused(session: Session, qwen_models: Path) -> None:
    def blind(state: dict[str, torch.Tensor]) -> None:
        for name in [name for name in state if name.startswith("visual.")]:
            del state[name]

    found = reader(session, qwen_models, blind)
    assert found.message == "LoadCLIP: 'other.safetensors' is not a text encoder of Qwen-Image 2.1"
    assert (found.expected, found.got) == ("Qwen3-VL-8B", "Qwen3")


def test_a_text_encoder_of_another_width_is_refused_before_anything_is_loaded(
    session: Session, qwen_models: Path
) -> None:
    def narrow(state: dict[str, torch.Tensor]) -> None:
        state["model.embed_tokens.weight"] = torch.zeros(300, 32)

    found = reader(session, qwen_models, narrow)
    assert found.message == ("LoadCLIP: the text encoder 'other.safetensors' does not fit 'qwen_image_2.1.safetensors'")
    assert (found.expected, found.got) == ("Qwen3-VL-8B (64 wide)", "one 32 wide")
    assert session.engine.figures()["model_loads"] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("proj_out.weight"), "LoadUNet: 'bad.safetensors' is only a part of Qwen-Image 2.1"),
        (
            lambda state: state.pop("transformer_blocks.1.attn.to_q.weight"),
            "KSampler: the Qwen-Image 2.1 of 'bad.safetensors' lacks weights",
        ),
        (
            lambda state: state.update({"modulation.1.weight": torch.zeros(8, 8)}),
            "KSampler: the Qwen-Image 2.1 of 'bad.safetensors' has a weight of a different shape, "
            "'modulation.1.weight'",
        ),
    ],
    ids=["half a network", "a layer", "a shape"],
)
def test_bad_networks_are_told(session: Session, qwen_models: Path, change: Any, message: str) -> None:
    state = load_file(qwen_models / "diffusion_models" / "qwen_image_2.1.safetensors")
    change(state)
    place = write(state, qwen_models / "diffusion_models" / "bad.safetensors")
    nodes = document()
    nodes["nodes"]["unet"]["inputs"]["unet"] = place.name
    found = problem(session, nodes)
    place.unlink()
    assert found.message == message


def test_a_truncated_file_and_an_encoder_in_the_networks_place_are_told(session: Session, qwen_models: Path) -> None:
    nodes, whole = document(), qwen_models / "diffusion_models" / "qwen_image_2.1.safetensors"
    short = whole.with_name("short.safetensors")
    short.write_bytes(whole.read_bytes()[:-100])
    nodes["nodes"]["unet"]["inputs"]["unet"] = short.name
    assert problem(session, nodes).message == "LoadUNet: 'short.safetensors' ends early"
    short.unlink()
    other = whole.with_name("encoder.safetensors")
    other.write_bytes((qwen_models / "text_encoders" / "qwen3vl_8b.safetensors").read_bytes())
    nodes["nodes"]["unet"]["inputs"]["unet"] = other.name
    found = problem(session, nodes)
    other.unlink()
    assert found.message == "LoadUNet: 'encoder.safetensors' has no UNet"


def test_a_lora_of_the_fused_layer_changes_both_of_its_parts(session: Session, qwen_models: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    down, up = torch.randn(2, 64, generator=generator), torch.randn(384, 2, generator=generator)
    name = "diffusion_model.transformer_blocks.0.img_mlp.gate_up"
    lora = write(
        {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}, qwen_models / "loras" / "fused.safetensors"
    )
    nodes = document(model=wire("lora", "model"))
    nodes["nodes"]["lora"] = {"type": "LoadLoraModel", "inputs": {"model": wire("unet", "model"), "lora": lora.name}}
    changed = session.run(nodes)["out"].numpy()
    path = qwen_models / "diffusion_models" / "qwen_image_2.1.safetensors"
    state = load_file(path)
    state["transformer_blocks.0.img_mlp.gate_up.weight"] += up @ down
    write(state, path.with_name("fused.safetensors"))
    merged = document()
    merged["nodes"]["unet"]["inputs"]["unet"] = "fused.safetensors"
    known = torch.tensor(session.run(merged)["out"].numpy())
    path.with_name("fused.safetensors").unlink()
    assert float((torch.tensor(changed) - known).norm() / known.norm()) < 1e-5


@pytest.mark.parametrize("kind", ["fp8", "Q8_0"])
def test_packed_weights_give_what_the_decoded_ones_give(session: Session, qwen_models: Path, kind: str) -> None:
    folder = qwen_models / "diffusion_models"
    state = load_file(folder / "qwen_image_2.1.safetensors")
    if kind == "fp8":
        packed = {n: tensor.to(torch.float8_e4m3fn) for n, tensor in state.items() if "transformer_blocks" in n}
        decoded = {name: tensor.float() for name, tensor in packed.items()}
        write({**state, **packed}, folder / "packed.safetensors")
    else:
        wide = {n: tensor.numpy() for n, tensor in state.items() if tensor.ndim == 2 and tensor.shape[1] % 32 == 0}
        decoded = {n: torch.from_numpy(dequantize(quantize(w, Type.Q8_0), Type.Q8_0)) for n, w in wide.items()}
        write_gguf(folder / "packed.gguf", state, "Q8_0")
    write({**state, **decoded}, folder / "decoded.safetensors")
    found = []
    for name in (next(folder.glob("packed.*")).name, "decoded.safetensors"):
        nodes = document(steps=1)
        nodes["nodes"]["unet"]["inputs"]["unet"] = name
        found.append(session.run(nodes)["out"].numpy())
        (folder / name).unlink()
    assert np.array_equal(*found)
