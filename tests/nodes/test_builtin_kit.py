"""The built-in nodes keep to what the test kit asks of anyone's."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
from PIL import Image as Pil
from tiny_transformers import chat_tokenizer, prefixed, qwen2_5_vl_config, qwen2_5_vl_file, randomised, write
from transformers import Qwen2_5_VLForConditionalGeneration, SiglipVisionConfig, SiglipVisionModel

from latentloom.api import Session
from latentloom.engine import Array, ClipVision, Cond, Conditioning, ControlNet, Image, Model
from latentloom.engine.settings import load_settings
from latentloom.nodes.families.lora.value import Lora
from latentloom.nodes.learning.dataset import Dataset, Item
from latentloom.plugins.testing import Bench, bounds, cancel, docs, keeping, mutation, process, purity


def loading(checkpoint: str) -> dict[str, Any]:
    return {
        "format": "latentloom/1",
        "nodes": {"load": {"type": "LoadCheckpoint", "inputs": {"checkpoint": checkpoint}}},
        "outputs": [{"name": name, "from": {"node": "load", "output": name}} for name in ("model", "clip", "vae")],
    }


READER = {
    "format": "latentloom/1",
    "nodes": {
        "load": {"type": "LoadCLIP", "inputs": {"text_encoder": "qwen.safetensors"}},
        "eyes": {"type": "LoadCLIPVision", "inputs": {"clip_vision": "siglip.safetensors"}},
    },
    "outputs": [
        {"name": "clip", "from": {"node": "load", "output": "clip"}},
        {"name": "clip_vision", "from": {"node": "eyes", "output": "clip_vision"}},
    ],
}
SDXL = "sdxl_tiny.safetensors"
BY_NAME = {
    "Calculate": {"expression": "2 * 3"},
    "FormatText": {"template": "a text"},
    "ImagesToDataset": {"captions": ["a caption"]},
    "TrainLora": {"start_from": None},
    "JsonText": {"text": '{"a": 1}', "key": "a"},
    "LoadCLIP": {"second": None, "third": None},
    "ImageCrop": {"width": 4, "height": 4},
    "LatentCrop": {"width": 8, "height": 8},
    "SetShift": {"model": Model("z_image", [], {"prediction": "flow", "shift": {"shift": 3.0}})},
    "MaskCrop": {"width": 4, "height": 4},
    "MaskFromAlpha": {"image": Image(np.full((1, 4, 4, 4), 0.5))},
    "InpaintStitch": {"region": {"x": 0, "y": 0, "width": 4, "height": 4}},
    "SampleCustom": {"sigmas": [2.0, 1.0, 0.0]},
    "SplitSigmas": {"sigmas": [2.0, 1.0, 0.0], "step": 1},
}

SOURCES = {
    "lora": "models/loras",
    "controlnet": "models/controlnet",
    "upscaler": "models/upscale_models",
    "adapter": "models/ipadapter",
    "clip_vision": "models/clip_vision",
}


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The models folder of two encoders that see pictures, and what their nodes take of them."""
    folder, tokenizer = tmp_path_factory.mktemp("reader") / "models", chat_tokenizer()
    model = randomised(Qwen2_5_VLForConditionalGeneration(qwen2_5_vl_config(128, tokenizer)), 0.05)
    write(qwen2_5_vl_file(model), folder / "clip" / "qwen.safetensors")
    tokenizer.save_pretrained(folder / "clip" / "tokenizer")
    sizes = {"hidden_size": 64, "intermediate_size": 96, "image_size": 28, "patch_size": 14}
    config = SiglipVisionConfig(**sizes, num_hidden_layers=1, num_attention_heads=1)
    eyes = prefixed("vision_model.", SiglipVisionModel(config).state_dict())
    write(eyes, folder / "clip_vision" / "siglip.safetensors")
    write(ReduxImageEncoder(64, 32).state_dict(), folder / "style_models" / "redux.safetensors")
    settings = load_settings({"models": [folder], "device": "cpu"}, {"LATENTLOOM_HOME": str(folder.parent)})
    with Session(settings) as made:
        style = made.engine.catalog.identify("models/style_models", "redux.safetensors")
        return folder, {**made.run(READER).outputs, "style_model": style}


@pytest.fixture
def bench(
    session: Session,
    families: Session,
    tiny_models: Path,
    random_models: Path,
    tmp_path: Path,
    readers: tuple[Path, dict[str, Any]],
) -> Bench:
    """The built-in nodes with small inputs, and the tiny checkpoint for those that take a model."""
    loaded = session.run(loading("tiny")).outputs
    sdxl = families.run(loading(SDXL), outputs=["clip"]).outputs["clip"]
    by_kind = {value.kind: value for value in loaded.values()}
    by_kind["CONDITIONING"] = Conditioning([Cond(Array(np.zeros((1, 77, 32))))])
    by_kind["MODEL_FILE"] = session.engine.catalog.identify("models/checkpoints", "tiny")
    by_port = {name: session.engine.catalog.identify(source, "tiny.safetensors") for name, source in SOURCES.items()}
    by_kind["CONTROLNET"] = ControlNet("controlnet", [by_port["controlnet"].identity], {"component": "controlnet"})
    (tmp_path / "table.csv").write_text("text,n\na cat,1\n")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Pil.new("RGB", (64, 64), "red").save(pictures / "a.png")
    folder = session.engine.catalog.identify("datasets", session.engine.catalog.store(pictures))
    factors = {"lora_down.weight": np.ones((2, 16)), "lora_up.weight": np.ones((16, 2))}
    layer = "lora_unet_mid_block_attentions_0_proj_in"
    by_kind["LORA"] = Lora({f"{layer}.{name}": Array(factor) for name, factor in factors.items()}, {})
    by_kind["DATASET"] = Dataset([Item(np.full((64, 64, 3), n * 80, np.uint8), f"grey {n}") for n in range(3)])
    table = session.engine.catalog.identify("input", session.engine.catalog.store(tmp_path / "table.csv"))
    eyes = {"component": "clip_vision", "width": 64, "projection": 48, "side": 32}
    by_kind["CLIP_VISION"] = ClipVision("clip_vision", [by_port["clip_vision"].identity], eyes)
    samples = {
        node.spec.type: {
            **{
                port.name: [by_kind[port.kind]] if port.is_list else by_kind[port.kind]
                for port in node.spec.inputs
                if port.kind in by_kind
            },
            **{port.name: 2 for port in node.spec.inputs if port.name == "steps"},
            **BY_NAME.get(node.spec.type, {}),
            **({"file": table, "column": "n"} if node.spec.type == "TableColumn" else {}),
            **({"folder": folder, "caption": "red"} if node.spec.type == "LoadDataset" else {}),
            **({"clip": sdxl} if node.spec.type == "CLIPEncodeSDXL" else {}),
            **({"clip": readers[1]["clip"], "vae": None} if node.spec.type == "CLIPEncodePictures" else {}),
            **{
                port.name: by_port[port.name]
                for port in node.spec.inputs
                if port.kind == "MODEL_FILE" and port.name in by_port
            },
            **(
                {name: readers[1][name] for name in ("clip_vision", "style_model")}
                if node.spec.type == "ApplyStyleModel"
                else {}
            ),
        }
        for node in session.engine.registry.nodes.values()
    }
    return _bench(samples, tmp_path / "bench", tiny_models, random_models / "checkpoints" / SDXL, readers[0])


def _bench(samples: dict[str, dict[str, Any]], folder: Path, models: Path, more: Path, readers: Path) -> Bench:
    shutil.copytree(models, folder / "models", copy_function=os.link)
    os.link(more, folder / "models" / "checkpoints" / more.name)
    shutil.copytree(readers, folder / "models", copy_function=os.link, dirs_exist_ok=True)
    return Bench("builtin", samples, folder)


def test_numbers_have_bounds(bench):
    free = "Float: input 'value' has no bounds; write Field(ge=..., le=...)"  # any finite number, that is its point

    assert list(bounds(bench)) == [free]


def test_everything_is_documented(bench):
    assert list(docs(bench)) == []


@pytest.mark.parametrize("check", [purity, mutation, process, cancel, keeping])
def test_nodes_behave(bench, check):
    assert list(check(bench)) == []
