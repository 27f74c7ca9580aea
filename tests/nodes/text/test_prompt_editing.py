"""Prompts that change with the steps."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.engine.errors import BadValueError
from latentloom.nodes.text.prompt_editing import Variant, variants


@settings(deadline=None)
@given(st.text(alphabet="ab ()[]:|\\.,01 5", max_size=60), st.integers(1, 50))
def test_at_every_step_there_is_exactly_one_text_or_the_grammars_own_error(text: str, steps: int) -> None:
    try:
        found = variants(text, steps)
    except BadValueError:
        return
    for step in range(steps):
        now = [v for v in found if v.start <= step / steps < v.end and step % v.period == v.turn]
        assert len(now) == 1


@settings(deadline=None)
@given(st.text(alphabet="ab (), .\\é", max_size=60))
def test_a_text_without_square_brackets_is_itself(text: str) -> None:
    assert variants(text, 20) == (Variant(text),)


def test_brackets_nested_too_deep_are_refused() -> None:
    for text in ("[" * 101, "(" * 50_000, "[" * 101 + "a:b:0.5]" * 101):
        with pytest.raises(BadValueError, match="the prompt's brackets are nested too deep"):
            variants(text, 20)


def test_a_prompt_of_too_many_texts_is_refused() -> None:
    for text in ("[a|b][a|b|c][a|b|c|d|e][a|b|c|d|e|f|g]", " ".join(f"[a:b:0.{n:03}]" for n in range(1, 67))):
        with pytest.raises(BadValueError) as caught:
            variants(text, 20)
        assert str(caught.value) == "the prompt changes too often (expected at most 64 texts, got more)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a [b:c:0.4] d", [("a b d", 0, 0.4), ("a c d", 0.4, 1)]),
        ("a [b:c:8]", [("a b", 0, 0.4), ("a c", 0.4, 1)]),
        ("a[ b::.5]", [("a b", 0, 0.5), ("a", 0.5, 1)]),
        ("a[ b:.5]", [("a", 0, 0.5), ("a b", 0.5, 1)]),
        ("[a:b: 0.5 ]", [("a", 0, 0.5), ("b", 0.5, 1)]),
        ("[a:b:30]", [("a", 0, 1)]),
        ("[a:b:0]", [("b", 0, 1)]),
        ("[[a:b:0.2]:c:0.5]", [("a", 0, 0.2), ("b", 0.2, 0.5), ("c", 0.5, 1)]),
        ("([a:b:0.5]:1.2)", [("(a:1.2)", 0, 0.5), ("(b:1.2)", 0.5, 1)]),
        ("[(a:1.2):b:0.5]", [("(a:1.2)", 0, 0.5), ("b", 0.5, 1)]),
        ("[a:a:0.5]", [("a", 0, 1)]),
    ],
)
def test_a_switch(text: str, expected: list[tuple[str, float, float]]) -> None:
    assert [(v.text, v.start, v.end) for v in variants(text, 20)] == expected


@pytest.mark.parametrize(
    "text",
    ["[a]", "[a:b]", "[a:b:c]", "[a:b:c:0.5]", "[a|b:0.5]", r"\[a:b:0.5\]", "[a:b:0.5", "a:b:0.5]", "(a|b)", "[]"],
)
def test_what_is_no_switch_is_left_as_it_is(text: str) -> None:
    assert variants(text, 20) == (Variant(text),)


def test_options_take_turns() -> None:
    assert variants("a [b|c|]", 20) == (
        Variant("a b", turn=0, period=3),
        Variant("a c", turn=1, period=3),
        Variant("a ", turn=2, period=3),
    )
    assert [v.text for v in variants("[a|b][c|d|e]", 20)] == ["ac", "bd", "ae", "bc", "ad", "be"]


def test_turns_begin_at_a_switch() -> None:
    found = variants("[a:[b|c]:0.5]", 20)
    assert found == (Variant("a", 0, 0.5), Variant("b", 0.5, 1, 0, 2), Variant("c", 0.5, 1, 1, 2))
