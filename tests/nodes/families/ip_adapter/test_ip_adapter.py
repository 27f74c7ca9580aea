"""IP-Adapters: the same numbers as diffusers, where and when a picture counts, and pieces that do not fit."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from pipelines import distance, document, expected, latent, pipeline, wire
from safetensors.torch import load_file, save_file
from shards import shard
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from latentloom.api import Session
from latentloom.engine.errors import FileError, NodeError
from latentloom.engine.settings import load_settings
from latentloom.engine.types import values
from latentloom.nodes.families.clip_vision.kind import ClipVisionKind, pixel_values
from latentloom.nodes.families.ip_adapter.kind import IPAdapterKind
from latentloom.training.random_checkpoint import write_checkpoint, write_clip_vision, write_ip_adapter

VISION = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 1}
ADAPTERS = {"plain": ("sd1_tiny", 48, False), "plus": ("sd1_tiny", 64, True), "xl": ("sdxl_tiny", 48, False)}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ip") / "models"
    for folder in ("checkpoints", "ipadapter", "clip_vision"):
        (root / folder).mkdir(parents=True)
    for recipe in ("sd1_tiny", "sdxl_tiny"):
        write_checkpoint(root / "checkpoints" / f"{recipe}.safetensors", recipe, dtype=torch.float32)
    for name, (recipe, image, plus) in ADAPTERS.items():
        write_ip_adapter(root / "ipadapter" / f"{name}.safetensors", recipe, image, plus=plus)
    write_clip_vision(root / "clip_vision" / "eyes.safetensors")
    write_clip_vision(root / "clip_vision" / "wide.safetensors", width=96, projection=80)
    return root


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (40, 48, 3), np.uint8)


@pytest.fixture
def session(tmp_path: Path, models: Path) -> Iterator[Session]:
    settings = {"models": [models], "device": "cpu", "dtype": "fp32", "input": tmp_path}
    for name, seed in (("a", 0), ("b", 1)):
        Image.fromarray(picture(seed)).save(tmp_path / f"{name}.png")
    half = np.zeros((64, 64), np.uint8)
    Image.fromarray(half).save(tmp_path / "none.png")
    half[:, :32] = 255
    Image.fromarray(half).save(tmp_path / "left.png")
    with Session(load_settings(settings, {"LATENTLOOM_HOME": str(tmp_path)})) as made:
        yield made


def seen(*looks: dict[str, Any], checkpoint: str = "sd1_tiny", eyes: str = "eyes", **sampler: Any) -> Any:
    """Text to image with IP-Adapters in a row."""
    nodes: dict[str, Any] = {"eyes": {"type": "LoadCLIPVision", "inputs": {"clip_vision": f"{eyes}.safetensors"}}}
    model = wire("load", "model")
    for n, look in enumerate(looks):
        inputs = {"adapter": "plain.safetensors", **look, "model": model, "clip_vision": wire("eyes", "clip_vision")}
        nodes[f"image{n}"] = {"type": "LoadImage", "inputs": {"image": inputs.get("image", "a.png")}}
        inputs["image"] = wire(f"image{n}", "image")
        if "mask" in look:
            nodes[f"mask{n}"] = {"type": "LoadMask", "inputs": {"image": look["mask"], "channel": "luminance"}}
            inputs["mask"] = wire(f"mask{n}", "mask")
        nodes[f"look{n}"] = {"type": "IPAdapter", "inputs": inputs}
        model = wire(f"look{n}", "model")
    return document(f"{checkpoint}.safetensors", nodes, model=model, **sampler)


def eyes(models: Path) -> Any:
    return ClipVisionKind().load([models / "clip_vision" / "eyes.safetensors"], {"component": "clip_vision"})


@torch.no_grad()
def test_a_picture_encoder_computes_what_transformers_computes(models: Path) -> None:
    known = CLIPVisionModelWithProjection(
        CLIPVisionConfig(**VISION, image_size=32, patch_size=8, projection_dim=48, hidden_act="gelu")
    )
    known.load_state_dict(load_file(models / "clip_vision" / "eyes.safetensors"))
    pixels = torch.rand(2, 3, 32, 32)
    assert distance(eyes(models)(pixels).image_embeds, known.eval()(pixels).image_embeds) < 1e-6


def test_a_picture_encoder_in_several_files_is_that_in_one(models: Path, tmp_path: Path) -> None:
    folder, kind, info = tmp_path / "image_encoder", ClipVisionKind(), {"component": "clip_vision"}
    folder.mkdir()
    shutil.copy(models / "clip_vision" / "eyes.safetensors", folder / "model.safetensors")
    (folder / "config.json").write_text('{"architectures": ["CLIPVisionModelWithProjection"], "hidden_act": "gelu"}')
    facts, known = kind.recognise(folder), kind.load([folder], info).state_dict()
    shard(folder / "model.safetensors")
    found = kind.load([folder], info).state_dict()
    assert facts is not None and kind.recognise(folder) == facts
    assert all(torch.equal(found[name], weight) for name, weight in known.items())
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileError, match="has only some of its weight files"):
        kind.load([folder], info)


@pytest.mark.parametrize(("size", "most"), [((80, 80), 0.02), ((96, 80), 0.2)])  # transformers crops whole pixels
def test_pictures_are_prepared_as_transformers_prepares_them(size: tuple[int, int], most: float) -> None:
    smooth = Image.fromarray(picture()).resize(size, Image.Resampling.BICUBIC)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    known = processor(smooth, return_tensors="pt").pixel_values
    found = pixel_values(values.Image(np.asarray(smooth, np.float32)[None] / 255), 32)
    assert found.shape == known.shape == (1, 3, 32, 32)
    assert float((found - known).abs().mean()) < most * float(known.std())


@pytest.mark.parametrize("name", ["plain", "plus"])
def test_a_trajectory_is_that_of_diffusers_pipeline(name: str, session: Session, models: Path) -> None:
    weights = load_file(models / "ipadapter" / f"{name}.safetensors")
    state = {
        part: {key.removeprefix(f"{part}."): weights[key] for key in weights if key.startswith(f"{part}.")}
        for part in ("image_proj", "ip_adapter")
    }
    pipe = pipeline(StableDiffusionPipeline, models / "checkpoints" / "sd1_tiny.safetensors", image_encoder=None)
    pipe.unet._load_ip_adapter_weights([state], low_cpu_mem_usage=False)
    pipe.set_ip_adapter_scale(0.7)
    pixels = pixel_values(values.Image(np.float32(picture())[None] / 255), 32)
    with torch.no_grad():
        if name == "plus":
            both = [eyes(models)(x, output_hidden_states=True).hidden_states[-2] for x in (pixels * 0, pixels)]
        else:
            embeds = eyes(models)(pixels).image_embeds
            both = [embeds * 0, embeds]
    known = expected(pipe, ip_adapter_image_embeds=[torch.stack(both)])
    found = latent(session, seen({"adapter": f"{name}.safetensors", "weight": 0.7}))
    assert distance(found, known) < 1e-4
    assert distance(latent(session, seen()), known) > 1e-2


def test_what_does_not_act_changes_no_bit(session: Session) -> None:
    plain = latent(session, seen())
    assert torch.equal(latent(session, seen({"weight": 0.0})), plain)
    assert torch.equal(latent(session, seen({"start": 0.5, "end": 0.5})), plain)
    assert distance(latent(session, seen({"mask": "none.png"})), plain) < 1e-6


def test_weight_start_end_mask_and_picture_matter(session: Session) -> None:
    whole = latent(session, seen({}))
    others = [{"weight": 0.5}, {"end": 0.5}, {"start": 0.5}, {"mask": "left.png"}, {"image": "b.png"}]
    assert min(distance(latent(session, seen(other)), whole) for other in others) > 1e-4
    assert torch.equal(latent(session, seen({"end": 0.5}, {"start": 0.5})), whole)


def test_several_add_up(session: Session) -> None:
    halves = latent(session, seen({"weight": 0.5}, {"weight": 0.5}))
    assert distance(halves, latent(session, seen({}))) < 1e-4


def test_it_goes_with_other_guidance_and_with_tiles(session: Session) -> None:
    def behind(type: str, **inputs: Any) -> torch.Tensor:
        nodes = seen({"mask": "left.png"})
        nodes["nodes"]["more"] = {"type": type, "inputs": {"model": wire("look0", "model"), **inputs}}
        nodes["nodes"]["sample"]["inputs"]["model"] = wire("more", "model")
        return latent(session, nodes)

    plain = latent(session, seen({"mask": "left.png"}))
    assert distance(behind("TiledDiffusion", tile=64, overlap=16), plain) < 1e-6
    assert distance(behind("PerturbedAttention", scale=0.0), plain) < 1e-5
    assert distance(behind("PerturbedAttention"), plain) > 1e-3


def test_the_negative_does_not_see_the_picture(session: Session) -> None:
    first, second = (latent(session, seen({"image": f"{name}.png"}, cfg=0.0)) for name in "ab")
    assert torch.equal(first, second)


def test_sdxl_sees_pictures_too(session: Session) -> None:
    plain = latent(session, seen(checkpoint="sdxl_tiny"))
    assert distance(latent(session, seen({"adapter": "xl.safetensors"}, checkpoint="sdxl_tiny")), plain) > 1e-3


# Misfits and bad files


def fault(session: Session, nodes: Any) -> Any:
    with pytest.raises(NodeError) as caught:
        session.run(nodes)
    return caught.value.problem


def test_an_adapter_of_another_family_is_refused_before_sampling_with_both_names(session: Session) -> None:
    problem = fault(session, seen({"adapter": "xl.safetensors"}))
    assert problem.message == "IPAdapter: the IP-Adapter 'xl.safetensors' does not fit 'sd1_tiny.safetensors'"
    assert (problem.expected, problem.got) == ("one for text embeddings 64 wide", "one for 192")


def test_a_picture_encoder_of_another_width_is_refused_with_both_names(session: Session) -> None:
    problem = fault(session, seen({}, eyes="wide"))
    assert problem.message == (
        "IPAdapter: the picture encoder 'wide.safetensors' does not fit the IP-Adapter 'plain.safetensors'"
    )
    assert (problem.expected, problem.got) == ("one whose embeddings are 48 wide", "80")


def test_files_of_another_kind_are_refused(session: Session, models: Path) -> None:
    for source, target in (("checkpoints/sd1_tiny", "ipadapter/sd1"), ("ipadapter/plain", "clip_vision/plain")):
        if not (models / f"{target}.safetensors").exists():
            os.link(models / f"{source}.safetensors", models / f"{target}.safetensors")
    problem = fault(session, seen({"adapter": "sd1.safetensors"}))
    assert problem.message == "IPAdapter: 'sd1.safetensors' is not a known IP-Adapter"
    assert problem.got == "SD 1.x checkpoint"
    problem = fault(session, seen({}, eyes="plain"))
    assert problem.message == "LoadCLIPVision: 'plain.safetensors' is not a known picture encoder"
    assert problem.got == "IP-Adapter"


NAME = "ip_adapter.3.to_v_ip.weight"
BAD = {
    "missing": (lambda w: w.pop(NAME), "lacks weights", f"11; the first that is missing is '{NAME}'"),
    "shape": (lambda w: w.update({NAME: torch.zeros(5, 64)}), "different shape", "(5, 64)"),
    "nan": (lambda w: w[NAME].fill_(torch.nan), "not finite", f"NaN or infinity in '{NAME}'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_damaged_file_is_refused(case: str, models: Path, tmp_path: Path) -> None:
    change, message, got = BAD[case]
    weights = load_file(models / "ipadapter" / "plain.safetensors")
    change(weights)
    save_file(weights, tmp_path / "m.safetensors")
    with pytest.raises(FileError) as caught:
        IPAdapterKind().load([tmp_path / "m.safetensors"], {"component": "ip_adapter"})
    assert message in caught.value.problem.message
    assert caught.value.problem.got == got


def test_a_file_that_ends_early_is_refused(models: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes((models / "ipadapter" / "plain.safetensors").read_bytes()[:-10])
    with pytest.raises(FileError, match="ends early"):
        IPAdapterKind().recognise(path)


def test_an_adapter_for_other_layers_is_refused_before_sampling(session: Session, models: Path) -> None:
    weights = load_file(models / "ipadapter" / "plain.safetensors")
    path = models / "ipadapter" / "short.safetensors"
    save_file({name: tensor for name, tensor in weights.items() if ".7." not in name}, path)
    try:
        problem = fault(session, seen({"adapter": "short.safetensors"}))
    finally:
        path.unlink()
    assert problem.message == "SampleCustom: the IP-Adapter 'short.safetensors' does not fit the model"
    assert (problem.expected, problem.got) == ("one for 4 layers of the widths [32, 64]", "one for 3 of [32]")
