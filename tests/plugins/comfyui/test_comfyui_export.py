"""Workflows as graphs of ComfyUI's: what was imported comes out again, and what has no counterpart is told."""

import json
from pathlib import Path
from typing import Any

import pytest
from comfyui_uses import SOURCES, USES, node

from latentloom.api import load_workflow
from latentloom.engine.document.reading import from_json
from latentloom.engine.types.registry import Registry
from latentloom.plugins.comfyui.exporting import BUILT, CLASSES, MADE, UNUSED, export
from latentloom.plugins.comfyui.importing import import_graph
from latentloom.plugins.comfyui.object_info import class_table
from latentloom.plugins.discovery import discover

GRAPHS = json.loads((Path(__file__).parents[2] / "data" / "comfyui-graphs.json").read_text())
SHIPPED = sorted(path.stem for path in (Path(__file__).parents[3] / "workflows").glob("*.json"))
ONE_WAY = {  # classes that come out as others, which mean the same, and those that ComfyUI lacks
    "TextEncodeQwenImageEdit", "TextEncodeQwenImageEditPlus", "ControlNetInpaintingAliMamaApply", "ControlNetApply",
    "CLIPTextEncodeSDXL", "CLIPTextEncodeSDXLRefiner", "SamplerCustomAdvanced", "BetaSamplingScheduler",
    "VAEEncodeTiled", "ImageCompositeMasked", "ImageToMask", "SaveImageAdvanced", "RegexMatch", "ResolutionSelector",
    "easy wildcards", "DPRandomGenerator", "ImageResize+", "ImageResizeKJ", "ImageResizeKJv2",
    "ImageConcatMulti", "MaskBlur+", "GrowMaskWithBlur", "ResizeImagesByLongerEdge",
    "UltimateSDUpscale", "StyleModelApply", "DetailerForEach", "MaskDetailerPipe", "InpaintCropImproved",
    "ImageGridComposite2x2", "ImageGridComposite3x3", "Create Grid Image from Batch",
}  # fmt: skip


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover(only=["comfyui"]).registry


def exported(registry: Registry, document: Any) -> tuple[dict[str, Any], list[str]]:
    workflow = from_json(document) if isinstance(document, dict) else document
    graph, report = export(workflow, registry)
    return graph, report["lines"]


@pytest.mark.parametrize("name", GRAPHS)
def test_what_was_imported_comes_out_again(registry: Registry, name: str) -> None:
    document, _ = import_graph(GRAPHS[name])
    graph, lines = exported(registry, document)
    again, _ = import_graph(graph)
    assert again["nodes"] == document["nodes"]
    assert lines == []


def test_the_table_names_what_there_is(registry: Registry) -> None:
    for type, found in CLASSES.items():
        spec = registry.nodes[type].spec
        assert set(found.inputs) <= spec.by_name.keys(), type
        assert all(spec.output(name) for name in found.outputs if name != UNUSED), type
        known = class_table()[found.name]
        theirs = {name for name, _, _ in (*known.required, *known.optional)}
        assert {*found.inputs.values(), *found.fixed} <= theirs, type
    assert MADE.keys() <= CLASSES.keys()


def test_every_built_class_reads_and_gives_what_there_is(registry: Registry) -> None:
    assert BUILT.keys().isdisjoint(CLASSES)
    for type, found in BUILT.items():
        spec = registry.nodes[type].spec
        assert found.reads <= spec.by_name.keys(), type
        assert all(spec.output(name) for name in found.outputs), type


@pytest.mark.parametrize("name", USES)
def test_each_class_comes_out_again(registry: Registry, name: str) -> None:
    document, _ = import_graph({**SOURCES, "n": node(name, **USES[name])})
    again, _ = import_graph(exported(registry, document)[0])
    assert (again["nodes"] == document["nodes"]) == (name not in ONE_WAY)
    third, _ = import_graph(exported(registry, again)[0])
    assert third["nodes"] == again["nodes"]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_workflow_is_stable_after_its_first_way(registry: Registry, name: str) -> None:
    document, _ = import_graph(exported(registry, load_workflow(name))[0])
    again, _ = import_graph(exported(registry, document)[0])
    assert again["nodes"] == document["nodes"]


@pytest.mark.parametrize("type", sorted(BUILT))
def test_a_node_without_its_inputs_is_no_fault(registry: Registry, type: str) -> None:
    graph, _ = exported(registry, {"format": "latentloom/1", "nodes": {"n": {"type": type, "inputs": {}}}})
    assert "n" in graph


def test_a_placeholder_goes_back_as_it_came(registry: Registry) -> None:
    raw = {"class_type": "Unknown", "inputs": {"a": ["c", 0], "n": 1, "table": {"x": [1]}}, "_meta": {"title": "Mine"}}
    graph = {**SOURCES, "n": raw, "o": node("PreviewImage", images=["n", 3])}
    back, lines = exported(registry, import_graph(graph)[0])
    assert back["n"] == raw
    assert back["o"]["inputs"] == {"images": ["n", 3]}
    assert lines == []


def test_a_choice_that_comes_from_another_node_is_told(registry: Registry) -> None:
    nodes = {
        "t": {"type": "Text", "inputs": {"text": "union"}},
        "m": {"type": "SolidMask", "inputs": {}},
        "c": {
            "type": "MaskCombine",
            "inputs": {
                "a": {"node": "m", "output": "mask"}, "b": {"node": "m", "output": "mask"},
                "how": {"node": "t", "output": "value"},
            },
        },
    }  # fmt: skip
    graph, lines = exported(registry, {"format": "latentloom/1", "nodes": nodes})
    assert graph["c"]["inputs"]["operation"] == "or"
    assert "node 'c': lost: 'how' comes from another node, and has to be written there; its default counts" in lines


def test_a_shipped_workflow_goes_with_what_it_loses_told(registry: Registry) -> None:
    graph, lines = exported(registry, load_workflow("txt2img"))
    assert {node["class_type"] for node in graph.values()} == {
        "CheckpointLoaderSimple", "CLIPTextEncode", "EmptyLatentImage", "KSampler", "VAEDecode", "SaveImage",
    }  # fmt: skip
    assert lines == [
        "node 'negative': changed: ComfyUI acts as with grammar 'comfyui', not 'a1111'",
        "node 'positive': changed: ComfyUI acts as with grammar 'comfyui', not 'a1111'",
        "node 'sample': changed: ComfyUI acts as with noise_rule 'comfyui', not 'per_item'",
        "node 'save': lost: the parts of the name that are filled in: name",
    ]
    (save,) = [node for node in graph.values() if node["class_type"] == "SaveImage"]
    assert save["inputs"]["filename_prefix"] == "Latentloom"


def test_bypassed_nodes_are_gone_around_and_others_are_told(registry: Registry) -> None:
    nodes = {
        "c": {"type": "LoadCheckpoint", "inputs": {"checkpoint": "shapes"}},
        "l": {"type": "LoadLoraModel", "mode": "bypass",
              "inputs": {"model": {"node": "c", "output": "model"}, "lora": "a"}},
        "s": {"type": "SetShift", "inputs": {"model": {"node": "l", "output": "model"}, "shift": 3.0}},
        "x": {"type": "TileImage", "inputs": {"image": {"node": "i", "output": "image"}}},
        "i": {"type": "InvertImage", "inputs": {"image": {"node": "x", "output": "image"}}},
    }  # fmt: skip
    graph, lines = exported(registry, {"format": "latentloom/1", "nodes": nodes})
    assert graph["s"]["inputs"] == {"model": ["c", 0], "shift": 3.0}
    assert lines == [
        "node 'l': lost: it does not run, and is left out",
        "node 'x': lost: ComfyUI has no counterpart of TileImage that is known here",
        "node 'i': lost: the link from 'x' leads to no class of ComfyUI's",
    ]
