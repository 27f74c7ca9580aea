"""Editing with Qwen-Image 2.1 beside diffusers' pipeline on the same weights, pictures, noise and sigmas."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from safetensors.torch import load_file
from tiny_transformers import write

from latentloom.api import Session
from latentloom.engine.errors import NodeError
from latentloom.nodes.diffusion.noise import first_noise
from latentloom.nodes.families.qwen_image21_vae import DEVIATION, MEAN

PROMPT, NEGATIVE, SEED, STEPS, SIDE = "make the fox red", "grey", 5, 2, 128
SIZES = {"tall": (512, 2048), "square": (1024, 1024)}  # as the template scales to
NETWORK = "qwen_image_2.1.safetensors"


def wire(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def document(*pictures: str, output: str = "sample", port: str = "latent", **encode: Any) -> dict[str, Any]:
    """An editing workflow: the text encoder and the model get each picture."""
    clip, vae, model = wire("clip", "clip"), wire("vae", "vae"), wire("unet", "model")
    nodes: dict[str, Any] = {
        "unet": {"type": "LoadUNet", "inputs": {"unet": NETWORK}},
        "clip": {"type": "LoadCLIP", "inputs": {"text_encoder": "qwen3vl_8b.safetensors", "model": model}},
        "vae": {"type": "LoadVAE", "inputs": {"vae": "qwen_image_2.1_vae.safetensors", "model": model}},
        "empty": {"type": "EmptyLatent", "inputs": {"width": SIDE, "height": SIDE}},
    }
    for name in pictures:
        nodes[name] = {"type": "LoadImage", "inputs": {"image": f"{name}.png"}}
    shown = {"clip": clip, "pictures": [wire(name, "image") for name in pictures], "vae": vae, **encode}
    for side, text in (("positive", PROMPT), ("negative", NEGATIVE)):
        nodes[side] = {"type": "CLIPEncodePictures", "inputs": {**shown, "text": text}}
    sampler = {"seed": SEED, "steps": STEPS, "cfg": 1.0, "sampler": "euler", "schedule": "simple", "model": model}
    sampler |= {"latent": wire("empty", "latent")}
    sampler |= {side: wire(side, "conditioning") for side in ("positive", "negative")}
    nodes["sample"] = {"type": "KSampler", "inputs": sampler}
    return {
        "format": "latentloom/1",
        "name": "edit",
        "nodes": nodes,
        "outputs": [{"name": "out", "from": wire(output, port)}],
    }


@pytest.fixture(autouse=True)
def pictures(tmp_path: Path) -> dict[str, Picture.Image]:
    drawn = np.random.default_rng(0)
    found = {n: Picture.fromarray(drawn.integers(0, 256, (h, w, 3), np.uint8)) for n, (w, h) in SIZES.items()}
    for name, picture in found.items():
        picture.save(tmp_path / f"{name}.png")
    return found


def distance(found: Any, expected: torch.Tensor) -> float:
    found = torch.tensor(found.numpy())
    return float((found - expected).norm() / expected.norm())


def edited(pipe: Any, images: list[Picture.Image], cfg: float) -> torch.Tensor:
    """The latent of the pipeline, as the VAE gives it."""
    noise = first_noise((1, 64, SIDE // 16, SIDE // 16), SEED)
    with torch.no_grad():
        tokens = pipe(
            PROMPT,
            images,
            negative_prompt=NEGATIVE,
            true_cfg_scale=cfg,
            height=SIDE,
            width=SIDE,
            num_inference_steps=STEPS,
            latents=noise.flatten(2).transpose(1, 2),
            output_type="latent",
        ).images
    mean, deviation = (torch.tensor(numbers).view(1, 64, 1, 1) for numbers in (MEAN, DEVIATION))
    return tokens.transpose(1, 2).unflatten(2, (SIDE // 16, -1)) * deviation + mean


def test_a_prompt_with_pictures_is_read_as_the_pipeline_reads_it(
    session: Session, pipe: Any, pictures: dict[str, Picture.Image]
) -> None:
    with torch.no_grad():
        known, _, slots = pipe.encode_prompt(PROMPT, [pictures["tall"], pictures["square"]])
    nodes = document("tall", "square", output="positive", port="conditioning")
    for side in ("positive", "negative"):
        del nodes["nodes"][side]["inputs"]["vae"]
    (entry,) = session.run(nodes)["out"].entries
    assert distance(entry.embedding, known) < 1e-5
    assert np.array_equal(entry.arrays["picture_slots"].numpy(), slots.numpy())
    assert slots.sum() == 2 * 1024


@pytest.mark.full  # pictures of a megapixel go through the VAE and the network
@pytest.mark.parametrize(("names", "cfg"), [(["tall", "square"], 1.0), (["square"], 4.0)])
def test_editing_is_the_pipelines(
    session: Session, pipe: Any, pictures: dict[str, Picture.Image], names: list[str], cfg: float
) -> None:
    nodes = document(*names)
    nodes["nodes"]["sample"]["inputs"]["cfg"] = cfg
    assert distance(session.run(nodes)["out"], edited(pipe, [pictures[name] for name in names], cfg)) < 1e-5


def problem(session: Session, nodes: dict[str, Any]) -> Any:
    with pytest.raises(NodeError) as caught:
        session.run(nodes)
    return caught.value.problem


def test_a_picture_that_the_prompt_was_not_read_with_is_refused(session: Session) -> None:
    nodes = document()
    for side in ("positive", "negative"):
        nodes["nodes"][side] = {"type": "CLIPEncode", "inputs": {"clip": wire("clip", "clip"), "text": PROMPT}}
    shown = {"conditioning": wire("positive", "conditioning"), "latent": wire("empty", "latent")}
    nodes["nodes"]["shown"] = {"type": "ReferenceLatent", "inputs": shown}
    nodes["nodes"]["empty"]["inputs"]["width"] = 64
    nodes["nodes"]["load"] = {"type": "EmptyLatent", "inputs": {"width": SIDE, "height": SIDE}}
    nodes["nodes"]["sample"]["inputs"] |= {"positive": wire("shown", "conditioning"), "latent": wire("load", "latent")}
    nodes["nodes"]["shown"]["inputs"]["latent"] = wire("encode", "latent")
    Picture.new("RGB", (64, 128)).save(Path(session.engine.settings.input) / "small.png")
    nodes["nodes"]["small"] = {"type": "LoadImage", "inputs": {"image": "small.png"}}
    nodes["nodes"]["encode"] = {
        "type": "VAEEncode",
        "inputs": {"vae": wire("vae", "vae"), "image": wire("small", "image")},
    }
    found = problem(session, nodes)
    assert found.message == "KSampler: the reference pictures are not those that the prompt was read with"
    assert (found.expected, found.got) == ("pictures of 0 cells for the 0 tokens of pictures in the prompt", "4x8")


def test_the_first_template_of_qwen_image_is_refused(session: Session) -> None:
    found = problem(session, document("tall", template="edit"))
    assert found.message == "CLIPEncodePictures: the template 'edit' is not for this text encoder"
    assert (found.expected, found.got) == ("'edit-plus'", "'edit'")


def test_a_vision_tower_that_lacks_a_weight_is_named(session: Session, qwen_models: Path) -> None:
    place = qwen_models / "text_encoders" / "half.safetensors"
    state = load_file(qwen_models / "text_encoders" / "qwen3vl_8b.safetensors")
    write({name: tensor for name, tensor in state.items() if name != "visual.merger.linear_fc1.bias"}, place)
    nodes = document("tall")
    nodes["nodes"]["clip"]["inputs"]["text_encoder"] = place.name
    found = problem(session, nodes)
    place.unlink()
    assert found.message == "CLIPEncodePictures: the vision tower of 'half.safetensors' lacks weights"
    assert found.got.endswith("the first that is missing is 'visual.merger.linear_fc1.bias'")
