"""The document reader: every fault of form with its code and text, and nothing but its own errors."""

import json
from typing import Any

import pytest
import toys
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.engine.document.reading import from_json, read
from latentloom.engine.document.strict_json import Limits, parse
from latentloom.engine.document.workflow import Edge, Node, Workflow
from latentloom.engine.document.writing import write
from latentloom.engine.errors import Problem, WorkflowError


def problems(data: Any) -> list[Problem]:
    with pytest.raises(WorkflowError) as caught:
        read(data if isinstance(data, bytes | str) else json.dumps(data))
    return list(caught.value.problems)


def only(data: Any) -> dict[str, str]:
    (problem,) = problems(data)
    return problem.record()


def with_node(**node: Any) -> dict[str, Any]:
    return {"format": "latentloom/1", "nodes": {"a": {"type": "T", **node}}}


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (b"", "not_json", "not JSON: Expecting value at line 1, column 1"),
        (b'{"format": }', "not_json", "not JSON: Expecting value at line 1, column 12"),
        (b"[1,\n2", "not_json", "not JSON: Expecting ',' delimiter at line 2, column 2"),
        (b"\xff\xfe{}", "not_text", "not UTF-8 text: invalid start byte at byte 0"),
        ('"\ud800"', "not_text", "not UTF-8 text: surrogates not allowed at byte 1"),
        (b'{"a": 1, "b": 2, "a": 3}', "duplicate_key", "the key 'a' appears twice in one object"),
        (b'{"a": {"\\n": 1, "\\n": 3}}', "duplicate_key", "the key '\\n' appears twice in one object"),
        (b'{"a": NaN}', "not_finite", "NaN is not a number that a workflow can hold"),
        (b'{"a": -Infinity}', "not_finite", "-Infinity is not a number that a workflow can hold"),
        (b'{"a": 1e400}', "not_finite", "1e400 is not a number that a workflow can hold"),
        (b'{"a": "\\ud800"}', "lone_surrogate", "a text contains an unpaired surrogate"),
        (b'{"\\udfff": 1}', "lone_surrogate", "a text contains an unpaired surrogate"),
        (b"9" * 5000, "too_long_integer", "an integer is too long"),
        (b"[" * 100_000, "too_deep", "the document is nested too deeply"),
        (b'{"a":' * 100_000, "too_deep", "the document is nested too deeply"),
        (b'["' + b"[" * 100_000, "not_json", "not JSON: Unterminated string starting at at line 1, column 2"),
    ],
)
def test_what_is_no_document_is_refused(data: Any, code: str, message: str) -> None:
    found = only(data)
    assert (found["code"], found["message"]) == (code, message)


def test_a_byte_order_mark_is_no_fault() -> None:
    assert read(b'\xef\xbb\xbf{"format": "latentloom/1"}') == Workflow({})


def test_a_huge_document_is_refused_unread() -> None:
    with pytest.raises(WorkflowError) as caught:
        read(b" " * 101, Limits(size=100))
    assert str(caught.value) == "the document is too large (expected at most 100 bytes, got 101 bytes)"


def test_too_many_nodes_are_one_problem() -> None:
    nodes = {f"n{n}": {} for n in range(11)}
    with pytest.raises(WorkflowError) as caught:
        from_json({"format": "latentloom/1", "nodes": nodes}, Limits(nodes=10))
    assert str(caught.value) == "too many nodes (expected at most 10, got 11)"


def test_depth_is_allowed_up_to_its_limit() -> None:
    assert parse("[" * 64 + "]" * 64)
    assert only("[" * 65 + "]" * 65)["expected"] == "at most 64 levels"


def test_brackets_inside_texts_are_no_depth() -> None:
    assert parse(json.dumps("[{" * 1000 + '\\"')) == "[{" * 1000 + '\\"'


def test_a_long_text_costs_no_stack() -> None:
    assert len(parse('"' + "x\\\\" * 1_000_000 + '"')) == 2_000_000


def test_many_duplicate_keys_are_found_at_once() -> None:
    text = "{" + ",".join(f'"k{n}": 1' for n in range(100_000)) + ', "k99999": 2}'
    assert only(text)["message"] == "the key 'k99999' appears twice in one object"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ([], "the workflow is malformed (expected an object, got a list of 0)"),
        (5, "the workflow is malformed (expected an object, got 5)"),
        ({"format": "latentloom/1", "nodes": []}, "'nodes' is malformed (expected an object, got a list of 0)"),
        ({"format": "latentloom/1", "name": 5}, "'name' is malformed (expected text, got 5)"),
        ({"format": "latentloom/1", "inputs": {}}, "'inputs' is malformed (expected a list, got a dict of 0)"),
        ({"format": "latentloom/1", "outputs": "x"}, "'outputs' is malformed (expected a list, got 'x')"),
        ({"format": "latentloom/1", "node": {}}, "unknown key 'node' in the workflow. Did you mean 'nodes'?"),
        (with_node(type=5), "node 'a': 'type' is malformed (expected text, got 5)"),
        (with_node(version="1"), "node 'a': 'version' is malformed (expected an integer, got '1')"),
        (with_node(version=True), "node 'a': 'version' is malformed (expected an integer, got True)"),
        (with_node(version=0), "node 'a': 'version' starts at 1 (got 0)"),
        (with_node(title=[]), "node 'a': 'title' is malformed (expected text, got a list of 0)"),
        (with_node(mode="muted"), "node 'a': unknown mode (expected active, bypass, mute, got 'muted')"),
        (with_node(mode=[]), "node 'a': unknown mode (expected active, bypass, mute, got a list of 0)"),
        (with_node(inputs=[]), "node 'a': 'inputs' is malformed (expected an object, got a list of 0)"),
        (with_node(input={}), "node 'a': unknown key 'input' in the node. Did you mean 'inputs'?"),
    ],
)
def test_a_wrong_form_is_named(data: Any, text: str) -> None:
    assert [str(problem) for problem in problems(data)] == [text]


def test_a_node_that_is_no_object_is_named() -> None:
    assert only({"format": "latentloom/1", "nodes": {"a": 5}})["message"] == "the node is malformed"


@pytest.mark.parametrize("id", ["", "a b", "a/b", "ä", "x" * 201, "a\n"])
def test_a_node_id_is_refused(id: str) -> None:
    found = only({"format": "latentloom/1", "nodes": {id: {"type": "T"}}})
    assert (found["code"], found["expected"]) == ("bad_node_id", "letters, digits, '_' and '-', at most 200")


@pytest.mark.parametrize("format", [None, "latentloom/0", "comfyui", 1, [], "latentloom/x"])
def test_another_format_is_refused(format: Any) -> None:
    found = only({"format": format})
    assert (found["code"], found["hint"]) == ("unknown_format", 'a workflow starts with "format": "latentloom/1"')


def test_a_newer_format_asks_for_an_update() -> None:
    assert only({"format": "latentloom/2"})["hint"] == "this file was made by a newer version of Latentloom: update"


@pytest.mark.parametrize(
    "value", [{}, {"node": "a"}, {"node": "a", "output": 1}, {"node": "a", "output": "x", "y": 1}, {"Literal": 1}]
)
def test_an_object_that_is_no_edge_asks_to_be_wrapped(value: Any) -> None:
    for written in (value, [1, value]):
        found = only(with_node(inputs={"x": written}))
        assert (found["code"], found["node"], found["input"]) == ("bad_value", "a", "x")
        assert found["hint"] == 'wrap an object that is meant as a value: {"literal": ...}'


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ({"node": "b", "output": "o"}, Edge("b", "o")),
        ({"literal": {"node": "b", "output": "o"}}, {"node": "b", "output": "o"}),
        ({"literal": {"literal": 1}}, {"literal": 1}),
        ({"literal": 5}, 5),
        ([1, {"node": "b", "output": "o"}, {"literal": {}}], [1, Edge("b", "o"), {}]),
        ([[{"node": "b", "output": "o"}]], [[{"node": "b", "output": "o"}]]),
    ],
)
def test_an_input_is_an_edge_or_a_literal(written: Any, value: Any) -> None:
    assert read(json.dumps(with_node(inputs={"x": written}))).nodes["a"].inputs == {"x": value}


@pytest.mark.parametrize("name", [None, 5, "", "1a", "a b", "a" * 101, "-a"])
def test_a_named_input_needs_a_usable_name(name: Any) -> None:
    for place in ("inputs", "outputs"):
        found = only({"format": "latentloom/1", place: [{"name": name}]})
        assert (found["code"], found["message"]) == ("bad_name", f"an entry of '{place}' has no valid name")


def test_a_name_stands_once() -> None:
    source = {"node": "a", "output": "o"}
    found = only({"format": "latentloom/1", "outputs": [{"name": "x", "from": source}] * 2})
    assert (found["code"], found["message"]) == ("duplicate_name", "'x' appears twice in 'outputs'")


@pytest.mark.parametrize("to", [[], [5], [{"node": "a"}], [{"node": "a", "input": 5}], [{"node": "a", "output": "b"}]])
def test_a_named_input_goes_to_inputs(to: Any) -> None:
    assert only({"format": "latentloom/1", "inputs": [{"name": "x", "to": to}]}) == {
        "code": "bad_document",
        "message": "'to' of input 'x' is malformed",
        "expected": '[{"node": ..., "input": ...}]',
    }


@pytest.mark.parametrize(
    "source", [None, 5, {}, {"node": "a"}, {"node": "a", "output": 5}, {"node": "a", "input": "b"}]
)
def test_a_named_output_comes_from_an_output(source: Any) -> None:
    found = only({"format": "latentloom/1", "outputs": [{"name": "x", "from": source}]})
    assert found["message"] == "'from' of output 'x' is malformed"


def test_all_problems_come_at_once_in_the_document_s_order() -> None:
    data = {"nod": 1, "format": "x", "nodes": {"a": {"typ": "T"}, "b c": 5}, "outputs": [5]}
    assert [problem.code for problem in problems(data)] == [
        "unknown_format",
        "unknown_key",
        "unknown_key",
        "bad_document",
        "bad_node_id",
        "bad_document",
        "bad_document",
    ]


@pytest.mark.parametrize("data", [{1: 2}, {"format": "latentloom/1", "nodes": {1: {"type": "T"}}}, None, object()])
def test_python_data_with_odd_keys_is_refused(data: Any) -> None:
    with pytest.raises(WorkflowError):
        from_json(data)


# Writing

NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
IDS = st.text("abcXYZ019_-", min_size=1, max_size=4)
EDGES = st.builds(Edge, IDS, TEXTS, st.none())
NODES = st.builds(
    Node,
    type=TEXTS,
    version=st.integers(1, 9),
    inputs=st.dictionaries(TEXTS, EDGES | JSON | st.lists(EDGES | JSON, max_size=3), max_size=3),
    title=st.none() | TEXTS,
    mode=st.sampled_from(("active", "bypass", "mute")),
    extra=JSON,
    each=st.lists(TEXTS, max_size=2, unique=True).map(tuple),
    on_error=st.sampled_from(("stop", "keep")),
)
WORKFLOWS = st.builds(Workflow, nodes=st.dictionaries(IDS, NODES, max_size=4), name=TEXTS, layout=JSON, extra=JSON)


@settings(max_examples=60)
@given(WORKFLOWS)
def test_reading_what_was_written_gives_the_same(workflow: Workflow) -> None:
    text = write(workflow)
    assert repr(read(text)) == repr(read(write(read(text))))
    assert read(text) == workflow
    assert write(read(text)) == text


def test_numbers_are_written_in_their_declared_type() -> None:
    specs = toys.registry().nodes
    inputs = {"a": 3.0, "b": 2**60}
    nodes = {"i": Node("toys/Add", 1, inputs), "f": Node("toys/Half", 1, {"x": 2}), "?": Node("None", 1, {"x": 2**60})}
    data = json.loads(write(Workflow(nodes), lambda type: specs[type].spec if type in specs else None))["nodes"]
    assert repr(data["i"]["inputs"]) == "{'a': 3, 'b': '1152921504606846976'}"
    assert repr(data["f"]["inputs"]) == "{'x': 2.0}"
    assert data["?"]["inputs"] == {"x": "1152921504606846976"}


def test_large_integers_in_json_stay_what_they_are() -> None:
    specs = toys.registry().nodes
    workflow = Workflow({"w": Node("toys/Words", 1, {"data": {"n": [2**60]}})})
    text = write(workflow, lambda type: specs[type].spec)
    assert read(text) == workflow


def test_the_canonical_form_is_for_people() -> None:
    text = write(Workflow({"b": Node("T", 1, {"z": 1, "a": "ü"})}))
    assert text.splitlines()[:4] == ["{", '  "format": "latentloom/1",', '  "inputs": [],', '  "name": "",']
    assert '"a": "ü",\n        "z": 1\n' in text and text.endswith("}\n")


# Nothing but its own errors


def read_or_refuse(data: bytes | str) -> None:
    try:
        read(data)
    except WorkflowError as error:
        assert all(problem.message for problem in error.problems)


@settings(max_examples=100)
@given(st.binary(max_size=60) | st.text(max_size=60))
def test_the_reader_raises_only_its_own_errors_for_bytes(data: bytes | str) -> None:
    read_or_refuse(data)


@settings(max_examples=100)
@given(JSON)
def test_the_reader_raises_only_its_own_errors_for_json(data: Any) -> None:
    read_or_refuse(json.dumps(data))
    if isinstance(data, dict):
        read_or_refuse(json.dumps({"format": "latentloom/1", "nodes": data, "inputs": [data], "outputs": [data]}))


GOOD = json.dumps(
    {
        **toys.flow("b", a=toys.use("Add", a=1), b=toys.use("Sum", items=[1, "@a"])),
        "inputs": [{"name": "x", "to": [{"node": "a", "input": "a"}]}],
        "layout": {"nodes": {"a": {"x": 1}}},
    }
)


@settings(max_examples=120)
@given(
    st.integers(0, len(GOOD) - 1),
    st.integers(0, 4),
    st.sampled_from(["", "{", "]", '"', "\\ud800", "1e999", "-", "5", "null", ",", "\0"]),
)
def test_the_reader_raises_only_its_own_errors_for_damaged_documents(place: int, length: int, other: str) -> None:
    read_or_refuse(GOOD[:place] + other + GOOD[place + length :])


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in items for found in _paths(item, (*path, key)))]


@settings(max_examples=120)
@given(st.sampled_from(_paths(json.loads(GOOD))[1:]), JSON)
def test_the_reader_raises_only_its_own_errors_for_other_values(path: tuple[Any, ...], other: Any) -> None:
    data = json.loads(GOOD)
    holder = data
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = other
    read_or_refuse(json.dumps(data))
