"""Flux.1, end to end, beside diffusers' pipeline on the same weights, noise and sigmas."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxImg2ImgPipeline, FluxPipeline
from PIL import Image as Picture
from safetensors.torch import load_file, save_file

from latentloom.api import Session
from latentloom.engine.errors import NodeError
from latentloom.engine.events import NodeWarning
from latentloom.nodes.diffusion.noise import first_noise

PROMPT, NEGATIVE, SEED, STEPS, SIDE = "a red fox, by the lake", "blurry and grey in a wood", 5, 4, 128


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def loaders(files: str) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Nodes that load a model, and where its model, CLIP and VAE come from."""
    if files not in ("dev", "schnell"):
        nodes = {"load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": files}}}
        return nodes, [wire("load", part) for part in ("model", "clip", "vae")]
    nodes = {
        "unet": {"type": "LoadUNet", "inputs": {"unet": f"{files}.safetensors"}},
        "clip": {
            "type": "LoadCLIP",
            "inputs": {
                "text_encoder": "t5xxl.safetensors",
                "second": "clip_l.safetensors",
                "model": wire("unet", "model"),
            },
        },
        "vae": {"type": "LoadVAE", "inputs": {"vae": "ae.safetensors", "model": wire("unet", "model")}},
    }
    return nodes, [wire("unet", "model"), wire("clip", "clip"), wire("vae", "vae")]


def document(files: str = "dev", *, output: str = "sample", port: str = "latent", **sampler: Any) -> dict[str, Any]:
    """A workflow as a person makes it: files, prompts, KSampler, decoded."""
    nodes, (model, clip, vae) = loaders(files)
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
    nodes |= {
        "positive": {"type": "CLIPEncode", "inputs": {"clip": clip, "text": PROMPT}},
        "negative": {"type": "CLIPEncode", "inputs": {"clip": clip, "text": NEGATIVE}},
        "guided": {
            "type": "EmbeddedGuidance",
            "inputs": {"conditioning": wire("positive", "conditioning"), "guidance": 2.0},
        },
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
    return {
        "format": "latentloom/1",
        "name": "flux",
        "nodes": nodes,
        "outputs": [{"name": "out", "from": wire(output, port)}],
    }


@pytest.fixture(autouse=True)
def picture(tmp_path: Path) -> torch.Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Picture.fromarray(pixels).save(tmp_path / "picture.png")
    return torch.from_numpy(pixels).float() / 255


def distance(found: Any, expected: torch.Tensor) -> float:
    found = torch.tensor(found.numpy())
    return float((found - expected).norm() / expected.norm())


def noise() -> torch.Tensor:
    return first_noise((1, 16, SIDE // 8, SIDE // 8), SEED)


def expected(pipe: FluxPipeline, cfg: float = 1.0, guidance: float = 3.5, **call: Any) -> torch.Tensor:
    """The unscaled latent that the pipeline ends with."""
    side = SIDE // 8
    latents = FluxPipeline._pack_latents(noise(), 1, 16, side, side)
    with torch.no_grad():
        found = pipe(
            PROMPT,
            negative_prompt=NEGATIVE,
            true_cfg_scale=cfg,
            guidance_scale=guidance,
            **{"latents": latents, "num_inference_steps": STEPS, "output_type": "latent", **call},
            height=SIDE,
            width=SIDE,
        ).images
    found = FluxPipeline._unpack_latents(found, SIDE, SIDE, 8)
    return found / pipe.vae.config.scaling_factor + pipe.vae.config.shift_factor


@pytest.mark.parametrize("files", ["dev", "whole.safetensors", "folder"])
@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_the_whole_workflow_is_the_pipeline(session: Session, pipe: FluxPipeline, files: str, cfg: float) -> None:
    latent = expected(pipe, cfg)
    assert distance(session.run(document(files, cfg=cfg))["out"], latent) < 1e-5
    with torch.no_grad():
        pixels = (pipe.vae.decode(latent).sample / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    decoded = session.run(document(files, cfg=cfg, output="decode", port="image"))
    assert distance(decoded["out"], pixels) < 1e-5


def test_the_guidance_that_dev_is_told_is_the_nodes(session: Session, pipe: FluxPipeline) -> None:
    found = session.run(document(positive=wire("guided", "conditioning")))["out"]
    assert distance(found, expected(pipe, guidance=2.0)) < 1e-5
    assert distance(found, expected(pipe, guidance=3.5)) > 1e-3


def test_image_to_image_is_the_pipelines(session: Session, pipe: FluxPipeline, picture: torch.Tensor) -> None:
    """The pipeline starts later in the same schedule; it draws the noise itself, so it is given the latent."""
    made = FluxImg2ImgPipeline(**pipe.components)
    made.set_progress_bar_config(disable=True)
    with torch.no_grad():
        mean = pipe.vae.encode(picture.movedim(-1, 0)[None] * 2 - 1).latent_dist.mean
    scaled = (mean - pipe.vae.config.shift_factor) * pipe.vae.config.scaling_factor
    made.scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 8, 8), mu=mu(64))
    start = made.scheduler.sigmas[4]
    packed = FluxPipeline._pack_latents(noise() * start + scaled * (1 - start), 1, 16, SIDE // 8, SIDE // 8)
    with torch.no_grad():
        found = made(
            PROMPT,
            negative_prompt=NEGATIVE,
            true_cfg_scale=2.0,
            guidance_scale=3.5,
            image=picture.movedim(-1, 0)[None],
            strength=0.5,
            num_inference_steps=8,
            height=SIDE,
            width=SIDE,
            latents=packed,
            output_type="latent",
        ).images
    latent = FluxPipeline._unpack_latents(found, SIDE, SIDE, 8) / pipe.vae.config.scaling_factor
    latent = latent + pipe.vae.config.shift_factor
    assert distance(session.run(document(latent=wire("encode", "latent"), denoise=0.5, cfg=2.0))["out"], latent) < 1e-5


def mu(tokens: int) -> float:
    return 0.5 + (tokens - 256) * (1.15 - 0.5) / (4096 - 256)


def test_inpainting_keeps_what_is_not_masked_and_paints_the_rest(session: Session) -> None:
    before = session.run(document(output="encode"))["out"].numpy()
    found = session.run(document(latent=wire("masked", "latent"), denoise=0.8))["out"].numpy()
    assert np.array_equal(found[..., 8:], before[..., 8:])
    assert np.abs(found[..., :8] - before[..., :8]).min() > 0


def test_a_second_run_comes_from_the_cache(session: Session) -> None:
    first = session.run(document())["out"].numpy()
    loads = session.engine.figures()["model_loads"]
    assert np.array_equal(session.run(document())["out"].numpy(), first)
    assert session.engine.figures()["model_loads"] == loads


def told(session: Session, nodes: dict[str, Any], code: str) -> list[str]:
    heard: list[Any] = []
    session.run(nodes, on_event=heard.append)
    return [event.message for event in heard if isinstance(event, NodeWarning) and event.code == code]


def test_schnell_is_told_no_guidance_and_warns_of_one(session: Session, pipe: FluxPipeline) -> None:
    guided = document("schnell", positive=wire("guided", "conditioning"))
    (warning,) = told(session, guided, "guidance_not_told")
    assert warning.startswith("'schnell.safetensors' has no guidance input")
    plain = document("schnell")
    assert told(session, plain, "guidance_not_told") == told(session, plain, "not_used") == []
    assert np.array_equal(session.run(guided)["out"].numpy(), session.run(plain)["out"].numpy())


def test_weights_of_words_change_the_text_and_a_plain_prompt_is_plain(session: Session) -> None:
    def read(text: str, **more: str) -> Any:
        nodes = document(output="positive", port="conditioning")
        nodes["nodes"]["positive"]["inputs"] |= {"text": text, **more}
        return session.run(nodes)["out"].entries[0]

    plain, weighed = read("a red fox"), read("a (red:1.4) fox")
    assert plain.embedding.shape == (1, 512, 48)
    assert np.abs(plain.embedding.numpy() - weighed.embedding.numpy())[:, :8].max() > 1e-3
    assert np.array_equal(read("a (red:1) fox", grammar="comfyui").embedding.numpy(), plain.embedding.numpy())
    assert np.abs(read("a (red:1.4) fox", grammar="comfyui").embedding.numpy() - plain.embedding.numpy()).max() > 1e-3


def problem(session: Session, nodes: dict[str, Any]) -> Any:
    with pytest.raises(NodeError) as caught:
        session.run(nodes)
    return caught.value.problem


def test_a_prompt_that_t5_cannot_take_is_refused_with_counts(session: Session) -> None:
    nodes = document("schnell")
    nodes["nodes"]["positive"]["inputs"]["text"] = "fox " * 400
    found = problem(session, nodes)
    assert (found.message, found.expected) == ("CLIPEncode: the prompt is too long for T5", "at most 255 tokens")


def with_texts(texts: list[str], model: str = "dev") -> dict[str, Any]:
    nodes = document(model)
    names = dict(zip(("text_encoder", "second", "third"), texts, strict=False))
    nodes["nodes"]["clip"]["inputs"] = {**names, "model": wire("unet", "model")}
    return nodes


def test_a_text_encoder_that_is_missing_is_told_by_its_name_and_place(session: Session) -> None:
    found = problem(session, with_texts(["t5xxl.safetensors"]))
    assert found.message == "LoadCLIP: Flux.1 needs a text encoder that is missing: CLIP-L"
    assert (found.expected, found.got) == ("CLIP-L and T5-XXL", "T5 in 't5xxl.safetensors'")
    assert "models/clip (ComfyUI: text_encoders)" in found.hint
    assert session.engine.figures()["model_loads"] == 0


def test_two_files_of_the_same_encoder_are_refused(session: Session, flux_models: Path) -> None:
    copy = flux_models / "text_encoders" / "again.safetensors"
    copy.write_bytes((flux_models / "text_encoders" / "t5xxl.safetensors").read_bytes())
    found = problem(session, with_texts(["t5xxl.safetensors", "again.safetensors"]))
    copy.unlink()
    assert found.message == "LoadCLIP: 't5xxl.safetensors' and 'again.safetensors' are the same text encoder"


@pytest.mark.parametrize(
    ("file", "change", "expected", "got"),
    [
        ("t5xxl", ("shared.weight", (100, 64)), "CLIP-L and T5-XXL (48 wide)", "one 64 wide"),
        (
            "clip_l",
            ("text_model.embeddings.token_embedding.weight", (49408, 16)),
            "CLIP-L and T5-XXL (32 wide where it is pooled)",
            "one 16 wide where it is pooled",
        ),
    ],
)
def test_a_text_encoder_of_another_width_is_refused_before_anything_is_loaded(
    session: Session, flux_models: Path, file: str, change: tuple[str, tuple[int, ...]], expected: str, got: str
) -> None:
    place = flux_models / "text_encoders" / "wide.safetensors"
    state = load_file(flux_models / "text_encoders" / f"{file}.safetensors")
    save_file({**state, change[0]: torch.zeros(change[1])}, place)
    other = {"t5xxl": "clip_l", "clip_l": "t5xxl"}[file]
    found = problem(session, with_texts([place.name, f"{other}.safetensors"]))
    place.unlink()
    assert found.message.startswith("LoadCLIP: the text encoder 'wide.safetensors'")
    assert (found.expected, found.got) == (expected, got)
    assert session.engine.figures()["model_loads"] == 0


def test_umt5_is_no_t5(session: Session, flux_models: Path) -> None:
    place = flux_models / "text_encoders" / "umt5.safetensors"
    state = load_file(flux_models / "text_encoders" / "t5xxl.safetensors")
    bias = "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias.weight"
    save_file({**state, bias.format(1): state[bias.format(0)].clone()}, place)
    found = problem(session, with_texts([place.name, "clip_l.safetensors"]))
    place.unlink()
    assert found.message == "LoadCLIP: 'umt5.safetensors' is not a text encoder of Flux.1"
    assert found.got == "UMT5"


def test_t5_alone_asks_for_the_model_that_it_is_read_for(session: Session) -> None:
    nodes = document()
    nodes["nodes"]["clip"]["inputs"] = {"text_encoder": "t5xxl.safetensors"}
    found = problem(session, nodes)
    assert "use such text encoders in different ways" in found.message
    assert "LoadCLIP's `model`" in found.expected


def test_clip_and_t5_need_no_model_to_be_read_as_fluxs(session: Session, pipe: FluxPipeline) -> None:
    nodes = document()
    del nodes["nodes"]["clip"]["inputs"]["model"]
    assert distance(session.run(nodes)["out"], expected(pipe)) < 1e-5


def test_a_missing_tokenizer_is_told_with_where_to_put_it(session: Session, flux_models: Path) -> None:
    tokenizer = flux_models / "text_encoders" / "t5_tokenizer"
    tokenizer.rename(flux_models / "away")
    try:
        found = problem(session, document())
    finally:
        (flux_models / "away").rename(tokenizer)
    assert found.message == "LoadCLIP: 't5xxl.safetensors' has no tokenizer"
    assert "spiece.model" in found.expected
    assert "'t5_tokenizer'" in found.expected


def test_a_single_file_says_which_parts_it_lacks_and_where_they_go(session: Session, flux_models: Path) -> None:
    place = flux_models / "checkpoints" / "alone.safetensors"
    place.symlink_to(flux_models / "diffusion_models" / "dev.safetensors")
    found = problem(session, document(place.name))
    place.unlink()
    assert found.message == "'alone.safetensors' has no text encoder"
    place = "from a file in models/clip (ComfyUI: text_encoders)"
    assert found.hint == f"LoadCLIP loads one, CLIP-L and T5-XXL, {place}"


def test_a_checkpoint_without_a_tokenizer_still_gives_its_other_parts(session: Session, flux_models: Path) -> None:
    tokenizer = flux_models / "checkpoints" / "t5_tokenizer"
    tokenizer.rename(flux_models / "away")
    try:
        decoded = session.run(document("whole.safetensors", output="encode"))["out"]
        found = problem(session, document("whole.safetensors"))
    finally:
        (flux_models / "away").rename(tokenizer)
    assert decoded.shape == (1, 16, 16, 16)
    assert found.message == "'whole.safetensors' has no tokenizer"
    assert "'t5_tokenizer'" in found.hint


def test_the_vae_of_another_model_is_refused_before_sampling(session: Session, flux_models: Path) -> None:
    place = flux_models / "vae" / "four.safetensors"
    state = load_file(flux_models / "vae" / "ae.safetensors")
    weight = state["decoder.conv_in.weight"]
    save_file({**state, "decoder.conv_in.weight": weight[:, :4].contiguous()}, place)
    nodes = document(output="decode", port="image")
    nodes["nodes"]["vae"]["inputs"]["vae"] = place.name
    found = problem(session, nodes)
    assert found.message == "LoadVAE: the VAE 'four.safetensors' does not fit 'dev.safetensors'"
    assert (found.expected, found.got) == ("the VAE of Flux.1 (ae.safetensors) (16 channels)", "4 channels")
    assert session.engine.figures()["model_loads"] == 0
    del nodes["nodes"]["vae"]["inputs"]["model"]
    late = problem(session, nodes)
    place.unlink()
    assert late.message == "VAEDecode: the VAE 'four.safetensors' does not fit the latent"


def test_a_lora_of_clip_changes_the_prompt(session: Session, flux_models: Path) -> None:
    layer = "lora_te1_text_model_encoder_layers_0_mlp_fc1"
    (flux_models / "loras").mkdir(exist_ok=True)
    factors = {f"{layer}.lora_down.weight": torch.randn(2, 32), f"{layer}.lora_up.weight": torch.randn(64, 2)}
    factors |= {"diffusion_model.proj_out.lora_A.weight": torch.randn(2, 64)}
    factors |= {"diffusion_model.proj_out.lora_B.weight": torch.randn(64, 2)}
    save_file(factors, flux_models / "loras" / "clip.safetensors")
    nodes = document(output="positive", port="conditioning")
    inputs = {"model": wire("unet", "model"), "clip": wire("clip", "clip"), "lora": "clip.safetensors"}
    nodes["nodes"]["lora"] = {"type": "LoadLora", "inputs": inputs}
    plain = session.run(nodes)["out"].entries[0]
    nodes["nodes"]["positive"]["inputs"]["clip"] = wire("lora", "clip")
    found = session.run(nodes)["out"].entries[0]
    assert np.array_equal(found.embedding.numpy(), plain.embedding.numpy())
    assert np.abs(found.arrays["pooled"].numpy() - plain.arrays["pooled"].numpy()).max() > 1e-4


def test_a_lora_of_the_last_norm_is_the_same_for_a_file_and_a_folder(session: Session, flux_models: Path) -> None:
    """The file has the norm's shift first, diffusers its scale."""
    torch.manual_seed(2)
    (flux_models / "loras").mkdir(exist_ok=True)
    factors = {"down": torch.randn(2, 64), "up": torch.randn(128, 2)}
    state = {f"diffusion_model.norm_out.linear.lora_{name}.weight": factor for name, factor in factors.items()}
    save_file(state, flux_models / "loras" / "norm.safetensors")
    found = []
    for files, source in (("dev", "unet"), ("folder", "load")):
        nodes = document(files, model=wire("lora", "model"))
        inputs = {"model": wire(source, "model"), "lora": "norm.safetensors"}
        nodes["nodes"]["lora"] = {"type": "LoadLoraModel", "inputs": inputs}
        found.append(torch.tensor(session.run(nodes)["out"].numpy()))
    assert distance(session.run(document())["out"], found[1]) > 1e-2
    assert float((found[0] - found[1]).norm() / found[1].norm()) < 1e-5


def test_tensors_that_nothing_uses_are_counted(session: Session, flux_models: Path) -> None:
    place = flux_models / "diffusion_models" / "more.safetensors"
    state = load_file(flux_models / "diffusion_models" / "dev.safetensors")
    save_file({**state, "unheard_of.weight": torch.zeros(2)}, place)
    nodes = document()
    nodes["nodes"]["unet"]["inputs"]["unet"] = place.name
    (warning,) = told(session, nodes, "not_used")
    place.unlink()
    assert f"1 of {len(state) + 1} tensors of more.safetensors is not used, e.g. 'unheard_of.weight'" in warning
