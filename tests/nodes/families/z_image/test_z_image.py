"""Z-Image, end to end, beside diffusers' pipeline on the same weights, noise and sigmas."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from safetensors.torch import load_file, save_file

from latentloom.api import Session
from latentloom.engine.errors import NodeError
from latentloom.engine.events import NodeWarning
from latentloom.nodes.diffusion.noise import first_noise

PROMPT, NEGATIVE, SEED, STEPS, SIDE = "a red fox", "blurry and grey in a wood", 5, 4, 128


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(*, folder: bool = False, output: str = "sample", port: str = "latent", **sampler: Any) -> dict[str, Any]:
    """A workflow as a person makes it: split files or a folder, prompts, KSampler, decoded."""
    if folder:
        loaders = {"load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "z"}}}
        model, clip, vae = (wire("load", part) for part in ("model", "clip", "vae"))
    else:
        model, clip, vae = wire("unet", "model"), wire("clip", "clip"), wire("vae", "vae")
        loaders = {
            "unet": {"type": "LoadUNet", "inputs": {"unet": "z.safetensors"}},
            "clip": {"type": "LoadCLIP", "inputs": {"text_encoder": "qwen.safetensors", "model": model}},
            "vae": {"type": "LoadVAE", "inputs": {"vae": "ae.safetensors"}},
        }
    inputs = {
        "model": model,
        "positive": wire("positive", "conditioning"),
        "negative": wire("negative", "conditioning"),
        "latent": wire("empty", "latent"),
        "seed": SEED,
        "steps": STEPS,
        "cfg": 1.0,
        "sampler": "euler",
        "schedule": "simple",
    }
    nodes = {
        **loaders,
        "positive": {"type": "CLIPEncode", "inputs": {"clip": clip, "text": PROMPT}},
        "negative": {"type": "CLIPEncode", "inputs": {"clip": clip, "text": NEGATIVE}},
        "empty": {"type": "EmptyLatent", "inputs": {"width": SIDE, "height": SIDE}},
        "picture": {"type": "LoadImage", "inputs": {"image": "picture.png"}},
        "encode": {"type": "VAEEncode", "inputs": {"vae": vae, "image": wire("picture", "image")}},
        "mask": {
            "type": "MaskRectangle",
            "inputs": {"width": SIDE, "height": SIDE, "box_width": 64, "box_height": 128},
        },
        "masked": {
            "type": "SetLatentMask",
            "inputs": {"latent": wire("encode", "latent"), "mask": wire("mask", "mask")},
        },
        "sample": {"type": "KSampler", "inputs": {**inputs, **sampler}},
        "decode": {"type": "VAEDecode", "inputs": {"vae": vae, "latent": wire("sample", "latent")}},
    }
    outputs = [{"name": "out", "from": wire(output, port)}]
    return {"format": "latentloom/1", "name": "z", "nodes": nodes, "outputs": outputs}


@pytest.fixture(autouse=True)
def picture(tmp_path: Path) -> torch.Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Picture.fromarray(pixels).save(tmp_path / "picture.png")
    return torch.from_numpy(pixels).float() / 255


def distance(found: Any, expected: torch.Tensor) -> float:
    found = torch.as_tensor(found.numpy())
    return float((found - expected).norm() / expected.norm())


def unscaled(pipe: Any, latent: torch.Tensor) -> torch.Tensor:
    return latent / pipe.vae.config.scaling_factor + pipe.vae.config.shift_factor


def expected(pipe: Any, guidance: float, **call: Any) -> torch.Tensor:
    noise = first_noise((1, 16, SIDE // 8, SIDE // 8), SEED)
    with torch.no_grad():
        found: torch.Tensor = pipe(
            PROMPT,
            negative_prompt=NEGATIVE,
            guidance_scale=guidance,
            num_inference_steps=STEPS,
            height=SIDE,
            width=SIDE,
            **{"latents": noise, "output_type": "latent", **call},
        ).images
    return found


@pytest.mark.parametrize("folder", [False, True], ids=["split files", "folder"])
@pytest.mark.parametrize("guidance", [0.0, 3.0])
def test_the_whole_workflow_is_the_pipeline(session: Session, pipe: Any, folder: bool, guidance: float) -> None:
    latent = unscaled(pipe, expected(pipe, guidance))
    found = session.run(document(folder=folder, cfg=1 + guidance))
    assert distance(found["out"], latent) < 1e-5
    with torch.no_grad():
        pixels = (pipe.vae.decode(latent).sample / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    decoded = session.run(document(folder=folder, cfg=1 + guidance, output="decode", port="image"))
    assert distance(decoded["out"], pixels) < 1e-5


def encoded(pipe: Any, picture: torch.Tensor) -> torch.Tensor:
    """The picture's latent, scaled."""
    with torch.no_grad():
        mean = pipe.vae.encode(picture.movedim(-1, 0)[None] * 2 - 1).latent_dist.mean
    return (mean - pipe.vae.config.shift_factor) * pipe.vae.config.scaling_factor


def stepped(pipe: Any, start: torch.Tensor, guidance: float, sigmas: list[float]) -> torch.Tensor:
    """Euler's steps with the pipeline's own network and prompts, from a noised latent."""
    with torch.no_grad():
        positive, negative = (
            pipe.encode_prompt(text, do_classifier_free_guidance=False)[0] for text in (PROMPT, NEGATIVE)
        )
        x = start
        for high, low in pairwise(sigmas):
            time = torch.tensor([1 - high])
            v, w = (
                -pipe.transformer([x[0][:, None]], time, p, return_dict=False)[0][0][:, 0][None]
                for p in (positive, negative)
            )
            x = x + (v + guidance * (v - w)) * (low - high)
    return x


def sigmas(count: int) -> list[float]:
    grid = [1 - n / (2 * count) for n in range(2 * count)]
    return [*(3 * t / (1 + 2 * t) for t in grid), 0.0][count:]


@pytest.mark.parametrize("guidance", [0.0, 3.0])
def test_image_to_image_starts_between_noise_and_picture(
    session: Session, pipe: Any, picture: torch.Tensor, guidance: float
) -> None:
    levels, latent = sigmas(STEPS), encoded(pipe, picture)
    noise = first_noise(latent.shape, SEED)
    start = latent * (1 - levels[0]) + noise * levels[0]
    wanted = unscaled(pipe, stepped(pipe, start, guidance, levels))
    found = session.run(document(latent=wire("encode", "latent"), denoise=0.5, cfg=1 + guidance))["out"]
    assert distance(found, wanted) < 1e-5


def test_inpainting_keeps_what_is_not_masked_and_paints_the_rest(session: Session) -> None:
    before = session.run(document(output="encode"))["out"].numpy()
    found = session.run(document(latent=wire("masked", "latent"), denoise=0.8))["out"].numpy()
    assert np.array_equal(found[..., 8:], before[..., 8:])
    assert np.abs(found[..., :8] - before[..., :8]).min() > 0


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2m_sde", "uni_pc", "lcm"])
def test_every_kind_of_sampler_runs_and_item_i_is_seed_plus_i(session: Session, sampler: str) -> None:
    wide = document(sampler=sampler)
    wide["nodes"]["empty"]["inputs"]["batch"] = 2
    both = session.run(wide)["out"].numpy()
    alone = session.run(document(sampler=sampler, seed=SEED + 1))["out"].numpy()
    assert np.abs(both[1] - alone[0]).max() < 1e-3 * np.abs(alone).max()


def test_sides_that_are_no_multiple_of_a_token_keep_their_size(session: Session) -> None:
    odd = document()
    odd["nodes"]["empty"]["inputs"] |= {"width": 136, "height": 120}
    assert session.run(odd)["out"].shape == (1, 16, 15, 17)


def problem(session: Session, nodes: dict[str, Any]) -> Any:
    with pytest.raises(NodeError) as caught:
        session.run(nodes)
    return caught.value.problem


def test_a_text_encoder_of_another_width_is_refused_before_anything_is_loaded(session: Session, z_models: Path) -> None:
    place = z_models / "text_encoders" / "wide.safetensors"
    state = load_file(z_models / "text_encoders" / "qwen.safetensors")
    save_file({**state, "model.embed_tokens.weight": torch.zeros(300, 64)}, place)
    nodes = document()
    nodes["nodes"]["clip"]["inputs"]["text_encoder"] = place.name
    found = problem(session, nodes)
    assert found.message == "LoadCLIP: the text encoder 'wide.safetensors' does not fit 'z.safetensors'"
    assert (found.expected, found.got) == ("Qwen3-4B (48 wide)", "one 64 wide")
    assert session.engine.figures()["model_loads"] == 0


def test_a_missing_tokenizer_is_told_with_where_to_put_it(session: Session, z_models: Path) -> None:
    tokenizer = z_models / "text_encoders" / "tokenizer"
    tokenizer.rename(z_models / "away")
    try:
        found = problem(session, document())
    finally:
        (z_models / "away").rename(tokenizer)
    assert found.message == "LoadCLIP: 'qwen.safetensors' has no tokenizer"
    assert "qwen25_tokenizer" in found.expected


def test_a_single_file_says_which_parts_it_lacks_and_where_they_go(session: Session, z_models: Path) -> None:
    place = z_models / "checkpoints" / "alone.safetensors"
    place.symlink_to(z_models / "diffusion_models" / "z.safetensors")
    nodes = document(folder=True)
    nodes["nodes"]["load"]["inputs"]["checkpoint"] = place.name
    found = problem(session, nodes)
    place.unlink()
    assert found.message == "'alone.safetensors' has no text encoder"
    assert found.hint == "LoadCLIP loads one, Qwen3-4B, from a file in models/clip (ComfyUI: text_encoders)"


def test_what_changes_the_inside_of_a_unet_is_refused(session: Session) -> None:
    nodes = document(model=wire("freeu", "model"))
    nodes["nodes"]["freeu"] = {"type": "FreeU", "inputs": {"model": wire("unet", "model")}}
    assert "'freeu' works on the layers of a UNet" in problem(session, nodes).message


@pytest.mark.parametrize("schedule", ["karras", "exponential"])
def test_a_schedule_for_other_models_gives_a_warning_that_names_better_ones(session: Session, schedule: str) -> None:
    heard: list[Any] = []
    session.run(document(schedule=schedule), on_event=heard.append)
    (warning,) = [event for event in heard if isinstance(event, NodeWarning) and event.code == "schedule_for_flow"]
    assert f"'{schedule}'" in warning.message
    assert "'simple'" in warning.message


def test_weights_that_overflow_are_an_error_that_names_the_step(session: Session, z_models: Path) -> None:
    place = z_models / "diffusion_models" / "large.safetensors"
    state = load_file(z_models / "diffusion_models" / "z.safetensors")
    state["final_layer.linear.weight"] = torch.full_like(state["final_layer.linear.weight"], 3e38)
    save_file(state, place)
    nodes = document()
    nodes["nodes"]["unet"]["inputs"]["unet"] = place.name
    found = problem(session, nodes)
    assert "numbers that are not finite, at step 1 of 4" in found.message
    assert found.node == "sample"


def test_what_overflows_in_float16_computes_in_float32(session: Session, z_models: Path) -> None:
    state = load_file(z_models / "text_encoders" / "qwen.safetensors")
    state["model.layers.0.mlp.down_proj.weight"] *= 1e6
    save_file(state, z_models / "text_encoders" / "wide.safetensors")
    wide = document(steps=1)
    wide["nodes"]["clip"]["inputs"]["text_encoder"] = "wide.safetensors"
    expected = torch.tensor(session.run(wide)["out"].numpy())

    with Session(session.settings.model_copy(update={"dtype": "fp16"})) as narrow:
        found = torch.tensor(narrow.run(wide)["out"].numpy())

    assert torch.equal(found, expected)


def test_a_lora_that_fits_in_part_changes_the_picture_and_is_counted(session: Session, z_models: Path) -> None:
    names = ["layers.0.attention.to_q", "layers.1.attention.to_k", "layers.1.attention.unheard_of"]
    (z_models / "loras").mkdir(exist_ok=True)
    factors = {
        f"diffusion_model.{name}.lora_{part}.weight": torch.randn(shape)
        for name in names
        for part, shape in (("A", (2, 64)), ("B", (64, 2)))
    }
    save_file(factors, z_models / "loras" / "z.safetensors")
    nodes = document(model=wire("lora", "model"))
    inputs = {"model": wire("unet", "model"), "lora": "z.safetensors"}
    nodes["nodes"]["lora"] = {"type": "LoadLoraModel", "inputs": inputs}
    first = "'diffusion_model.layers.1.attention.unheard_of.lora_A.weight'"
    heard: list[Any] = []
    session.run(nodes, on_event=heard.append)
    (warning,) = [event for event in heard if isinstance(event, NodeWarning) and event.code == "not_used"]
    assert warning.message == f"2 of 6 tensors of z.safetensors are not used, e.g. {first}"
    found, plain = session.run(nodes)["out"].numpy(), session.run(document())["out"].numpy()
    assert np.abs(found - plain).max() > 1e-3
