"""Words with weights, in both dialects."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.engine.errors import BadValueError
from latentloom.nodes.text.prompt_weights import parse

HOSTILE = st.text(alphabet="ab ()[]:|\\.,+-12 \n\tBREAK,é\0", max_size=60)
grammars = pytest.mark.parametrize("grammar", ["a1111", "comfyui", "plain"])


def spans(text: str, grammar: str = "a1111") -> list[tuple[str, float]]:
    (section,) = parse(text, grammar)
    return [(span.text, pytest.approx(span.weight)) for span in section]


@grammars
@settings(deadline=None)
@given(text=st.one_of(HOSTILE, st.text(max_size=40)))
def test_any_text_is_a_prompt_or_the_grammars_own_error(grammar: str, text: str) -> None:
    try:
        sections = parse(text, grammar)
    except BadValueError:
        return
    assert len(sections) >= 1
    assert all(span.text for section in sections for span in section)


@grammars
@settings(deadline=None)
@given(text=st.text(alphabet="ab, .:|é\n", max_size=40))
def test_text_without_brackets_is_itself(grammar: str, text: str) -> None:
    assert "".join(span.text for section in parse(text, grammar) for span in section) == text


@pytest.mark.parametrize("bracket", ["(", "["])
def test_brackets_nested_too_deep_are_refused(bracket: str) -> None:
    for text in (bracket * 101 + "a", bracket * 50_000):
        with pytest.raises(BadValueError) as caught:
            parse(text)
        assert str(caught.value) == "the prompt's brackets are nested too deep (expected at most 100, got more)"


@pytest.mark.parametrize("text", ["(a:1001)", "(a:-1e)" + "(" * 73 + "a", "((a:900):900)", "(a:" + "9" * 400 + ")"])
def test_weights_beyond_all_measure_are_refused(text: str) -> None:
    with pytest.raises(BadValueError, match="a word of the prompt has too large a weight"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a (b) c", [("a ", 1), ("b", 1.1), (" c", 1)]),
        ("((b))", [("b", 1.21)]),
        ("(b:1.3)", [("b", 1.3)]),
        ("(b :  .5 )", [("b ", 0.5)]),
        ("((b:1.3))", [("b", 1.43)]),
        ("(a (b:2) c:1.5)", [("a ", 1.5), ("b", 3), (" c", 1.5)]),
        ("[b]", [("b", 1 / 1.1)]),
        ("([b])", [("b", 1)]),
        ("(a [b) c]", [("a ", 1.1), ("b", 1), (" c", 1 / 1.1)]),
        ("a (b c", [("a ", 1), ("b c", 1.1)]),
        ("a [b c", [("a ", 1), ("b c", 1 / 1.1)]),
        ("a) b] c:1.2)", [("a) b] c:1.2)", 1)]),
        (r"\(a\) \[b\] \\", [("(a) [b] \\", 1)]),
        (r"(a\):1.2)", [("a)", 1.2)]),
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
        ("(a:b:1.5)", [("a:b", 1.5)]),
        ("(a:-1)", [("a", -1)]),
        ("()", []),
        ("", []),
    ],
)
def test_automatic1111s_grammar(text: str, expected: list[tuple[str, float]]) -> None:
    assert spans(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a (b) c", [("a ", 1), ("b", 1.1), (" c", 1)]),
        ("((b))", [("b", 1.21)]),
        ("((b:1.3))", [("b", 1.3)]),
        ("(a (b:2) c:1.5)", [("a ", 1.5), ("b", 2), (" c", 1.5)]),
        ("((a):1.5)", [("a", 1.65)]),
        ("(:1.5)", [(":1.5", 1.1)]),
        ("[b]", [("[b]", 1)]),
        ("a (b c", [("a (b c", 1)]),
        ("(a (b) c", [("(a ", 1), ("b", 1.1), (" c", 1)]),
        ("a) b:1.2)", [("a) b:1.2)", 1)]),
        (r"\(a\) \x", [(r"(a) \x", 1)]),
        ("a BREAK b", [("a BREAK b", 1)]),
    ],
)
def test_comfyuis_grammar(text: str, expected: list[tuple[str, float]]) -> None:
    assert spans(text, "comfyui") == expected


def test_plain_text_keeps_its_brackets() -> None:
    assert spans(r"(a:1.5) [b] \( BREAK", "plain") == [(r"(a:1.5) [b] \( BREAK", 1)]


def test_break_begins_a_section_and_keeps_weights() -> None:
    found = [[(span.text, span.weight) for span in section] for section in parse("a  BREAK\nb (c BREAK d:1.5)")]
    assert found == [[("a", 1)], [("b ", 1), ("c", 1.5)], [("d", 1.5)]]
    assert [[span.text for span in section] for section in parse("BREAKa aBREAK")] == [["BREAKa aBREAK"]]
    assert parse("BREAK") == ((), ())
