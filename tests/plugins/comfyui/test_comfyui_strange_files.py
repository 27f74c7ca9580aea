"""Files with unusual parts import with the meaning that they have in ComfyUI, or with a line in the report."""

import json
from typing import Any

import pytest
from comfyui_drawings import find, part, text_to_image
from comfyui_uses import SOURCES, node

from latentloom.engine.document.reading import from_json
from latentloom.plugins.comfyui.importing import import_file, import_graph


def imported(data: Any) -> tuple[dict[str, Any], list[str]]:
    document, report = import_file(json.dumps(data).encode()) or ({}, {})
    from_json(document)
    return document["nodes"], report["lines"]


def sampled(values: Any) -> dict[str, Any]:
    data = text_to_image()
    find(data, 3)["widgets_values"] = values
    inputs: dict[str, Any] = imported(data)[0]["3"]["inputs"]
    return inputs


USUAL = {"seed": 5, "steps": 4, "cfg": 8, "sampler": "euler", "schedule": "normal", "denoise": 1}


@pytest.mark.parametrize(
    "values",
    [
        [5, 4, 8, "euler", "normal", 1],
        [5, None, 4, 8, "euler", "normal", 1],
        [5, "increment-wrap", 4, 8, "euler", "normal", 1],
        ["5", "fixed", "4", "8", "euler", "normal", "1"],
        [5.0, "fixed", 4.7, 8, "euler", "normal", 1.0],
        {"seed": 5, "steps": 4, "cfg": 8, "sampler_name": "euler", "scheduler": "normal", "denoise": 1, "x": None},
    ],
)
def test_the_values_of_a_sampler_are_read(values: Any) -> None:
    inputs = sampled(values)
    assert {name: inputs[name] for name in USUAL} == USUAL
    assert (type(inputs["seed"]), type(inputs["steps"])) == (int, int)


def test_a_large_seed_as_a_text_stays_exact() -> None:
    assert sampled([str(2**64 - 1), "fixed", 4, 8, "euler", "normal", 1])["seed"] == 2**64 - 1


@pytest.mark.parametrize("text", ["1e400", "nan", "four", "", "0x10", "1_0"])
def test_a_text_that_is_no_number_is_kept_or_a_placeholder(text: str) -> None:
    nodes = import_graph({**SOURCES, "n": node("EmptyLatentImage", width=text, height=64, batch_size=1)})[0]["nodes"]
    assert nodes["n"]["inputs"]["width"] in (text, 10)


def test_one_primitive_feeds_two_widgets_through_reroutes() -> None:
    data = text_to_image()
    find(data, 3)["inputs"] += [
        {"name": name, "type": "INT", "link": link, "widget": {"name": name}}
        for name, link in (("seed", 21), ("steps", 22))
    ]
    data["nodes"] += [
        part("p\u00e4ron", "PrimitiveNode", [77, "fixed"], outputs=["INT"]),
        part(51, "Reroute", None, [("", "*", 23)], outputs=["*"]),
        part(52, "Reroute", None, [("", "*", 24)], outputs=["*"]),
    ]
    data["links"] += [
        [23, "p\u00e4ron", 0, 51, 0, "INT"],
        [24, 51, 0, 52, 0, "*"],
        [21, 52, 0, 3, 4, "INT"],
        [22, 52, 0, 3, 5, "INT"],
    ]
    inputs = imported(data)[0]["3"]["inputs"]
    assert (inputs["seed"], inputs["steps"], inputs["cfg"]) == (77, 77, 8)


@pytest.mark.parametrize("values", [[512, "fixed"], {"value": 512}])
def test_a_primitive_may_keep_its_value_by_name(values: Any) -> None:
    data = text_to_image()
    find(data, 5)["inputs"] = [{"name": "width", "type": "INT", "link": 40, "widget": {"name": "width"}}]
    data["nodes"].append(part(41, "PrimitiveNode", values, outputs=["INT"]))
    data["links"].append([40, 41, 0, 5, 0, "INT"])
    assert imported(data)[0]["5"]["inputs"]["width"] == 512


@pytest.mark.parametrize(
    ("text", "first"),
    {"{cat|{dog|bird}}": "cat", "{{a|b}|c} d": "a d", "{a|b} {c}": "a c", "\\{a|b\\}": "\\{a|b\\}"}.items(),
)
def test_the_first_of_nested_choices_counts(text: str, first: str) -> None:
    data = text_to_image()
    find(data, 6)["widgets_values"] = [text]
    nodes, lines = imported(data)
    assert nodes["6"]["inputs"]["text"] == first
    assert any("picks one of {a|b}" in line for line in lines) == (text != first)


def test_two_links_with_one_id_are_told() -> None:
    data = text_to_image()
    data["links"].append([3, 5, 0, 3, 0, "LATENT"])
    nodes, lines = imported(data)
    assert nodes["3"]["inputs"]["model"] == {"node": "5", "output": "latent"}
    assert "lost: 1 link whose id another link has: the last one counts" in lines


def test_a_list_of_a_hundred_thousand_values_is_told_with_its_count() -> None:
    data = text_to_image()
    find(data, 5)["widgets_values"] = list(range(100_000))
    assert "node '5': lost: 99997 values without a name: 3, 4, 5, ..." in imported(data)[1]


TEXT = "11111111-2222-3333-4444-555555555555"
OUTER = "99999999-2222-3333-4444-555555555555"
PORTS = [{"name": "clip", "type": "CLIP"}, {"name": "text", "type": "STRING"}]
WIRES = [(1, -10, 0, 1, 0), (2, -10, 1, 1, 1), (3, 1, 0, -20, 0)]


def subgraph(id: str, inner: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
    links = [{**dict(zip(names, wire, strict=True)), "type": "*"} for wire in WIRES]
    outputs = [{"name": "cond", "type": "CONDITIONING"}]
    return {"id": id, "name": id, "nodes": [inner], "links": links, "inputs": PORTS, "outputs": outputs}


def inner(type: str, text: str, **more: Any) -> dict[str, Any]:
    sockets = [("clip", "CLIP", 1), ("text", "STRING", 2, "text")]
    return part(1, type, [text], sockets, outputs=["CONDITIONING"], **more)


def with_subgraph(type: str, values: Any, **more: Any) -> dict[str, Any]:
    """The file with a use of a subgraph in place of its positive prompt."""
    data = text_to_image()
    use = part(6, type, values, [("clip", "CLIP", 1)], outputs=["CONDITIONING"], **more)
    data["nodes"] = [use if found["id"] == 6 else found for found in data["nodes"]]
    data["definitions"] = {
        "subgraphs": [subgraph(TEXT, inner("CLIPTextEncode", "inside")), subgraph(OUTER, inner(TEXT, "between"))]
    }
    return data


@pytest.mark.parametrize(
    ("type", "values", "more", "text"),
    [
        (TEXT, ["of the use"], {}, "of the use"),
        (OUTER, ["of the use"], {}, "of the use"),
        (OUTER, [], {"properties": {"proxyWidgets": [["1", "text"]]}}, "inside"),
        (OUTER, ["by place"], {"widgets_values_named": {"text": "by name"}}, "by name"),
    ],
)
def test_the_promoted_text_of_nested_subgraphs_counts(type: str, values: Any, more: Any, text: str) -> None:
    nodes, _ = imported(with_subgraph(type, values, **more))
    assert nodes["6"]["inputs"]["text"] == text


@pytest.mark.parametrize("mode", [0, 2, 4])
def test_a_bypassed_subgraph_is_not_entered(mode: int) -> None:
    data = with_subgraph(TEXT, ["x"], mode=4)
    data["definitions"]["subgraphs"][0]["nodes"][0]["mode"] = mode
    nodes, lines = imported(data)
    assert "positive" not in nodes["3"]["inputs"]
    assert nodes["6_1"]["mode"] == "mute"
    assert "node '3': lost: the link to 'positive' leads nowhere: a bypassed node has nothing to pass on" in lines
