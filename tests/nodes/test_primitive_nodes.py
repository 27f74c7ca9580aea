"""Plain values, alone and in workflows."""

import pytest

from latentloom.engine.errors import BadValueError, NodeError, WorkflowError
from latentloom.nodes.primitives import MAX_TEXT, choice, join_text


def workflow(nodes, output):
    return {
        "format": "latentloom/1",
        "name": "test",
        "nodes": {id: {"type": type, "inputs": inputs} for id, (type, inputs) in nodes.items()},
        "outputs": [{"name": "result", "from": {"node": output, "output": "value"}}],
    }


def edge(id):
    return {"node": id, "output": "value"}


def result(plain, nodes, output):
    return plain.run(workflow(nodes, output))["result"]


def problems(plain, type, **inputs):
    return [(p.code, p.input, p.expected) for p in plain.validate(workflow({"a": (type, inputs)}, "a"))]


# What is refused


@pytest.mark.parametrize(
    ("type", "name", "value", "code"),
    [
        ("Integer", "value", 2**53, "out_of_range"),
        ("Integer", "value", -(2**53), "out_of_range"),
        ("Integer", "value", 1.5, "wrong_type"),
        ("Integer", "value", True, "wrong_type"),
        ("Integer", "value", "ten", "wrong_type"),
        ("Float", "value", float("nan"), "wrong_type"),
        ("Float", "value", float("inf"), "wrong_type"),
        ("Float", "value", "1.5", "wrong_type"),
        ("Float", "value", None, "wrong_type"),
        ("Boolean", "value", 1, "wrong_type"),
        ("Boolean", "value", "true", "wrong_type"),
        ("SeedNumber", "seed", -1, "out_of_range"),
        ("SeedNumber", "seed", 2**64, "out_of_range"),
        ("SeedNumber", "seed", "sometimes", "wrong_type"),
        ("Text", "text", 7, "wrong_type"),
        ("Text", "text", "x" * (MAX_TEXT + 1), "out_of_range"),
        ("JoinText", "texts", "a, b", "wrong_type"),
        ("JoinText", "texts", ["a", 1], "wrong_type"),
    ],
)
def test_a_value_of_another_type_or_size_is_refused(type, name, value, code, plain):
    assert [(p[0], p[1]) for p in problems(plain, type, **{name: value})] == [(code, name)]


def test_inputs_without_a_default_must_be_given(plain):
    assert problems(plain, "JoinText") == [("missing_input", "texts", "a value")]
    assert problems(plain, "Choice") == [("missing_input", "options", "a value")]
    assert [p[1] for p in problems(plain, "If")] == ["condition", "then", "otherwise"]


def test_texts_that_double_and_double_are_stopped_before_they_fill_the_memory(plain):
    nodes = {"n0": ("Text", {"text": "x" * 1000})}
    nodes |= {f"n{i}": ("JoinText", {"texts": [edge(f"n{i - 1}")] * 10, "separator": ""}) for i in range(1, 30)}
    with pytest.raises(NodeError) as caught:
        plain.run(workflow(nodes, "n29"))
    problem = caught.value.problem
    assert (problem.node, problem.expected, problem.got) == ("n4", "at most 1000000 characters", "10000000")


# Numbers, texts, seeds


@pytest.mark.parametrize(
    ("type", "name", "value"),
    [
        ("Text", "text", "two\nlines, 円, \U0001f600"),
        ("Integer", "value", -(2**53) + 1),
        ("Float", "value", 1e-300),
        ("Boolean", "value", True),
        ("SeedNumber", "seed", 2**64 - 1),
    ],
)
def test_a_value_comes_out_as_it_went_in(type, name, value, plain):
    found = result(plain, {"a": (type, {name: value})}, "a")
    assert (found, found.__class__) == (value, value.__class__)


def test_a_whole_number_becomes_a_float_where_one_is_declared(plain):
    assert repr(result(plain, {"a": ("Integer", {"value": 2}), "b": ("Float", {"value": edge("a")})}, "b")) == "2.0"


def test_a_random_seed_is_drawn_once_for_all_that_it_feeds(plain):
    nodes = {
        "seed": ("SeedNumber", {"seed": "random"}),
        "a": ("Integer", {"value": edge("seed")}),
        "b": ("Integer", {"value": edge("seed")}),
    }
    two = workflow(nodes, "a")
    two["outputs"].append({"name": "other", "from": edge("b")})
    first, second = plain.run(two), plain.run(two)
    assert first["result"] == first["other"] == first.workflow.nodes["seed"].inputs["seed"]
    assert first["result"] != second["result"]


def test_texts_join_in_their_order_wherever_they_come_from(plain):
    nodes = {"a": ("Text", {"text": "a cat"}), "b": ("JoinText", {"texts": ["photo", edge("a"), "", "night"]})}
    assert result(plain, nodes, "b") == "photo, a cat, night"


@pytest.mark.parametrize(
    ("texts", "separator", "joined"),
    [([], ", ", ""), (["a"], ", ", "a"), (["", ""], ", ", ""), (["a", "b"], "", "ab"), (["a", "b"], "\n", "a\nb")],
)
def test_a_separator_stands_only_between_texts(texts, separator, joined):
    assert join_text(texts, separator) == joined


def test_a_text_may_have_the_full_length_and_no_more():
    assert len(join_text(["x" * 499_999, "y" * 499_999])) == MAX_TEXT
    with pytest.raises(BadValueError, match="the joined text is too long"):
        join_text(["x" * 499_999, "y" * 500_000])


# Choices

STYLES = "\n watercolour \n\noil\r\nink\n"


@pytest.mark.parametrize(
    ("inputs", "chosen"),
    [
        ({}, "watercolour"),
        ({"index": 2}, "ink"),
        ({"name": "oil"}, "oil"),
        ({"name": " oil ", "index": 2}, "oil"),
        ({"index": 99, "name": "ink"}, "ink"),
    ],
)
def test_an_option_is_chosen_by_place_or_by_name(inputs, chosen, plain):
    assert result(plain, {"a": ("Choice", {"options": STYLES, **inputs})}, "a") == chosen


def test_a_place_that_no_option_has_is_told():
    with pytest.raises(BadValueError) as caught:
        choice(STYLES, index=3)
    assert str(caught.value) == "there is no option 3 (expected 0..2, got 3)"


def test_a_name_that_no_option_has_is_told_with_the_nearest():
    with pytest.raises(BadValueError) as caught:
        choice(STYLES, name="Water colour")
    assert str(caught.value) == "there is no such option (got 'Water colour'). Did you mean 'watercolour'?"


@pytest.mark.parametrize("options", ["", "\n \n\t\n"])
def test_a_list_without_options_is_told(options):
    with pytest.raises(BadValueError, match="there is nothing to choose from"):
        choice(options)


def test_a_chosen_text_may_name_a_choice(plain):
    nodes = {
        "which": ("Choice", {"options": "multiply\nscreen", "index": 1}),
        "a": ("LoadImage", {"image": "a.png"}),
        "blend": ("ImageBlend", {"mode": edge("which"), **{key: {"node": "a", "output": "image"} for key in "ab"}}),
    }
    assert "type_mismatch" not in [p.code for p in plain.validate(workflow(nodes, "blend"))]


# Branches


def branches(condition):
    return {
        "then": ("Text", {"text": "yes"}),
        "otherwise": ("Choice", {"options": ""}),
        "if": ("If", {"condition": condition, "then": edge("then"), "otherwise": edge("otherwise")}),
    }


def test_the_branch_that_is_not_taken_does_not_run(plain):
    run = plain.run(workflow(branches(True), "if"))
    assert (run["result"], sorted(run.nodes)) == ("yes", ["if", "then"])


def test_the_branch_that_is_taken_runs_with_its_faults(plain):
    with pytest.raises(NodeError) as caught:
        plain.run(workflow(branches(False), "if"))
    assert caught.value.problem.node == "otherwise"


def test_a_condition_may_be_computed(plain):
    nodes = branches(edge("flag")) | {"flag": ("Boolean", {"value": True})}
    assert result(plain, nodes, "if") == "yes"


@pytest.mark.parametrize("value", [0, False, "", 1.5, [1, "a"]])
def test_a_branch_may_hold_any_value(value, plain):
    nodes = {"if": ("If", {"condition": True, "then": value, "otherwise": 7})}
    assert result(plain, nodes, "if") == value


@pytest.mark.parametrize(("value", "got"), [("yes", "'yes'"), (None, "NoneType"), ([1], "list")])
@pytest.mark.parametrize(
    ("type", "name", "output"),
    [("ImageScale", "image", "image"), ("LoadImage", "image", "mask")],
    ids=["IMAGE", "FILE"],
)
def test_a_value_of_another_type_is_refused_where_it_arrives(type, name, output, value, got, plain):
    nodes = {"if": ("If", {"condition": True, "then": value, "otherwise": 7}), "it": (type, {name: edge("if")})}
    document = workflow(nodes, "if")
    document["outputs"] = [{"name": "result", "from": {"node": "it", "output": output}}]
    with pytest.raises(NodeError) as caught:
        plain.run(document)
    problem = caught.value.problem
    expected = "IMAGE" if type == "ImageScale" else "FILE"
    assert (problem.node, problem.input, problem.expected, problem.got) == ("it", "image", expected, got)


def test_a_condition_that_is_no_truth_value_is_refused(plain):
    with pytest.raises(WorkflowError) as caught:
        plain.run(workflow(branches(edge("then")), "if"))
    assert [(p.code, p.expected, p.got) for p in caught.value.problems] == [("type_mismatch", "BOOLEAN", "STRING")]


def test_the_second_run_takes_everything_from_the_cache(plain):
    plain.run(workflow(branches(True), "if"))
    assert {report.status for report in plain.run(workflow(branches(True), "if")).nodes.values()} == {"cached"}
