"""Vision towers in files of their own, with llama.cpp's names: the same embeddings as from the encoder's own file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf_files import write_gguf
from mmproj import text_of, tower_of
from PIL import Image as Picture
from safetensors.torch import load_file
from tiny_transformers import write

from latentloom.api import Session
from latentloom.engine.errors import NodeError
from latentloom.nodes.families.module_loading import Weights

PROMPT = "make the fox red"


@pytest.fixture
def texts(qwen_models: Path) -> Iterator[Path]:
    """The folder of text encoders, with a Qwen3-VL in two GGUF files."""
    folder = qwen_models / "text_encoders"
    state = load_file(folder / "qwen3vl_8b.safetensors")
    made = [folder / "text.gguf", folder / "mmproj.gguf"]
    write_gguf(made[0], text_of(state), architecture="qwen3")
    write_gguf(made[1], tower_of(state, deep=[0]), architecture="clip")
    yield folder
    for path in made:
        path.unlink()


def document(*encoders: str) -> dict[str, Any]:
    names = dict(zip(("text_encoder", "second"), encoders, strict=False))
    model = {"node": "unet", "output": "model"}
    nodes = {
        "unet": {"type": "LoadUNet", "inputs": {"unet": "qwen_image_2.1.safetensors"}},
        "clip": {"type": "LoadCLIP", "inputs": {**names, "model": model}},
        "picture": {"type": "LoadImage", "inputs": {"image": "picture.png"}},
        "read": {
            "type": "CLIPEncodePictures",
            "inputs": {
                "clip": {"node": "clip", "output": "clip"},
                "pictures": [{"node": "picture", "output": "image"}],
                "text": PROMPT,
            },
        },
    }
    outputs = [{"name": "out", "from": {"node": "read", "output": "conditioning"}}]
    return {"format": "latentloom/1", "name": "mmproj", "nodes": nodes, "outputs": outputs}


@pytest.fixture(autouse=True)
def picture(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Picture.fromarray(pixels).save(tmp_path / "picture.png")


def problem(session: Session, *encoders: str) -> Any:
    with pytest.raises(NodeError) as caught:
        session.run(document(*encoders))
    return caught.value.problem


@pytest.mark.usefixtures("texts")
def test_a_qwen3_with_a_vision_tower_is_the_qwen3_vl(session: Session) -> None:
    (known,) = session.run(document("qwen3vl_8b.safetensors"))["out"].entries
    for encoders in (("text.gguf", "mmproj.gguf"), ("mmproj.gguf", "text.gguf")):
        (found,) = session.run(document(*encoders))["out"].entries
        assert np.array_equal(found.embedding.numpy(), known.embedding.numpy())


@pytest.mark.parametrize("split", [False, True], ids=["fused", "split"])
def test_a_vision_tower_in_q8_0_sees_as_its_numbers_do(session: Session, texts: Path, split: bool) -> None:
    tower = tower_of(load_file(texts / "qwen3vl_8b.safetensors"), deep=[0], split=split)
    write_gguf(texts / "mmproj.gguf", tower, "Q8_0", architecture="clip")
    weights = Weights(texts / "mmproj.gguf")
    write({name: weights[name].float() for name in weights.keys()}, texts / "plain.safetensors")  # noqa: SIM118
    (found,), (known,) = (
        session.run(document("text.gguf", name))["out"].entries for name in ("mmproj.gguf", "plain.safetensors")
    )
    (texts / "plain.safetensors").unlink()
    assert np.array_equal(found.embedding.numpy(), known.embedding.numpy())


def test_what_a_vision_tower_is_told_to_be(session: Session, texts: Path) -> None:
    assert (session.engine.recognise(texts / "mmproj.gguf") or ("", {}))[1]["about"] == "vision tower of Qwen3-VL"


@pytest.mark.usefixtures("texts")
def test_a_vision_tower_alone_is_refused(session: Session) -> None:
    found = problem(session, "mmproj.gguf")
    assert found.message == "LoadCLIP: 'mmproj.gguf' is a vision tower for another text encoder"
    assert (found.expected, found.got) == ("a Qwen3-VL that is 64 wide", "no text encoder")


@pytest.mark.usefixtures("texts")
def test_a_vision_tower_alone_without_a_model_is_refused(session: Session) -> None:
    nodes = document("mmproj.gguf")
    del nodes["nodes"]["clip"]["inputs"]["model"]
    with pytest.raises(NodeError) as caught:
        session.run(nodes)
    found = caught.value.problem
    assert found.message == "LoadCLIP: 'mmproj.gguf': a vision tower (mmproj) is no text encoder"
    assert found.expected == "the text encoder that it was made for, with the vision tower as `second`"
    assert found.got == "no text encoder"


def test_a_vision_tower_of_another_size_is_refused(session: Session, texts: Path) -> None:
    state = load_file(texts / "qwen3vl_8b.safetensors")
    state["visual.merger.linear_fc2.weight"] = torch.zeros(32, 256)
    write_gguf(texts / "mmproj.gguf", tower_of(state, deep=[0]), architecture="clip")
    found = problem(session, "text.gguf", "mmproj.gguf")
    assert found.message == "LoadCLIP: 'mmproj.gguf' is a vision tower for another text encoder"
    assert (found.expected, found.got) == ("a Qwen3-VL that is 32 wide", "Qwen3 (64 wide)")


def test_a_vision_tower_that_lacks_a_weight_is_named(session: Session, texts: Path) -> None:
    tower = tower_of(load_file(texts / "qwen3vl_8b.safetensors"), deep=[0])
    del tower["v.blk.1.ffn_down.bias"]
    write_gguf(texts / "mmproj.gguf", tower, architecture="clip")
    found = problem(session, "text.gguf", "mmproj.gguf")
    assert found.message == "CLIPEncodePictures: the vision tower of 'mmproj.gguf' lacks weights"
    assert found.got.endswith("the first that is missing is 'visual.blocks.1.mlp.linear_fc2.bias'")
