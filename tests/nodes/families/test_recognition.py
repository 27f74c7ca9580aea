"""What files are told to be, by their headers alone: those that run, and those that are refused by name."""

import json
import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import pytest

from latentloom.api import Session
from latentloom.engine.errors import FileError, NodeError
from latentloom.engine.settings import load_settings
from latentloom.nodes.families.network_titles import TITLES, runs_here

WAN, FLUX = "model.diffusion_model.", "double_blocks.0.img_attn.norm.key_norm.scale"
CASES: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "Wan 14B": ("Wan 14B", {"head.modulation": (1, 2, 8), "patch_embedding.weight": (5120, 16, 1, 2, 2)}),
    "Wan behind a prefix": ("Wan 1.3B", {f"{WAN}head.modulation": (2,), f"{WAN}patch_embedding.weight": (1536, 16)}),
    "Wan VACE": ("Wan VACE", {"head.modulation": (2,), "vace_blocks.0.before_proj.weight": (4, 4)}),
    "Chroma before Flux": ("Chroma", {FLUX: (4,), "distilled_guidance_layer.in_proj.bias": (4,)}),
    "Flux.1 Fill": ("Flux.1 Fill", {FLUX: (4,), "img_in.weight": (8, 384)}),
    "Flux.1 Depth": ("Flux.1 Depth or Canny", {FLUX: (4,), "img_in.weight": (8, 128)}),
    "Lumina 2": (
        "Lumina 2",
        {"cap_embedder.0.weight": (4,), "cap_embedder.1.weight": (4, 4), "layers.0.adaLN_modulation.1.weight": (4, 4)},
    ),
    "LTX-2 before LTX": (
        "LTX-2",
        {"patchify_proj.weight": (4, 4), "av_ca_a2v_gate_adaln_single.linear.weight": (4, 4)},
    ),
    "a Qwen2.5-VL": ("Qwen2.5-VL", {"model.layers.0.self_attn.k_proj.bias": (4,)}),
    "Gemma before Qwen3": (
        "Gemma",
        {"model.layers.0.post_feedforward_layernorm.weight": (4,), "model.layers.0.self_attn.q_norm.weight": (4,)},
    ),
    **{title: (title, {name: (4, 4)}) for name, title in TITLES.items()},
}
CASES |= {"Wan": ("Wan", {"head.modulation": (4,)}), "Flux.1": ("Flux.1 schnell", {FLUX: (4,)})}
CASES["Flux.2"] = ("Flux.2 klein 4B", {"single_stream_modulation.lin.weight": (4, 4), "txt_in.weight": (4, 7680)})
WHOLE = {"Stable Diffusion 3", "Z-Image", "T5", "Qwen3"}  # of which a single name is taken for all of it


def write_header(path: Path, shapes: dict[str, tuple[int, ...]], dtype: str = "BF16", size: int = 2) -> None:
    """A file that is all hole behind its header."""
    found, end = dict[str, Any](), 0
    for name, shape in shapes.items():
        start, end = end, end + size * prod(shape)
        found[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(found).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    home = tmp_path_factory.mktemp("home")
    (home / "models" / "unet").mkdir(parents=True)
    with Session(load_settings({"device": "cpu", "dtype": "fp32"}, {"LATENTLOOM_HOME": str(home)})) as made:
        yield made


@pytest.fixture
def unets(session: Session) -> Path:
    return session.settings.models[0] / "unet"


@pytest.mark.parametrize("case", [case for case in CASES if case not in WHOLE])
def test_networks_that_do_not_run_and_parts_of_those_that_do_are_refused_by_name(
    case: str, session: Session, unets: Path
) -> None:
    title, shapes = CASES[case]
    write_header(unets / "m.safetensors", {**shapes, "more.weight": (4, 4)})
    _, facts = session.engine.recognise(unets / "m.safetensors") or ("", {})
    part = runs_here(title)
    assert facts["about"] == (f"part of {title}" if part else f"{title} (does not run yet)")
    load = {"load": {"type": "LoadUNet", "inputs": {"unet": "m.safetensors"}}}
    outputs = [{"name": "model", "from": {"node": "load", "output": "model"}}]
    with pytest.raises(NodeError) as caught:
        session.run({"format": "latentloom/1", "nodes": load, "outputs": outputs})
    what = f"only a part of {title}" if part else f"{title}, which Latentloom does not run yet"
    assert caught.value.problem.message == f"LoadUNet: 'm.safetensors' is {what}"


def test_a_file_without_a_name_stays_unknown(session: Session, unets: Path) -> None:
    write_header(unets / "m.safetensors", {"what.weight": (4, 4)})
    assert session.engine.recognise(unets / "m.safetensors") is None


@pytest.mark.parametrize(
    ("dtype", "size", "weights"), [("BF16", 2, "bf16"), ("F16", 2, "fp16"), ("F8_E4M3", 1, "fp8 e4m3fn")]
)
def test_how_weights_are_kept_is_told(dtype: str, size: int, weights: str, session: Session, unets: Path) -> None:
    write_header(unets / "m.safetensors", {"head.modulation": (4,), "blocks.0.weight": (4, 4)}, dtype, size)
    assert (session.engine.recognise(unets / "m.safetensors") or ("", {}))[1]["weights"] == weights


def test_a_format_that_is_not_read_is_told_with_the_network(session: Session, unets: Path) -> None:
    write_header(unets / "m.safetensors", {"head.modulation": (4,), "blocks.0.a.weight_scale_2": ()})
    with pytest.raises(FileError) as caught:
        session.engine.recognise(unets / "m.safetensors")
    assert caught.value.problem.message == "'m.safetensors' (Wan) is packed as nvfp4, which Latentloom does not read"
