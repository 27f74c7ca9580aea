"""Files with random faults become a document or our error: values of wrong types, missing parts, ids given twice."""

import json
from copy import deepcopy
from random import Random
from typing import Any

import pytest
from comfyui_drawings import part, text_to_image
from comfyui_uses import SOURCES, USES, node

from latentloom.engine.document.reading import from_json
from latentloom.engine.errors import LoomError, WorkflowError
from latentloom.plugins.comfyui.importing import import_file, import_graph

VALUES: list[Any] = [
    None, True, -1, 0, 2**70, float("nan"), float("-inf"), "", "x" * 300, "\ud800", [], [[]], {}, [None], ["3", 0],
    [1, 10**9], ["none", 0], "None", "fixed", "\0",
]  # fmt: skip


def faulty(data: Any, random: Random) -> Any:
    """A copy of a file with one to ten faults."""
    data = deepcopy(data)
    for _ in range(random.choice([1, 2, 3, 10])):
        places = list(_places(data))
        if places:
            holder, key = random.choice(places)
            _break(holder, key, random)
    return data


def _places(data: Any) -> Any:
    """Yield every (container, key) of a file."""
    for key, value in list(data.items() if type(data) is dict else enumerate(data)):
        yield data, key
        if type(value) in (dict, list):
            yield from _places(value)


def _break(holder: Any, key: Any, random: Random) -> None:
    way = random.randrange(5)
    if way == 0:
        del holder[key]
    elif way == 1 and type(holder) is list:
        holder.insert(key, deepcopy(holder[key]))
    elif way == 2 and type(holder) is dict:
        holder[f"{key}{random.choice(['', ' ', '_2'])}"] = holder.pop(key)
    elif way == 3 and type(holder[key]) is int:
        holder[key] += random.choice([-1, 1, 1000])
    else:
        holder[key] = deepcopy(random.choice(VALUES))


def with_levels() -> dict[str, Any]:
    """A file with a subgraph in a subgraph, a group node, a reroute and a form."""
    data = text_to_image()
    port = {"name": "text", "type": "STRING"}
    encode = part(1, "CLIPTextEncode", ["x"], [("clip", "CLIP", 1)], outputs=["CONDITIONING"])
    inner = {"id": "inner", "nodes": [encode],
             "links": [{"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 1, "target_slot": 0, "type": "CLIP"}],
             "inputs": [{"name": "clip", "type": "CLIP"}, port], "outputs": []}  # fmt: skip
    outer = {"id": "outer", "nodes": [part(1, "inner", ["y"], [("clip", "CLIP", None)])], "links": [], "inputs": [port],
             "outputs": []}  # fmt: skip
    group = {"nodes": [part(0, "CLIPTextEncode", ["z"], [("clip", "CLIP", None)])], "links": [], "external": []}
    data["nodes"] += [
        part(20, "outer", ["a"]),
        part(21, "workflow>g", ["b"]),
        part(22, "Reroute", None, [("", "*", 3)]),
    ]
    data["definitions"] = {"subgraphs": [inner, outer]}
    data["extra"] = {"groupNodes": {"g": group}, "linearData": {"inputs": [[3, "seed"]]}}
    return data


FILES = {"plain": text_to_image(), "levels": with_levels()}
ODD = [True, -1, 2**70, 1e300, "", "\ud800", {}, {"a": 1}, ["gone", 0], ["c", -1], ["c", 9], ["n", 0]]


@pytest.mark.parametrize("name", USES)
def test_an_input_of_a_class_may_be_missing_or_of_any_type(name: str) -> None:
    for input, value in USES[name].items():
        others = {other: kept for other, kept in USES[name].items() if other != input}
        for odd in (None, *ODD) if type(value) is not list else (None, 3, *ODD[-4:]):
            changed = others if odd is None else {**others, input: odd}
            from_json(import_graph({**SOURCES, "n": node(name, **changed)})[0])


@pytest.mark.parametrize("file", FILES)
def test_a_file_with_faults_is_a_document_or_our_error(file: str) -> None:
    random = Random(file)
    for _ in range(150):
        data = json.dumps(faulty(FILES[file], random)).encode()
        try:
            found = import_file(data)
        except LoomError:
            continue
        if found is not None:
            from_json(found[0])


def test_a_link_from_a_node_that_counts_as_decoration_is_reported() -> None:
    data = text_to_image()
    data["nodes"][0] = part(4, "OddLoader", ["x"])
    document, report = import_file(json.dumps(data).encode()) or ({}, {})
    assert "clip" not in document["nodes"]["6"]["inputs"]
    assert "node '6': lost: 'clip' comes from the node '4', which has no outputs" in report["lines"]


def test_a_hundred_thousand_nodes_are_refused() -> None:
    data = {"nodes": [part(n, "Note") for n in range(100_000)], "links": []}
    with pytest.raises(WorkflowError, match="too many nodes"):
        import_file(json.dumps(data).encode())
