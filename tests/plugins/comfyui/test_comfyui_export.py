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
    "ControlNetApply", "SamplerCustomAdvanced", "BetaSamplingScheduler",
    "VAEEncodeTiled", "ImageCompositeMasked", "ImageToMask", "RegexMatch",
    "ImageResize+", "ImageResizeKJ", "ImageResizeKJv2",
    "ImageConcatMulti", "MaskBlur+", "GrowMaskWithBlur", "ResizeImagesByLongerEdge",
    "UltimateSDUpscale", "DetailerForEach", "MaskDetailerPipe", "InpaintCropImproved",
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
        "node 'sample': changed: 'seed' is random here, and 0 there",
        "node 'save': lost: the parts of the name that are filled in: name",
    ]
    assert graph["sample"]["inputs"]["seed"] == 0
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


def one(type: str, /, **inputs: Any) -> dict[str, Any]:
    return {"type": type, "inputs": inputs}


def edge(node: str, output: str) -> dict[str, str]:
    return {"node": node, "output": output}


def written(registry: Registry, **nodes: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    return exported(registry, {"format": "latentloom/1", "nodes": nodes})


def test_sizes_are_written_with_the_text_that_they_belong_to(registry: Registry) -> None:
    graph, lines = written(
        registry,
        c=one("LoadCheckpoint", checkpoint="a"),
        t=one("CLIPEncode", clip=edge("c", "clip"), text="x", clip_skip=2, grammar="comfyui"),
        s=one("ConditioningSize", conditioning=edge("t", "conditioning"), width=512, height=768),
        z=one("ConditioningZeroOut", conditioning=edge("s", "conditioning")),
        n=one("ConditioningSize", conditioning=edge("z", "conditioning"), width=512, height=768),
        m=one("ConditioningStrength", conditioning=edge("n", "conditioning"), strength=0.5),
    )
    assert "t" not in graph and "n" not in graph
    assert graph["s"]["class_type"] == "CLIPTextEncodeSDXL"
    assert graph["s"]["inputs"] == {
        "clip": ["t-skip", 0], "crop_w": 0, "crop_h": 0, "width": 512, "height": 768, "target_width": 1024,
        "target_height": 1024, "text_g": "x", "text_l": "x",
    }  # fmt: skip
    assert graph["m"]["inputs"]["conditioning"] == ["z", 0]
    reason = "ComfyUI gives the sizes together with a text; its CONDITIONING goes on unchanged"
    assert f"node 'n': lost: {reason}" in lines


def test_a_text_that_others_use_too_is_written_for_them(registry: Registry) -> None:
    graph, _ = written(
        registry,
        c=one("LoadCheckpoint", checkpoint="a"),
        t=one("CLIPEncodeSDXL", clip=edge("c", "clip"), text_l="x", text_g="y"),
        s=one("ConditioningSize", conditioning=edge("t", "conditioning"), width=64, height=64),
        z=one("ConditioningZeroOut", conditioning=edge("t", "conditioning")),
    )
    assert graph["z"]["inputs"] == {"conditioning": ["t", 0]}
    assert (graph["s"]["inputs"]["text_g"], graph["s"]["inputs"]["text_l"]) == ("y", "x")


def test_a_patch_that_comfyui_lacks_is_gone_around(registry: Registry) -> None:
    graph, lines = written(
        registry,
        c=one("LoadCheckpoint", checkpoint="a"),
        g=one("GuidanceInterval", model=edge("c", "model")),
        s=one("SetShift", model=edge("g", "model"), shift=3.0),
    )
    assert graph["s"]["inputs"]["model"] == ["c", 0]
    reason = "ComfyUI has no counterpart of GuidanceInterval that is known here; its MODEL goes on unchanged"
    assert lines == [f"node 'g': lost: {reason}"]


def test_two_prompts_become_a_guider(registry: Registry) -> None:
    text = one("CLIPEncode", clip=edge("c", "clip"), text="x", grammar="comfyui")
    sample = {"latent": edge("l", "latent"), "sigmas": [1.0, 0.0], "noise_rule": "comfyui", "seed": 5}
    sample |= {"positive": edge("t", "conditioning"), "negative": edge("t", "conditioning")}
    nodes = {
        "c": one("LoadCheckpoint", checkpoint="a"), "t": text, "l": one("EmptyLatent"),
        "w": one("TwoPromptGuidance", model=edge("c", "model"), second=edge("t", "conditioning"), cfg=2.0),
        "s": one("SampleCustom", model=edge("w", "model"), **sample),
    }  # fmt: skip
    graph, lines = written(registry, **nodes)
    assert lines == []
    assert graph["s-guider"]["inputs"] == {
        "model": ["c", 0], "cond1": ["t", 0], "cond2": ["t", 0], "negative": ["t", 0], "cfg_conds": 7.0,
        "cfg_cond2_negative": 2.0, "style": "regular",
    }  # fmt: skip
    again, _ = import_graph(graph)
    assert again["nodes"]["s"]["type"] == "SampleCustom"
    assert {node["type"] for node in again["nodes"].values()} == {node["type"] for node in nodes.values()}


def test_what_comfyui_s_lists_lack_is_made_there_or_told(registry: Registry) -> None:
    common = {"model": edge("c", "model"), "latent": edge("l", "latent"), "noise_rule": "comfyui"}
    graph, lines = written(
        registry,
        c=one("LoadCheckpoint", checkpoint="a"),
        l=one("EmptyLatent"),
        a=one("KSampler", sampler="euler", schedule="ays_sdxl", steps=10, **common),
        p=one("KSampler", sampler="pndm", **common),
    )
    assert graph["a"]["class_type"] == "SamplerCustom"
    assert graph["a-sigmas"] == node("AlignYourStepsScheduler", steps=10, denoise=1.0, model_type="SDXL")
    assert graph["p"]["inputs"]["sampler_name"] == "ipndm"
    assert lines == ["node 'p': changed: ComfyUI lacks the sampler 'pndm'; 'ipndm' comes near"]


@pytest.mark.parametrize(
    ("name", "type"),
    {"krea-2": "krea2", "z-image": "lumina2", "chroma": "chroma", "flux2-klein": "flux2", "flux-dev": "flux",
     "qwen-image": "qwen_image"}.items(),
)  # fmt: skip
def test_the_file_of_the_model_says_what_a_text_encoder_is_for(registry: Registry, name: str, type: str) -> None:
    graph, _ = exported(registry, load_workflow(name))
    assert [node["inputs"]["type"] for node in graph.values() if "CLIPLoader" in node["class_type"]] == [type]


def test_a_sheet_is_stitched_row_by_row(registry: Registry) -> None:
    pictures = {f"i{n}": one("LoadImage", image=f"{n}.png", alpha="drop") for n in range(3)}
    images = [edge(name, "image") for name in pictures]
    graph, _ = written(registry, **pictures, g=one("ImageGrid", images=images, columns=2))
    assert graph["g-row-1"]["inputs"]["direction"] == "right"
    assert (graph["g"]["inputs"]["image1"], graph["g"]["inputs"]["image2"]) == (["g-row-1", 0], ["i2", 0])


def test_a_rectangle_is_one_mask_on_another(registry: Registry) -> None:
    graph, lines = written(registry, r=one("MaskRectangle", x=8, y=16, box_width=24, box_height=32))
    assert graph["r-box"] == node("SolidMask", value=1.0, width=24, height=32)
    assert graph["r"]["inputs"] == {
        "destination": ["r-ground", 0], "source": ["r-box", 0], "x": 8, "y": 16, "operation": "add",
    }  # fmt: skip
    assert lines == []


def test_repeated_nodes_are_told(registry: Registry) -> None:
    many = {"type": "Integer", "inputs": {"value": [1, 2]}, "each": ["value"]}
    _, lines = written(registry, n=many)
    assert lines == ["node 'n': lost: it runs once there, and not item by item or turn by turn"]
