"""Files of ComfyUI's editor, built here rule by rule."""

import json
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from comfyui_drawings import between, find, part, text_to_image
from hypothesis import given
from hypothesis import strategies as st

from latentloom.engine.document.flatten import flatten
from latentloom.engine.document.reading import from_json
from latentloom.engine.document.workflow import Edge, NamedInput, NamedOutput, Node, Target, Workflow
from latentloom.engine.errors import LoomError, WorkflowError
from latentloom.engine.types.registry import Registry
from latentloom.plugins.comfyui import keeping
from latentloom.plugins.comfyui.classes import FOLDED, RULES
from latentloom.plugins.comfyui.importer import Importer
from latentloom.plugins.comfyui.importing import import_file, import_ui
from latentloom.plugins.comfyui.report import Report
from latentloom.plugins.comfyui.ui_format import read_ui
from latentloom.plugins.discovery import discover

SEED = "changed: ComfyUI changes 1 seed after each run; here the number in the file stays"
COLOUR = "lost: the colours of 1 node"
TAKEN_APART = "node '6': changed: it is muted or bypassed, so that it is no sub-workflow; its nodes take its place"


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover(only=["comfyui"]).registry


def imported(data: dict[str, Any]) -> tuple[Any, list[str]]:
    document, report = import_ui(data)
    return from_json(document), [line for line in report["lines"] if line not in (SEED, COLOUR)]


def test_values_in_lists_get_their_names() -> None:
    document, report = import_ui(text_to_image())
    workflow = from_json(document)
    assert report == {"source": "ComfyUI, editor's format", "lines": [SEED, COLOUR]}
    assert workflow.nodes["4"].inputs == {"checkpoint": "sd/shapes.safetensors"}
    assert workflow.nodes["3"].inputs == {
        "model": Edge("4", "model"), "positive": Edge("6", "conditioning"), "negative": Edge("7", "conditioning"),
        "latent": Edge("5", "latent"), "seed": 2**64 - 1, "steps": 4, "cfg": 8, "sampler": "euler",
        "schedule": "normal", "denoise": 1, "noise_rule": "comfyui",
    }  # fmt: skip
    assert workflow.nodes["6"].title == "Positive"
    assert "10" not in workflow.nodes


def test_places_groups_and_notes_are_kept() -> None:
    data = text_to_image()
    find(data, 7)["pos"] = [40, 50]
    layout = import_ui(data)[0]["layout"]
    assert layout["nodes"] == {
        "4": {"x": 0, "y": 10},
        "5": {"x": 0, "y": 300},
        "7": {"x": 40, "y": 50, "collapsed": True},
    }
    assert layout["groups"] == [
        {"id": "1", "title": "Prompts", "x": 1, "y": 2, "width": 30, "height": 40, "colour": "#3f789e"}
    ]
    assert layout["notes"] == [{"id": "1", "x": 500, "y": 0, "width": 200, "height": 80, "text": "Read me"}]


def test_every_carrier_of_the_editor_s_form_is_read() -> None:
    from io import BytesIO

    from PIL import Image as Pil
    from PIL.PngImagePlugin import PngInfo

    text = json.dumps(text_to_image())
    wanted = import_ui(text_to_image())
    info, out = PngInfo(), BytesIO()
    info.add_text("workflow", text)
    Pil.new("RGB", (4, 4)).save(out, "PNG", pnginfo=info)
    carriers = [text.encode(), json.dumps({"workflow": text_to_image()}).encode(), out.getvalue()]
    assert [import_file(data) for data in carriers] == [wanted] * 3


SAMPLER = {"seed": 5, "steps": 4, "cfg": 8, "sampler": "euler", "schedule": "normal", "denoise": 1}


@pytest.mark.parametrize(
    "more",
    [
        {"widgets_values": [5, 4, 8, "euler", "normal", 1]},  # saved before seeds had a word behind them
        {"widgets_values": [5, False, 4, 8, "euler", "normal", 1]},  # the first editors wrote the word as a switch
        {"widgets_values": [5, "fixed", 4, 8, "euler", "normal", 1]},
        {"widgets_values": {"seed": 5, "steps": 4, "cfg": 8, "sampler_name": "euler", "scheduler": "normal",
                            "denoise": 1}},
        {"widgets_values": [5, "fixed", 4, 8, "euler", "normal", 1], "widgets_values_named": {
            "seed": 5, "control_after_generate": "fixed", "steps": 4, "cfg": 8, "sampler_name": "euler",
            "scheduler": "normal", "denoise": 1}},
        {"widgets_values": [5, "fixed", 4, 8, "euler", "normal", 1], "widgets_values_named": {"seed": 6}},
    ],
)  # fmt: skip
def test_values_are_found_by_name_by_key_or_by_place(more: dict[str, Any]) -> None:
    data = text_to_image()
    find(data, 3).update(more)
    workflow, lines = imported(data)
    assert {name: workflow.nodes["3"].inputs[name] for name in SAMPLER} == SAMPLER
    assert lines == []


def test_an_upload_button_has_a_place_and_a_longer_list_is_told() -> None:
    nodes = [part(1, "LoadImage", ["a.png", "image"]), part(2, "LoadImage", ["b.png"])]
    nodes += [part(3, "LoadImage", ["c.png", "image", 1, 2, 3, 4])]
    workflow, lines = imported({"nodes": nodes, "links": []})
    assert [item.inputs["image"] for item in workflow.nodes.values()] == ["a.png", "b.png", "c.png"]
    assert "node '3': lost: 4 values without a name: 1, 2, 3, ..." in lines


def test_a_converted_widget_keeps_its_place_and_the_link_wins() -> None:
    data = text_to_image()
    data["nodes"].append(part(20, "PrimitiveInt", [9, "fixed"], outputs=["INT"]))
    data["links"].append([30, 20, 0, 3, 4, "INT"])
    find(data, 3)["inputs"].append({"name": "steps", "type": "INT", "link": 30, "widget": {"name": "steps"}})
    workflow, lines = imported(data)
    assert workflow.nodes["3"].inputs["steps"] == Edge("20", "value")
    assert workflow.nodes["3"].inputs["cfg"] == 8
    assert lines == []


def test_a_primitive_gives_its_value_to_every_widget_it_feeds() -> None:
    data = text_to_image()
    data["nodes"].append(part(20, "PrimitiveNode", [77, "randomize"], outputs=["INT"]))
    data["links"].append([30, 20, 0, 3, 4, "INT"])
    find(data, 3)["inputs"].append({"name": "seed", "type": "INT", "link": 30, "widget": {"name": "seed"}})
    workflow, lines = imported(data)
    assert workflow.nodes["3"].inputs["seed"] == 77
    assert "20" not in workflow.nodes
    assert lines == []


def test_links_go_through_reroutes_and_named_links() -> None:
    data = text_to_image()
    between(data, 7, *(part(n, "Reroute", None, [("", "*", None)], outputs=["*"]) for n in (20, 21)))
    find(data, 9)["inputs"][0]["link"] = 50
    data["nodes"] += [part(30, "SetNode", ["picture"], [("IMAGE", "IMAGE", 9)], outputs=["*"])]
    data["nodes"] += [part(31, "GetNode", ["picture"], outputs=["IMAGE"])]
    data["links"].append([50, 31, 0, 9, 0, "IMAGE"])
    workflow, lines = imported(data)
    assert workflow.nodes["8"].inputs["latent"] == Edge("3", "latent")
    assert workflow.nodes["9"].inputs["images"] == Edge("8", "image")
    assert workflow.nodes.keys() == {"3", "4", "5", "6", "7", "8", "9"}
    assert lines == []


def test_a_muted_node_stays_muted_with_what_needs_it() -> None:
    data = text_to_image()
    find(data, 8)["mode"] = 2
    workflow, lines = imported(data)
    assert workflow.nodes["8"].mode == "mute"
    assert workflow.nodes["9"].inputs["images"] == Edge("8", "image")
    assert lines == []


def test_an_optional_input_of_a_muted_node_is_empty() -> None:
    data = text_to_image()
    data["nodes"] += [part(20, "SolidMask", [1, 8, 8], outputs=["MASK"], mode=2)]
    data["nodes"] += [part(21, "Custom", None, [("mask", "MASK", 60)], outputs=["IMAGE"])]
    data["links"] += [[60, 20, 0, 21, 0, "MASK"]]
    find(data, 21)["inputs"][0]["shape"] = 7
    workflow, lines = imported(data)
    assert workflow.nodes["21"].inputs == {}
    assert "node '21': lost: 'mask' comes from the node '20', which is muted" in lines


def lora(**more: Any) -> dict[str, Any]:
    sockets = [("model", "MODEL", 3), ("clip", "CLIP", 2)]
    return part(20, "LoraLoader", ["a.safetensors", 1, 1], sockets, outputs=["MODEL", "CLIP"], **more)


def test_a_bypassed_lora_stays_in_its_place() -> None:
    data = text_to_image()
    data["nodes"].append(lora(mode=4))
    data["links"] += [[40, 20, 0, 3, 0, "MODEL"], [41, 20, 1, 7, 0, "CLIP"]]
    find(data, 3)["inputs"][0]["link"], find(data, 7)["inputs"][0]["link"] = 40, 41
    workflow, lines = imported(data)
    assert workflow.nodes["20"].mode == "bypass"
    assert workflow.nodes["3"].inputs["model"] == Edge("20", "model")
    assert workflow.nodes["7"].inputs["clip"] == Edge("20", "clip")
    assert lines == ["changed: links go around 1 bypassed node"]


def test_links_go_around_a_bypassed_node_by_the_types_of_its_sockets() -> None:
    data = text_to_image()
    sockets = [("positive", "CONDITIONING", 4), ("negative", "CONDITIONING", 5), ("image", "IMAGE", None)]
    outputs = ["CONDITIONING", "CONDITIONING", "LATENT"]
    data["nodes"].append(part(20, "Fancy", [], sockets, outputs=outputs, mode=4))
    data["links"] += [[40 + n, 20, n, 3, 1 + n, kind] for n, kind in enumerate(outputs)]
    for n in range(3):
        find(data, 3)["inputs"][1 + n]["link"] = 40 + n
    workflow, lines = imported(data)
    assert workflow.nodes["3"].inputs["positive"] == Edge("6", "conditioning")
    assert workflow.nodes["3"].inputs["negative"] == Edge("7", "conditioning")
    assert "latent" not in workflow.nodes["3"].inputs
    assert workflow.nodes["20"].mode == "mute"  # what it would do is not known here
    assert lines[0] == (
        "node '3': lost: the link to 'latent_image' leads nowhere: a bypassed node has nothing to pass on"
    )


def subgraph(id: str = "sub", **more: Any) -> dict[str, Any]:
    """Encodes a text: an input for the CLIP, and one for the text that shows as a widget."""
    links = [
        {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 6, "target_slot": 0, "type": "CLIP"},
        {"id": 2, "origin_id": -10, "origin_slot": 1, "target_id": 6, "target_slot": 1, "type": "STRING"},
        {"id": 3, "origin_id": 6, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "CONDITIONING"},
    ]
    inner = part(6, "CLIPTextEncode", ["inner"], [("clip", "CLIP", 1), ("text", "STRING", 2, "text")],
                 outputs=["CONDITIONING"], pos=[10, 10], size=[200, 100])  # fmt: skip
    ports = [{"name": "clip", "type": "CLIP"}, {"name": "words", "type": "STRING"}]
    return {"id": id, "name": "Say", "nodes": [inner], "links": links, "inputs": ports,
            "outputs": [{"name": "said", "type": "CONDITIONING"}], **more}  # fmt: skip


def with_subgraph(values: Any = None, **more: Any) -> dict[str, Any]:
    """The positive prompt comes out of a subgraph."""
    data = text_to_image()
    data["nodes"].remove(find(data, 6))
    data["nodes"].append(part(6, "sub", values, [("clip", "CLIP", 1)], outputs=["CONDITIONING"], **more))
    data["definitions"] = {"subgraphs": [subgraph()]}
    return data


@pytest.mark.parametrize(
    ("values", "more", "text"),
    [
        (["outer"], {}, "outer"),
        ([], {}, "inner"),
        ([], {"properties": {"proxyWidgets": [["6", "text"]]}}, "inner"),
        ([], {"widgets_values_named": {"words": "named"}}, "named"),
    ],
)
def test_a_subgraph_is_kept_and_its_promoted_value_is_an_input_of_the_use(values: Any, more: Any, text: str) -> None:
    workflow, lines = imported(with_subgraph(values, pos=[70, 80], **more))
    use, graph = workflow.nodes["6"], workflow.graphs["Say"]
    assert use == Node("graph/Say", 1, {"clip": Edge("4", "clip"), "words": text})
    assert workflow.nodes["3"].inputs["positive"] == Edge("6", "said")
    assert graph.inputs == (NamedInput("clip", (Target("6", "clip"),)), NamedInput("words", (Target("6", "text"),)))
    assert graph.outputs == (NamedOutput("said", Edge("6", "conditioning")),)
    assert graph.layout == {"nodes": {"6": {"x": 10, "y": 10}}, "groups": [], "notes": []}
    assert workflow.layout["nodes"]["6"] == {"x": 70, "y": 80}
    assert [group["title"] for group in workflow.layout["groups"]] == ["Prompts"]
    assert lines == []


def nested_subgraphs() -> dict[str, Any]:
    """A subgraph that is used alone and in another subgraph."""
    data = with_subgraph(["one"])
    outer = {
        "id": "outer", "nodes": [part(1, "sub", ["deep"], [("clip", "CLIP", 5)], outputs=["CONDITIONING"])],
        "links": [[5, -10, 0, 1, 0, "CLIP"], [6, 1, 0, -20, 0, "CONDITIONING"]],
        "inputs": [{"name": "the clip", "type": "CLIP"}], "outputs": [{"name": "c", "type": "CONDITIONING"}],
    }  # fmt: skip
    data["definitions"]["subgraphs"].append(outer)
    data["nodes"].remove(find(data, 7))
    data["nodes"].append(part(7, "outer", [], [("the clip", "CLIP", 2)], outputs=["CONDITIONING"], title="Outer"))
    return data


def test_equal_subgraphs_are_shared_by_all_uses() -> None:
    workflow, lines = imported(nested_subgraphs())
    assert workflow.graphs.keys() == {"Say", "subgraph"}
    assert workflow.nodes["6"].inputs["words"] == "one"
    assert workflow.nodes["7"] == Node("graph/subgraph", 1, {"the_clip": Edge("4", "clip")}, "Outer")
    assert workflow.nodes["3"].inputs["negative"] == Edge("7", "c")
    inner = workflow.graphs["subgraph"]
    assert inner.nodes == {"1": Node("graph/Say", 1, {"words": "deep"})}
    assert inner.inputs == (NamedInput("the_clip", (Target("1", "clip"),)),)
    assert inner.outputs == (NamedOutput("c", Edge("1", "said")),)
    assert lines == []


def promoted(kind: str, widget: str, given: Any, values: list[Any], out: str) -> dict[str, Any]:
    """A subgraph of one node, with one value of it as an input."""
    inner = part(1, kind, values, [(widget, "COMBO", 1, widget)], outputs=[out])
    links = [[1, -10, 0, 1, 0, "COMBO"], [2, 1, 0, -20, 0, out]]
    inside = {"id": "sub", "name": "Choose", "nodes": [inner], "links": links,
              "inputs": [{"name": "choice", "type": "COMBO"}], "outputs": [{"name": "made", "type": out}]}  # fmt: skip
    uses = [part(n, "sub", [value], [], outputs=[out]) for n, value in enumerate(given, 1)]
    return {"nodes": uses, "links": [], "definitions": {"subgraphs": [inside]}}


def test_a_promoted_file_is_an_input_of_each_use() -> None:
    data = promoted("VAELoader", "vae_name", ["sd\\a.safetensors", "b.safetensors"], ["c.safetensors"], "VAE")
    workflow, lines = imported(data)
    assert workflow.graphs.keys() == {"Choose"}
    assert [list(node.inputs.items()) for node in workflow.nodes.values()] == [
        [("choice", "sd/a.safetensors")],
        [("choice", "b.safetensors")],
    ]
    assert lines == []


def test_a_promoted_value_that_is_no_input_here_is_told() -> None:
    data = promoted("CLIPLoader", "device", ["cpu", "default"], ["clip.safetensors", "flux2", "default"], "CLIP")
    workflow, lines = imported(data)
    assert all(not node.inputs for node in workflow.nodes.values() if node.type.startswith("graph/"))
    text = "changed: its value 'choice' is no input of the sub-workflow; what counts of it is set inside"
    assert lines == [f"node '1': {text}", f"node '2': {text}"]


def test_a_muted_subgraph_is_taken_apart() -> None:
    workflow, lines = imported(with_subgraph(["x"], mode=2))
    assert workflow.graphs == {}
    assert workflow.nodes["6_6"].mode == "mute"
    assert workflow.nodes["3"].inputs["positive"] == Edge("6_6", "conditioning")
    assert lines == [TAKEN_APART]
    (_, frame) = workflow.layout["groups"]
    place = workflow.layout["nodes"]["6_6"]
    assert frame["title"] == "Say"
    assert frame["y"] < place["y"] < frame["y"] + frame["height"]
    assert place["y"] > 300  # below all that was there


def test_links_go_around_a_subgraph_that_passes_them_on() -> None:
    data = with_subgraph(["x"])
    inside = data["definitions"]["subgraphs"][0]
    inside["outputs"].append({"name": "same", "type": "CLIP"})
    inside["links"].append([4, -10, 0, -20, 1, "CLIP"])
    find(data, 6)["outputs"].append({"name": "same", "type": "CLIP"})
    data["links"][1][1:3] = [6, 1]
    workflow, lines = imported(data)
    assert workflow.nodes["7"].inputs["clip"] == Edge("4", "clip")
    assert workflow.nodes["6"].type == "graph/Say"
    assert lines == ["node '6': changed: its output 'same' only passes a value on; the links go around it"]


def test_subgraphs_beyond_the_limit_are_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MOST_WORK", 1)
    workflow, lines = imported(with_subgraph(["x"]))
    assert workflow.nodes["6_6"].inputs["text"] == "x"
    assert lines == ["changed: 1 use of subgraphs are too many to keep; their nodes take their place"]


def taken_apart(data: dict[str, Any]) -> Workflow:
    """The workflow of a file with the nodes of each subgraph in their place."""
    report = Report("")
    drawn = read_ui(data, {*RULES, *FOLDED}, report)
    importer = Importer(drawn.nodes, report)
    document = importer.document()
    return from_json(document | {"inputs": importer.form(drawn.form)})


def assert_same_flat(data: dict[str, Any], registry: Registry) -> None:
    """Flattened, an imported file has the nodes, edges and names that it has without sub-workflows."""
    wanted = taken_apart(deepcopy(data))
    found = flatten(from_json(import_ui(data)[0]), registry)

    def renamed(value: Any) -> Any:
        if type(value) is Edge:
            return Edge(value.node.replace("/", "_"), value.output)
        return [renamed(item) for item in value] if type(value) is list else value

    assert {
        id.replace("/", "_"): replace(node, inputs={name: renamed(value) for name, value in node.inputs.items()})
        for id, node in found.nodes.items()
    } == dict(wanted.nodes)
    assert [(item.name, renamed(item.source)) for item in found.outputs] == [
        (item.name, item.source) for item in wanted.outputs
    ]
    assert [(item.name, {(at.node.replace("/", "_"), at.input) for at in item.to}) for item in found.inputs] == [
        (item.name, {(at.node, at.input) for at in item.to}) for item in wanted.inputs
    ]


@pytest.mark.parametrize(
    "make", [with_subgraph, nested_subgraphs, lambda: with_subgraph(["x"], mode=4), lambda: group_node()]
)
def test_flattened_an_import_has_the_nodes_of_the_file(make: Any, registry: Registry) -> None:
    assert_same_flat(make(), registry)


def group_node() -> dict[str, Any]:
    """Two encoders in a group node of the older kind, with one input for each."""
    data = text_to_image()
    data["nodes"] = [node for node in data["nodes"] if node["id"] not in (6, 7)]
    encode = [part(n, "CLIPTextEncode", [word], [("clip", "CLIP", None)], outputs=["CONDITIONING"])
              for n, word in enumerate(("a", "b"))]  # fmt: skip
    inner = [{name: value for name, value in node.items() if name != "id"} for node in encode]
    data["extra"] = {"groupNodes": {"Pair": {"nodes": inner, "links": [], "external": []}}}
    sockets = [("clip", "CLIP", 1), ("CLIPTextEncode clip", "CLIP", 2)]
    outputs = ["CONDITIONING", "CONDITIONING"]
    data["nodes"].append(part(6, "workflow>Pair", ["first", "second"], sockets, outputs=outputs))
    data["links"][3:5] = [[4, 6, 0, 3, 1, "CONDITIONING"], [5, 6, 1, 3, 2, "CONDITIONING"]]
    return data


def test_a_group_node_is_kept() -> None:
    workflow, lines = imported(group_node())
    graph = workflow.graphs["Pair"]
    assert graph.nodes["0"].inputs["text"] == "first"
    assert graph.nodes["1"].inputs["text"] == "second"
    assert workflow.nodes["6"].inputs == {"clip": Edge("4", "clip"), "CLIPTextEncode_clip": Edge("4", "clip")}
    assert workflow.nodes["3"].inputs["positive"] == Edge("6", "conditioning")
    assert workflow.nodes["3"].inputs["negative"] == Edge("6", "conditioning-2")
    assert lines == []


def test_values_that_do_not_fit_a_group_node_are_told() -> None:
    data = group_node()
    find(data, 6)["widgets_values"] = ["only one"]
    workflow, lines = imported(data)
    assert workflow.graphs["Pair"].nodes["0"].inputs["text"] == "a"
    assert lines == ["node '6': changed: its values do not fit its nodes; those stored with the group are used"]


def test_decoration_is_told_and_not_kept() -> None:
    data = text_to_image()
    data["nodes"].append(part(20, "Label (rgthree)", None))
    workflow, lines = imported(data)
    assert "20" not in workflow.nodes
    assert lines == ["node '20': lost: Label (rgthree) does not run; it is left out as decoration"]


def test_an_unknown_class_keeps_its_raw_list_and_names_what_has_names() -> None:
    data = text_to_image()
    data["nodes"].append(part(20, "Odd", [1, "x"], [("image", "IMAGE", 9)], outputs=["IMAGE"]))
    named = [("amount", "INT", None, "amount"), ("word", "STRING", None, "word")]
    data["nodes"].append(part(21, "Even", [1, "x"], named, outputs=["IMAGE"]))
    workflow, lines = imported(data)
    assert workflow.nodes["20"].extra["comfyui"]["widgets_values"] == [1, "x"]
    assert workflow.nodes["20"].inputs == {"image": Edge("8", "image")}
    assert workflow.nodes["21"].inputs == {"amount": 1, "word": "x"}
    assert "node '20': lost: 2 values without a name: 1, 'x'" in lines


def test_comments_and_choices_of_a_prompt_are_resolved() -> None:
    data = text_to_image()
    find(data, 6)["widgets_values"] = ["a {red|blue} circle /* not */ here // nor this"]
    workflow, lines = imported(data)
    assert workflow.nodes["6"].inputs["text"] == "a red circle  here "
    assert lines == ["node '6': changed: ComfyUI picks one of {a|b} for each run; here the first one is used"]


def test_the_form_of_app_mode_becomes_named_inputs() -> None:
    data = text_to_image()
    data["extra"] = {"linearData": {"inputs": [[6, "text"], [3, "seed"], [7, "text"], [3, "nothing"]]}}
    workflow, lines = imported(data)
    assert workflow.inputs == (
        NamedInput("text", (Target("6", "text"),)),
        NamedInput("seed", (Target("3", "seed"),)),
        NamedInput("text-2", (Target("7", "text"),)),
    )
    assert lines == ["node '3': lost: the form shows 'nothing', which is no input here"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"links": [None, [1], "x"]}, "lost: 2 links that cannot be read"),
        ({"links": []}, "node '9': lost: the link to 'images' leads nowhere: the link is not in the file"),
        ({"links": [[9, 88, 0, 9, 0, "IMAGE"]]},
         "node '9': lost: the link to 'images' leads nowhere: the node '88' is not in the file"),
        ({"links": [[9, -10, 0, 9, 0, "IMAGE"]]},
         "node '9': lost: the link to 'images' leads nowhere: it is an input of a subgraph that does not exist"),
    ],
)  # fmt: skip
def test_links_to_nothing_are_told(change: dict[str, Any], line: str) -> None:
    assert line in imported(text_to_image() | change)[1]


def test_a_circle_of_reroutes_is_told() -> None:
    nodes = [part(n, "Reroute", None, [("", "*", n)], outputs=["*"]) for n in (1, 2)]
    nodes.append(part(3, "PreviewImage", [], [("images", "IMAGE", 3)]))
    links = [[1, 2, 0, 1, 0, "*"], [2, 1, 0, 2, 0, "*"], [3, 1, 0, 3, 0, "*"]]
    workflow, lines = imported({"nodes": nodes, "links": links})
    assert workflow.nodes["3"].inputs == {}
    assert "node '3': lost: the link to 'images' leads nowhere: the links go in a circle" in lines


def twice() -> dict[str, Any]:
    data = text_to_image()
    data["nodes"].append(deepcopy(data["nodes"][0]))
    return data


def endless() -> dict[str, Any]:
    data = with_subgraph()
    data["definitions"]["subgraphs"][0]["nodes"].append(part(9, "sub"))
    return data


def doubling() -> dict[str, Any]:
    """Twenty levels, each with two of the next one."""
    levels = [{"id": f"level-{n}", "nodes": [part(k, f"level-{n + 1}") for k in (1, 2)]} for n in range(20)]
    return {"nodes": [part(1, "level-0")], "links": [], "definitions": {"subgraphs": levels}}


def deep() -> dict[str, Any]:
    levels = [{"id": f"level-{n}", "nodes": [part(1, f"level-{n + 1}")]} for n in range(500)]
    return {"nodes": [part(1, "level-0")], "links": [], "definitions": {"subgraphs": levels}}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (twice(), "two nodes have the id '4'"),
        ({"nodes": [{"type": "Note"}], "links": []}, "a node has no id or no type"),
        ({"nodes": [3], "links": []}, "a node has no id or no type"),
        (endless(), "the subgraph of the node '6:9' contains itself"),
        (doubling(), "too many nodes, counting those of each use of a subgraph"),
        (deep(), "too many levels of subgraphs"),
        ({"nodes": [part(1, "X", None, [("a", "INT", None)] * 1001)], "links": []},
         "the node '1' has more than 1000 inputs"),
    ],
)  # fmt: skip
def test_hostile_files_are_errors(data: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        import_file(json.dumps(data).encode())
    assert [problem.message for problem in caught.value.problems] == [message]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([1, "1", -10]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
IDS = st.sampled_from([1, 2, "2", 3, 4])
TYPES = st.sampled_from([
    "KSampler", "Reroute", "PrimitiveNode", "GetNode", "SetNode", "Note", "sub", "other", "workflow>g", "Odd",
    "LoadImage", "LoraLoader", "Power Lora Loader (rgthree)", "ResizeImageMaskNode",
])  # fmt: skip
KINDS = st.sampled_from(["CLIP", "*", "INT"])
SOCKET = st.fixed_dictionaries(
    {"name": st.sampled_from(["clip", "model", "", "text"]) | JSON, "type": KINDS | JSON},
    optional={"link": st.integers(1, 6) | JSON, "widget": st.just({"name": "text"}) | JSON, "shape": st.just(7)},
)
PART = st.fixed_dictionaries(
    {"id": IDS, "type": TYPES},
    optional={"inputs": st.lists(SOCKET, max_size=3) | JSON, "outputs": st.lists(SOCKET, max_size=2) | JSON,
              "widgets_values": st.lists(JSON, max_size=8) | JSON, "widgets_values_named": JSON, "title": JSON,
              "mode": st.sampled_from([0, 2, 4]) | JSON, "pos": JSON, "size": JSON, "flags": JSON, "color": JSON},
)  # fmt: skip
LINK = st.tuples(
    st.integers(1, 6), IDS | st.just(-10), st.integers(0, 2), IDS | st.just(-20), st.integers(0, 2), JSON
).map(list)
GRAPH = {
    "nodes": st.lists(PART, max_size=4, unique_by=lambda item: str(item["id"])) | st.lists(PART, max_size=2),
    "links": st.lists(LINK | JSON, max_size=6),
}
SUBGRAPH = st.fixed_dictionaries(
    {"id": st.sampled_from(["sub", "other"]) | JSON, **GRAPH, "inputs": st.lists(SOCKET, max_size=2), "outputs": JSON}
)
FILE = st.fixed_dictionaries(
    GRAPH,
    optional={"definitions": st.fixed_dictionaries({"subgraphs": st.lists(SUBGRAPH, max_size=2) | JSON}) | JSON,
              "extra": st.fixed_dictionaries({"groupNodes": st.fixed_dictionaries({"g": st.fixed_dictionaries(GRAPH)}),
                                              "linearData": JSON}) | JSON,
              "groups": st.lists(st.fixed_dictionaries({"bounding": JSON, "title": JSON}), max_size=2) | JSON},
)  # fmt: skip


@given(data=FILE)
def test_whatever_a_file_holds_gives_a_document_or_our_error(registry: Registry, data: Any) -> None:
    try:
        taken_apart(deepcopy(data))
    except LoomError:
        with pytest.raises(LoomError):
            from_json(import_ui(data)[0])
    else:
        assert_same_flat(data, registry)
