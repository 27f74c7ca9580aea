"""Qwen-Image-Edit beside diffusers' pipelines on the same weights, pictures, noise and sigmas."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import QwenImageEditPipeline, QwenImageEditPlusPipeline, QwenImagePipeline
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus
from gguf_files import write_gguf
from mmproj import text_of, tower_of
from PIL import Image as Picture
from safetensors.torch import load_file
from tiny_transformers import write

from latentloom.api import Session
from latentloom.engine.errors import NodeError
from latentloom.engine.events import NodeWarning
from latentloom.nodes.diffusion.noise import first_noise

PROMPT, NEGATIVE, SEED, STEPS, SIDE = "make the fox red", "grey", 5, 2, 128
SIZES = {"tall": (224, 672), "wide": (672, 224), "large": (672, 1568)}  # as the templates scale to; whole tokens
SMALL = {"red": (64, 160), "blue": (160, 64)}  # of pictures of one colour, for the VAE


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(*pictures: str, output: str = "sample", port: str = "latent", **encode: Any) -> dict[str, Any]:
    """An editing workflow in which each picture has its own size: VAEEncode and ReferenceLatent for each."""
    clip, vae, model = wire("clip", "clip"), wire("vae", "vae"), wire("unet", "model")
    nodes: dict[str, Any] = {
        "unet": {"type": "LoadUNet", "inputs": {"unet": "qwen_image.safetensors"}},
        "clip": {"type": "LoadCLIP", "inputs": {"text_encoder": "qwen_2.5_vl_7b.safetensors", "model": model}},
        "vae": {"type": "LoadVAE", "inputs": {"vae": "qwen_image_vae.safetensors", "model": model}},
        "empty": {"type": "EmptyLatent", "inputs": {"width": SIDE, "height": SIDE}},
    }
    for name in pictures:
        nodes[name] = {"type": "LoadImage", "inputs": {"image": f"{name}.png"}}
        width, height = SMALL.get(name, (64, 64))
        scale = {"image": wire(name, "image"), "width": width, "height": height}
        nodes[f"small-{name}"] = {"type": "ImageScale", "inputs": scale}
        encoded = {"vae": vae, "image": wire(f"small-{name}", "image")}
        nodes[f"latent-{name}"] = {"type": "VAEEncode", "inputs": encoded}
    sampler = {"seed": SEED, "steps": STEPS, "cfg": 1.0, "sampler": "euler", "schedule": "simple"}
    for side, text in (("positive", PROMPT), ("negative", NEGATIVE)):
        inputs = {"clip": clip, "pictures": [wire(name, "image") for name in pictures], "text": text, **encode}
        nodes[side] = {"type": "CLIPEncodePictures", "inputs": inputs}
        last = wire(side, "conditioning")
        for name in () if "vae" in encode else pictures:
            shown = {"conditioning": last, "latent": wire(f"latent-{name}", "latent")}
            nodes[f"{side}-{name}"] = {"type": "ReferenceLatent", "inputs": shown}
            last = wire(f"{side}-{name}", "conditioning")
        sampler[side] = last
    nodes["sample"] = {"type": "KSampler", "inputs": {**sampler, "model": model, "latent": wire("empty", "latent")}}
    outputs = [{"name": "out", "from": wire(output, port)}]
    return {"format": "latentloom/1", "name": "edit", "nodes": nodes, "outputs": outputs}


@pytest.fixture(autouse=True)
def pictures(tmp_path: Path) -> dict[str, Picture.Image]:
    drawn = np.random.default_rng(0)
    found = {n: Picture.fromarray(drawn.integers(0, 256, (h, w, 3), np.uint8)) for n, (w, h) in SIZES.items()}
    found |= {"red": Picture.new("RGB", SIZES["tall"], "red"), "blue": Picture.new("RGB", SIZES["wide"], "blue")}
    for name, picture in found.items():
        picture.save(tmp_path / f"{name}.png")
    return found


def distance(found: Any, expected: torch.Tensor) -> float:
    found = torch.tensor(found.numpy())
    return float((found - expected).norm() / expected.norm())


def expected(cls: Any, pipe: Any, processor: Any, image: Any, cfg: float) -> torch.Tensor:
    """The latent of a pipeline, as the VAE gives it."""
    made = cls(**pipe.components, processor=processor)
    made.set_progress_bar_config(disable=True)
    noise = first_noise((1, 16, SIDE // 8, SIDE // 8), SEED)
    with torch.no_grad():
        tokens = made(
            image,
            PROMPT,
            negative_prompt=NEGATIVE,
            true_cfg_scale=cfg,
            height=SIDE,
            width=SIDE,
            num_inference_steps=STEPS,
            latents=QwenImagePipeline._pack_latents(noise, 1, 16, SIDE // 8, SIDE // 8),
            output_type="latent",
        ).images
    latent = QwenImagePipeline._unpack_latents(tokens, SIDE, SIDE, 8)[:, :, 0]
    mean, std = (torch.tensor(pipe.vae.config[name]).view(1, 16, 1, 1) for name in ("latents_mean", "latents_std"))
    return latent * std + mean


def told(pipe: Any, cls: Any, processor: Any, text: str, image: Any) -> torch.Tensor:
    with torch.no_grad():
        return cls(**pipe.components, processor=processor).encode_prompt(text, image)[0]


@pytest.mark.parametrize(
    ("cls", "template", "names"),
    [(QwenImageEditPlusPipeline, "edit-plus", ["tall", "wide"]), (QwenImageEditPipeline, "edit", ["large"])],
)
def test_prompts_with_pictures_are_read_as_the_pipelines_read_them(
    session: Session, pipe: Any, processor: Any, pictures: dict[str, Any], cls: Any, template: str, names: list[str]
) -> None:
    shown = [pictures[name] for name in names]
    known = told(pipe, cls, processor, PROMPT, shown if len(shown) > 1 else shown[0])
    nodes = document(*names, output="positive", port="conditioning", template=template)
    nodes["outputs"][0]["from"]["node"] = "positive"
    (entry,) = session.run(nodes)["out"].entries
    assert entry.embedding.shape[1] > sum(w // 28 * (h // 28) for w, h in (SIZES[name] for name in names))
    assert distance(entry.embedding, known) < 1e-5


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_pictures_of_different_sizes_are_those_of_the_pipeline(
    session: Session,
    pipe: Any,
    processor: Any,
    pictures: dict[str, Picture.Image],
    cfg: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline_qwenimage_edit_plus, "VAE_IMAGE_SIZE", 96 * 96)
    latent = expected(QwenImageEditPlusPipeline, pipe, processor, [pictures["red"], pictures["blue"]], cfg)
    nodes = document("red", "blue")
    nodes["nodes"]["sample"]["inputs"]["cfg"] = cfg
    assert distance(session.run(nodes)["out"], latent) < 1e-5


@pytest.mark.full  # a picture of a megapixel goes through the VAE
def test_one_picture_and_the_vae_are_the_first_pipeline(
    session: Session, pipe: Any, processor: Any, pictures: dict[str, Picture.Image]
) -> None:
    latent = expected(QwenImageEditPipeline, pipe, processor, pictures["large"], 4.0)
    nodes = document("large", template="edit", vae=wire("vae", "vae"))
    nodes["nodes"]["sample"]["inputs"]["cfg"] = 4.0
    assert distance(session.run(nodes)["out"], latent) < 1e-5


def problem(session: Session, nodes: dict[str, Any]) -> Any:
    with pytest.raises(NodeError) as caught:
        session.run(nodes)
    return caught.value.problem


def test_the_order_of_pictures_counts(session: Session) -> None:
    first, second = (session.run(document(*names))["out"].numpy() for names in (("red", "blue"), ("blue", "red")))
    assert not np.allclose(first, second)


def test_a_text_encoder_without_its_vision_tower_is_refused_before_anything_is_loaded(
    session: Session, qwen_models: Path
) -> None:
    place = qwen_models / "text_encoders" / "blind.safetensors"
    state = load_file(qwen_models / "text_encoders" / "qwen_2.5_vl_7b.safetensors")
    write({name: tensor for name, tensor in state.items() if not name.startswith("visual.")}, place)
    nodes = document("red")
    nodes["nodes"]["clip"]["inputs"]["text_encoder"] = place.name
    found = problem(session, nodes)
    place.unlink()
    assert found.message == "CLIPEncodePictures: the text encoder 'blind.safetensors' does not support images"
    assert found.expected == "a Qwen2.5-VL or Qwen3-VL with its vision tower (tensors 'visual.*')"
    assert found.got == "'qwen2_5_vl' without one"
    assert session.engine.figures()["model_loads"] == 0


def test_a_vision_tower_in_a_file_of_its_own_sees_the_same(session: Session, qwen_models: Path) -> None:
    folder = qwen_models / "text_encoders"
    state = load_file(folder / "qwen_2.5_vl_7b.safetensors")
    write_gguf(folder / "text.gguf", text_of(state), architecture="qwen2vl")
    write_gguf(folder / "mmproj.gguf", tower_of(state, split=True), architecture="clip")
    nodes = document("tall", output="positive", port="conditioning")
    (known,) = session.run(nodes)["out"].entries
    nodes["nodes"]["clip"]["inputs"] |= {"text_encoder": "text.gguf", "second": "mmproj.gguf"}
    (found,) = session.run(nodes)["out"].entries
    for name in ("text.gguf", "mmproj.gguf"):
        (folder / name).unlink()
    assert np.array_equal(found.embedding.numpy(), known.embedding.numpy())


def test_a_vision_tower_that_lacks_a_weight_is_named(session: Session, qwen_models: Path) -> None:
    place = qwen_models / "text_encoders" / "half.safetensors"
    state = load_file(qwen_models / "text_encoders" / "qwen_2.5_vl_7b.safetensors")
    write({name: tensor for name, tensor in state.items() if name != "visual.merger.mlp.0.bias"}, place)
    nodes = document("red")
    nodes["nodes"]["clip"]["inputs"]["text_encoder"] = place.name
    found = problem(session, nodes)
    place.unlink()
    assert found.message == "CLIPEncodePictures: the vision tower of 'half.safetensors' lacks weights"
    assert found.got.endswith("the first that is missing is 'visual.merger.mlp.0.bias'")


def test_the_clip_of_another_family_sees_no_pictures(session: Session) -> None:
    nodes = document("red")
    nodes["nodes"]["clip"] = {"type": "LoadCheckpoint", "inputs": {"checkpoint": "shapes"}}
    found = problem(session, nodes)
    assert found.message.endswith("does not support images")
    assert found.got == "'l'"


def test_the_first_template_takes_one_picture(session: Session) -> None:
    found = problem(session, document("red", "blue", template="edit"))
    assert found.message == "CLIPEncodePictures: the template 'edit' supports fewer images"
    assert (found.expected, found.got) == ("at most 1", "2")


def test_a_prompt_cannot_stand_for_a_picture(session: Session) -> None:
    found = problem(session, document("red", text="a <|image_pad|> fox"))
    assert (
        found.message
        == "CLIPEncodePictures: the prompt contains '<|image_pad|>', which is the placeholder of a picture"
    )


def test_a_picture_that_is_a_line_is_refused(session: Session, tmp_path: Path) -> None:
    Picture.new("RGB", (1, 1000)).save(tmp_path / "red.png")
    found = problem(session, document("red"))
    assert found.message == "CLIPEncodePictures: the picture is too long and narrow for the vision tower"
    assert found.got == "1x1000"


def test_transparency_is_white_for_the_text_encoder(session: Session, tmp_path: Path) -> None:
    nodes = document("red", output="positive", port="conditioning")
    found = []
    for mode, colour in (("RGBA", (9, 9, 9, 0)), ("RGB", (255, 255, 255))):
        Picture.new(mode, SIZES["tall"], colour).save(tmp_path / "red.png")
        found.append(session.run(nodes)["out"].entries[0].embedding.numpy())
    assert np.array_equal(*found)


def test_the_edit_model_of_2511_modulates_references_without_noise(
    session: Session, pipe: Any, processor: Any, pictures: dict[str, Any], qwen_models: Path, monkeypatch: Any
) -> None:
    place = qwen_models / "diffusion_models" / "edit2511.safetensors"
    state = {**pipe.transformer.state_dict(), "__index_timestep_zero__": torch.zeros(0)}
    write(state, place)
    monkeypatch.setattr(pipeline_qwenimage_edit_plus, "VAE_IMAGE_SIZE", 96 * 96)
    transformer = type(pipe.transformer)(**{**pipe.transformer.config, "zero_cond_t": True}).eval()
    transformer.load_state_dict(pipe.transformer.state_dict())
    parts = {**pipe.components, "transformer": transformer}
    made = type("Parts", (), {"components": parts, "vae": pipe.vae})
    latent = expected(QwenImageEditPlusPipeline, made, processor, [pictures["red"]], 1.0)
    nodes, heard = document("red"), list[Any]()
    nodes["nodes"]["unet"]["inputs"]["unet"] = place.name
    found = session.run(nodes, on_event=heard.append)["out"]
    assert distance(found, latent) < 1e-5
    assert distance(session.run(document("red"))["out"], latent) > 1e-3
    assert [event for event in heard if isinstance(event, NodeWarning) and event.code == "not_used"] == []
    assert (session.engine.recognise(place) or ("", {}))[1]["about"] == "Qwen-Image-Edit 2511"
    place.unlink()
