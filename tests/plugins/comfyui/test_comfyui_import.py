"""ComfyUI's graphs in the API format, built here rule by rule."""

import contextlib
import io
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pil
from PIL.PngImagePlugin import PngInfo

from latentloom.engine.document.reading import from_json
from latentloom.engine.document.workflow import Edge
from latentloom.engine.errors import LoomError
from latentloom.engine.types.registry import Registry
from latentloom.plugins.comfyui.classes import RULES
from latentloom.plugins.comfyui.importing import import_file, import_graph
from latentloom.plugins.discovery import discover

Graph = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover(only=["comfyui"]).registry


def node(type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": type, "inputs": inputs}


def text_to_image() -> Graph:
    return {
        "4": node("CheckpointLoaderSimple", ckpt_name="sd\\shapes.safetensors"),
        "5": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "6": node("CLIPTextEncode", clip=["4", 1], text="a red circle"),
        "7": node("CLIPTextEncode", clip=["4", 1], text=""),
        "3": node(
            "KSampler",
            model=["4", 0],
            positive=["6", 0],
            negative=["7", 0],
            latent_image=["5", 0],
            seed=2**64 - 1,
            steps=4,
            cfg=8.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
        ),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", images=["8", 0], filename_prefix="ComfyUI"),
    }


def imported(graph: Graph) -> tuple[Any, list[str]]:
    document, report = import_graph(graph)
    return from_json(document), report["lines"]


def test_text_to_image_keeps_every_value_and_link() -> None:
    workflow, lines = imported(text_to_image())
    assert lines == []
    assert workflow.nodes["4"].inputs == {"checkpoint": "sd/shapes.safetensors"}
    assert workflow.nodes["6"].inputs == {
        "clip": Edge("4", "clip"), "text": "a red circle", "grammar": "comfyui", "clip_skip": 1,
    }  # fmt: skip
    assert workflow.nodes["3"].inputs == {
        "model": Edge("4", "model"), "positive": Edge("6", "conditioning"), "negative": Edge("7", "conditioning"),
        "latent": Edge("5", "latent"), "seed": 2**64 - 1, "steps": 4, "cfg": 8.0, "sampler": "euler",
        "schedule": "normal", "denoise": 1.0, "noise_rule": "comfyui",
    }  # fmt: skip
    assert workflow.nodes["9"].inputs == {"images": Edge("8", "image"), "name": "ComfyUI_{counter}"}


def test_clip_skip_goes_to_every_encoder_behind_it_through_loras() -> None:
    graph = text_to_image()
    graph["10"] = node("CLIPSetLastLayer", clip=["4", 1], stop_at_clip_layer=-2)
    graph["11"] = node(
        "LoraLoader", model=["4", 0], clip=["10", 0], lora_name="a.safetensors", strength_model=1.0, strength_clip=0.5
    )
    graph["6"]["inputs"]["clip"] = ["11", 1]
    workflow, lines = imported(graph)
    assert lines == []
    assert workflow.nodes["6"].inputs["clip_skip"] == 2
    assert workflow.nodes["6"].inputs["clip"] == Edge("11", "clip")
    assert workflow.nodes["11"].inputs["clip"] == Edge("4", "clip")
    assert workflow.nodes["7"].inputs["clip_skip"] == 1
    assert "10" not in workflow.nodes


def test_a_class_that_is_not_known_becomes_a_placeholder_with_all_its_data(registry: Registry) -> None:
    graph = text_to_image()
    graph["12"] = node("FancyUpscale", image=["8", 0], amount=2, table={"a": [1]})
    graph["9"]["inputs"]["images"] = ["12", 1]
    workflow, lines = imported(graph)
    assert lines == ["node '12': placeholder: ComfyUI's FancyUpscale has no counterpart here; its data is kept"]
    assert workflow.nodes["12"].type == "comfyui/FancyUpscale"
    assert workflow.nodes["12"].inputs == {"image": Edge("8", "image"), "amount": 2, "table": {"a": [1]}}
    assert workflow.nodes["12"].extra["comfyui"] == graph["12"]
    assert workflow.nodes["9"].inputs["images"] == Edge("12", "output-1")


def test_validation_says_why_a_placeholder_cannot_run(registry: Registry, tmp_path: Any) -> None:
    from latentloom.api import Session
    from latentloom.engine.settings import load_settings

    document, _ = import_graph({"1": node("FancyUpscale")})
    with Session(load_settings({}, {"LATENTLOOM_HOME": str(tmp_path)}), registry) as session:
        (problem,) = session.validate(document)
    assert (problem.code, problem.node) == ("unknown_node_type", "1")
    assert problem.hint == "not runnable: ComfyUI's FancyUpscale has no counterpart here"


@pytest.mark.parametrize(
    ("inputs", "line"),
    [
        ({"strange": 3}, "node '5': lost: 'strange' (3) has no counterpart"),
        ({"strange": ["4", 0]}, "node '5': lost: 'strange' (the link from '4') has no counterpart"),
        ({"width": None}, "node '5': lost: 'width' has no value, or a number that is not finite"),
        ({"width": ["77", 0]}, "node '5': lost: 'width' comes from the node '77', which is not in the file"),
        ({"width": ["4", 9]}, "node '5': lost: the link from output 9 of the node '4' leads nowhere"),
        ({"width": ["9", -1]}, "node '5': lost: the link from output -1 of the node '9' leads nowhere"),
    ],
)
def test_nothing_is_dropped_without_a_line(inputs: dict[str, Any], line: str) -> None:
    graph = text_to_image()
    graph["5"]["inputs"] |= inputs
    assert line in imported(graph)[1]


def test_a_circle_of_reroutes_leads_nowhere() -> None:
    workflow, lines = imported({
        "1": node("Reroute", **{"": ["2", 0]}), "2": node("Reroute", **{"": ["1", 0]}),
        "3": node("PreviewImage", images=["1", 0]),
    })  # fmt: skip
    assert workflow.nodes["3"].inputs == {}
    assert lines == ["node '3': lost: the link from output 0 of the node '1' leads nowhere"]


def test_a_saved_latent_is_a_named_output() -> None:
    graph = text_to_image()
    graph["sl"] = node("SaveLatent", samples=["3", 0], filename_prefix="x")
    graph["s2"] = node("SaveLatent", samples=["5", 0], filename_prefix="y")
    workflow, _ = imported(graph)
    assert [(item.name, item.source) for item in workflow.outputs] == [
        ("latent", Edge("3", "latent")), ("latent-2", Edge("5", "latent")),
    ]  # fmt: skip


def test_ids_of_flattened_subgraphs_stay_apart() -> None:
    workflow, _ = imported({"1:2": node("PrimitiveInt", value=1), "1_2": node("PrimitiveInt", value=2)})
    assert {id: dict(item.inputs) for id, item in workflow.nodes.items()} == {
        "1_2": {"value": 1},
        "1_2-2": {"value": 2},
    }


def png(**texts: str) -> bytes:
    info = PngInfo()
    for name, text in texts.items():
        info.add_itxt(name, text)
    out = io.BytesIO()
    Pil.new("RGB", (4, 4)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def webp(text: str) -> bytes:
    exif = Pil.Exif()
    exif[0x010F] = text
    out = io.BytesIO()
    Pil.new("RGB", (4, 4)).save(out, "WEBP", exif=exif)
    return out.getvalue()


def safetensors(text: str) -> bytes:
    header = json.dumps({"__metadata__": {"prompt": text}}).encode()
    return struct.pack("<Q", len(header)) + header


def test_every_carrier_gives_the_same_workflow() -> None:
    text = json.dumps(text_to_image())
    wanted = import_graph(text_to_image())
    ui = json.dumps({"nodes": [], "links": []})
    carriers = [text.encode(), json.dumps({"prompt": text_to_image()}).encode(), png(prompt=text, workflow=ui)]
    carriers += [webp(f"prompt:{text}"), webp(f"Prompt: {text}"), safetensors(text)]
    assert [import_file(data) for data in carriers] == [wanted] * len(carriers)


def test_what_is_not_finite_counts_as_not_given() -> None:
    text = json.dumps(
        text_to_image() | {"1": {**node("PrimitiveFloat", value=float("nan")), "is_changed": [float("nan")]}}
    )
    _, report = import_file(png(prompt=text)) or ({}, {"lines": []})
    assert "node '1': lost: 'value' has no value, or a number that is not finite" in report["lines"]


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"PK", png(), png(workflow="{}"), webp("hello"), b"\0" * 8 + b"{"])
def test_other_files_are_left_to_others(data: bytes) -> None:
    assert import_file(data) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["1", "2", "3"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = ["clip", "text", "model", "samples", "image", "", "vae", "type", "crop", "upscale_method", "ckpt_name", "steps"]
LINK = st.tuples(st.sampled_from(["1", "2", "3", "9"]), st.integers(-2, 4)).map(list)
NODE = st.fixed_dictionaries({
    "class_type": st.sampled_from([*RULES, "UpscaleModelLoader", "Other", "a/b "]) | JSON,
    "inputs": st.dictionaries(st.sampled_from([*NAMES, "stop_at_clip_layer"]), LINK | JSON, max_size=8) | JSON,
}, optional={"_meta": JSON})  # fmt: skip


@given(st.dictionaries(st.sampled_from(["1", "2", "3", "a:b", "\n"]), NODE, min_size=1))
def test_whatever_a_file_holds_gives_a_document_or_our_error(graph: Any) -> None:
    with contextlib.suppress(LoomError):
        found = import_file(json.dumps(graph).encode())
        if found is not None:
            from_json(found[0])


@given(st.binary(max_size=64))
def test_whatever_bytes_come_give_nothing_or_our_error(data: bytes) -> None:
    for start in (b"", b"{", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"\x10" + b"\0" * 7 + b"{"):
        with contextlib.suppress(LoomError):
            assert import_file(start + data) is None
