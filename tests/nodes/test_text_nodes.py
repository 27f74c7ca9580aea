"""Nodes that calculate, and nodes that change texts, alone and in workflows."""

import re

import pytest

from latentloom.engine.errors import BadValueError, NodeError
from latentloom.nodes.primitives_maths import calculate, picture_shape
from latentloom.nodes.primitives_text import (
    change_text,
    compare_text,
    find_pattern,
    format_text,
    json_text,
    pick_text,
    replace_pattern,
    text_lines,
    text_part,
)


def workflow(nodes, output, port="value"):
    return {
        "format": "latentloom/1",
        "nodes": {id: {"type": type, "inputs": inputs} for id, (type, inputs) in nodes.items()},
        "outputs": [{"name": "result", "from": {"node": output, "output": port}}],
    }


def test_numbers_of_other_nodes_are_calculated_with(plain):
    nodes = {
        "n": ("Integer", {"value": 100}), "f": ("Float", {"value": 1.5}), "t": ("Boolean", {"value": True}),
        "c": ("Calculate", {"expression": "a * b // 8 * 8 if c else d",
                            "values": [{"node": id, "output": "value"} for id in "nft"] + [7]}),
    }  # fmt: skip
    assert plain.run(workflow(nodes, "c", "whole"))["result"] == 144
    assert plain.run(workflow(nodes, "c", "number"))["result"] == 144.0
    assert plain.run(workflow(nodes, "c", "truth"))["result"] is True
    wrong = {**nodes, "c": ("Calculate", {"values": ["x"]})}
    with pytest.raises(NodeError, match="a value is not a number"):
        plain.run(workflow(wrong, "c", "whole"))


def test_too_many_and_too_large_values_are_refused():
    with pytest.raises(BadValueError, match="there are too many values"):
        calculate("a", [1] * 27)
    with pytest.raises(BadValueError, match="the result is too large"):
        calculate("2.0 ** 60")
    assert calculate("-7 / 2") == (-3.5, -3, True)


@pytest.mark.parametrize(
    ("arguments", "sides"),
    [
        (("1:1", False, 1.0, 64), (1024, 1024)),
        (("16:9", False, 1.0, 8), (1368, 768)),
        (("3:2", True, 1.0, 8), (840, 1256)),
        (("21:9", False, 0.01, 64), (128, 64)),
    ],
)
def test_a_shape_and_a_number_of_pixels_give_a_size(arguments, sides):
    assert picture_shape(*arguments) == sides


def test_a_size_beyond_the_limit_is_refused():
    with pytest.raises(BadValueError, match="the picture is too large"):
        picture_shape("21:9", megapixels=256.0)


def test_patterns_find_and_replace():
    assert find_pattern("a1 b22", r"[a-z](\d+)", "all", 1) == ("1\n22", True, ["1", "22"])
    assert find_pattern("a1 b22", r"\d+") == ("1", True, ["1"])
    assert find_pattern("a", "b") == ("", False, [])
    with pytest.raises(BadValueError, match="the pattern has no such group"):
        find_pattern("a", "a", group=1)
    assert replace_pattern("Cat cat", "cat", "dog", ignore_case=True) == "dog dog"


@pytest.mark.parametrize(
    ("template", "values", "text"),
    [
        ("{a}:{b}", [16, 9], "16:9"),
        ("{a:.2f} {b:>5} {c:04d} {d}", [1.005, "x", 7, True], "1.00     x 0007 True"),
        ("{{a}} {a}", ["b"], "{a} b"),
        ("{A} {ab} {", [1], "{A} {ab} {"),
        ("{a}", [[1, "x"]], '[\n 1,\n "x"\n]'),
    ],
)
def test_values_are_filled_in(template, values, text):
    assert format_text(template, values) == text


@pytest.mark.parametrize(
    ("template", "values", "why"),
    [
        ("{b}", [1], "there is no value for {b}"),
        ("{a:d}", ["x"], "the value does not fit {a:d}"),
        ("{a:999}" * 1100, ["x"], "the text is too long"),
    ],
)
def test_what_cannot_be_filled_in_is_named(template, values, why):
    with pytest.raises(BadValueError, match=re.escape(why)):
        format_text(template, values)


def test_texts_are_taken_apart_and_compared():
    assert text_part("abcdef", 1, -1) == "bcde"
    assert change_text(" a B ", "trimmed_left") == "a B "
    assert change_text("a B", "title") == "A B"
    assert compare_text("Abc", "aB", "starts_with", ignore_case=True)
    assert not compare_text("Abc", "aB", "contains")
    assert text_lines(" a \n\nb") == (["a", "b"], 2)
    assert text_lines("a;;b", ";", skip_empty=False) == (["a", "", "b"], 3)
    assert [pick_text(["a", "b"], index) for index in (0, 3, -1)] == ["a", "b", "b"]
    with pytest.raises(BadValueError, match="there is no text to choose from"):
        pick_text([])


def test_a_value_is_taken_out_of_json():
    assert json_text('{"a": {"b": ["x", 1.5]}}', "a.b.1") == "1.5"
    assert json_text('{"a": {"b": null}}', "a") == '{\n "b": null\n}'
    with pytest.raises(BadValueError, match=r"the JSON has no 'a\.c'"):
        json_text('{"a": {}}', "a.c")
    with pytest.raises(BadValueError, match="the text is not JSON"):
        json_text("{", "a")
    with pytest.raises(BadValueError, match="the text is not JSON"):
        json_text("[" * 10_000, "a")


def test_a_text_of_a_list_goes_on_as_a_text(plain):
    nodes = {
        "l": ("TextLines", {"text": "a cat\na dog"}),
        "p": ("PickText", {"texts": {"node": "l", "output": "texts"}, "index": 1}),
        "s": ("ShowText", {"value": {"node": "p", "output": "value"}}),
    }
    assert plain.run(workflow(nodes, "s", "text"))["result"] == "a dog"


def test_a_text_that_would_be_too_long_is_refused_before_it_is_put_together() -> None:
    with pytest.raises(BadValueError, match=r"at most 1000000 characters, got 1200000"):
        format_text("{a}" * 300_000, ["x" * 600_000])
