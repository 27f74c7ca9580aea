"""Prompts that change with the steps."""

from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.engine.errors import BadValueError
from latentloom.nodes.text.prompt_editing import Variant, variants
from latentloom.nodes.text.prompt_times import Times


def texts(prompt: str, steps: int) -> list[str]:
    """The text at each step."""
    found = variants(prompt)
    every = [[one.text for one in found if one.times.active(step, steps)] for step in range(steps)]
    assert all(len(now) == 1 for now in every)
    return [now[0] for now in every]


def lengths(prompt: str, steps: int = 20) -> list[tuple[str, int]]:
    """The texts and for how many steps each is read."""
    return [(text, len(list(run))) for text, run in groupby(texts(prompt, steps))]


@settings(deadline=None)
@given(st.text(alphabet="ab ()[]:|\\.,01 5", max_size=60), st.integers(1, 50))
def test_at_every_step_there_is_exactly_one_text_or_the_grammars_own_error(text: str, steps: int) -> None:
    try:
        variants(text)
    except BadValueError:
        return
    texts(text, steps)


@settings(deadline=None)
@given(st.text(alphabet="ab (), .\\é", max_size=60))
def test_a_text_without_square_brackets_is_itself(text: str) -> None:
    assert variants(text) == (Variant((text,)),)


def test_brackets_nested_too_deep_are_refused() -> None:
    for text in ("[" * 101, "(" * 50_000, "[" * 101 + "a:b:0.5]" * 101):
        with pytest.raises(BadValueError, match="the prompt's brackets are nested too deep"):
            variants(text)


def test_a_prompt_of_too_many_texts_is_refused() -> None:
    for text in ("[a|b][a|b|c][a|b|c|d|e][a|b|c|d|e|f|g]", " ".join(f"[a:b:0.{n:03}]" for n in range(1, 67))):
        with pytest.raises(BadValueError) as caught:
            variants(text)
        assert str(caught.value) == "the prompt changes too often (expected at most 64 texts, got more)"


# What AUTOMATIC1111 makes of a prompt for 10 steps: [the last step, counted as it counts, and the text]. The denoiser
# counts its steps from 0 and reads the first entry whose last step is not behind it.
SCHEDULES = [
    ("test", [(10, "test")]),
    ("a [b:3]", [(3, "a "), (10, "a b")]),
    ("a [[[b]]:2]", [(2, "a "), (10, "a [[b]]")]),
    ("[(a:2):3]", [(3, ""), (10, "(a:2)")]),
    ("a [b : c : 1] d", [(1, "a b  d"), (10, "a  c  d")]),
    ("a[b:[c:d:2]:1]e", [(1, "abe"), (2, "ace"), (10, "ade")]),
    ("a [unbalanced", [(10, "a [unbalanced")]),
    ("a [b:.5] c", [(5, "a  c"), (10, "a b c")]),
    ("[a|(b:1.1)]", [(step, ("(b:1.1)", "a")[step % 2]) for step in range(1, 11)]),
    ("[fe|]male", [(step, ("male", "female")[step % 2]) for step in range(1, 11)]),
    ("[fe|||]male", [(step, "female" if step % 4 == 1 else "male") for step in range(1, 11)]),
]


@pytest.mark.parametrize(("prompt", "schedule"), SCHEDULES)
def test_each_step_reads_what_automatic1111_reads(prompt: str, schedule: list[tuple[int, str]]) -> None:
    known = [next(text for last, text in schedule if step <= last) for step in range(10)]
    assert texts(prompt, 10) == known


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a:b:0.4]", [("a", 9), ("b", 11)]),
        ("[a:b:8]", [("a", 9), ("b", 11)]),
        ("[a:b:0.5]", [("a", 11), ("b", 9)]),
        ("[a:b:0.33]", [("a", 7), ("b", 13)]),
        ("a[ b::.5]", [("a b", 11), ("a", 9)]),
        ("[a:b: 0.5 ]", [("a", 11), ("b", 9)]),
        ("[a:b:30]", [("a", 20)]),
        ("[a:b:0]", [("b", 20)]),
        ("[a:b:0.04]", [("b", 20)]),
        ("[a:b:1.0]", [("a", 20)]),
        ("[[a:b:0.2]:c:0.5]", [("a", 5), ("b", 6), ("c", 9)]),
        ("([a:b:0.5]:1.2)", [("(a:1.2)", 11), ("(b:1.2)", 9)]),
        ("[a:a:0.5]", [("a", 20)]),
        ("[a:b:8] [c:d:0.6]", [("a c", 9), ("b c", 4), ("b d", 7)]),
    ],
)
def test_a_switch(text: str, expected: list[tuple[str, int]]) -> None:
    assert lengths(text) == expected


def test_a_step_is_that_of_the_sampler_and_a_share_one_of_its_steps() -> None:
    assert lengths("[a:b:8]", 40) == [("a", 9), ("b", 31)]
    assert lengths("[a:b:0.4]", 40) == [("a", 17), ("b", 23)]
    assert lengths("[a:b:8] [c:d:0.6]", 10) == [("a c", 7), ("a d", 2), ("b d", 1)]


@pytest.mark.parametrize(
    "text",
    ["[a]", "[a:b]", "[a:b:c]", "[a:b:c:0.5]", "[a|b:0.5]", r"\[a:b:0.5\]", "[a:b:0.5", "a:b:0.5", "(a|b)", "[]"],
)
def test_what_is_no_switch_is_left_as_it_is(text: str) -> None:
    assert variants(text) == (Variant((text,)),)


def test_options_take_turns() -> None:
    assert variants("a [b|c|]") == tuple(
        Variant((text,), Times(turn=turn, period=3)) for turn, text in enumerate(("a b", "a c", "a "))
    )
    assert [v.text for v in variants("[a|b][c|d|e]")] == ["ac", "bd", "ae", "bc", "ad", "be"]


def test_turns_begin_at_a_switch() -> None:
    assert texts("[a:[b|c]:0.5]", 10) == ["a"] * 6 + ["c", "b", "c", "b"]


def test_two_texts_change_together() -> None:
    assert [one.texts for one in variants("[a:b:0.5]", "c")] == [("a", "c"), ("b", "c")]
    assert [one.texts for one in variants("[a:b:0.5]", "[c:d:4]")] == [("a", "c"), ("b", "c"), ("a", "d"), ("b", "d")]
