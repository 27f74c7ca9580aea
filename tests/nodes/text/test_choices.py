"""Prompts with choices and lists."""

from collections import Counter

import pytest

from latentloom.engine.errors import BadValueError
from latentloom.nodes.text.choices import expanded, read_lists

LISTS = read_lists(
    "# animals\nanimal: cat | dog\nbig/animal: {old|young} whale\nself: __self__\n\ncolour: 9::red | blue"
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("__animals__", "there is no list 'animals'"),
        ("__self__", "the choices of the prompt are nested too deep"),
        ("{" * 40 + "}" * 40, "the choices of the prompt are nested too deep"),
        ("{a|b}" * 10_001, "the prompt has too many choices"),
        ("x" * 99_999 + "{ab}{ab}", "the prompt becomes too long"),
    ],
)
def test_what_has_no_end_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadValueError, match=why):
        expanded(text, 1, LISTS)


@pytest.mark.parametrize(
    ("text", "result"),
    [("{" * 100_000, "{" * 100_000), ("{a|b " * 20_000, "{a|b " * 20_000), ("{ {a}" * 9_000, "{ a" * 9_000)],
)
def test_braces_without_a_counterpart_stay_in_a_prompt_of_any_length(text: str, result: str) -> None:
    assert expanded(text, 1, LISTS) == result


def test_a_line_that_is_no_list_is_named() -> None:
    with pytest.raises(BadValueError, match="line 2 is not a list"):
        read_lists("a: b\nc")


@pytest.mark.parametrize(
    ("text", "results"),
    [
        ("a {b|c} d", {"a b d", "a c d"}),
        ("{a|{b|c}}", {"a", "b", "c"}),
        ("{2$$ and $$a|b}", {"a and b", "b and a"}),
        ("{2$$a|b}", {"a, b", "b, a"}),
        ("{0-1$$a|b}", {"", "a", "b"}),
        ("{0::a|b}", {"b"}),
        ("__animal__", {"cat", "dog"}),
        ("__*animal__", {"cat", "dog"}),
        ("__big/*__", {"old whale", "young whale"}),
        (r"\{a\|b\}", {"{a|b}"}),
        ("{a", {"{a"}),
        ("a}", {"a}"}),
        ("{}", {""}),
        ("a__b", {"a__b"}),
    ],
)
def test_every_result_is_one_of_those_that_are_written(text: str, results: set[str]) -> None:
    assert {expanded(text, seed, LISTS) for seed in range(100)} == results


def test_a_seed_gives_one_prompt_and_weights_count() -> None:
    assert len({expanded("{a|b|c} __animal__", 7, LISTS) for _ in range(5)}) == 1
    drawn = Counter(expanded("__colour__", seed, LISTS) for seed in range(300))
    assert drawn["red"] > 4 * drawn["blue"] > 0
