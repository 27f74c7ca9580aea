"""Regular expressions in linear time: what they find is what Python's find, and no pattern is slow."""

import random
import re
import time

import pytest

from latentloom.engine.errors import BadValueError
from latentloom.nodes.text.pattern_syntax import Flags
from latentloom.nodes.text.patterns import Pattern, replaced

PATTERNS = [
    r"^([^:]+)", r"a|b*c", r"(a+)+b", r"\bfoo\b", r"(?P<x>\d{2,3})-(\w+?)z", r"[^\]x-z]+", r"[]a]+", r"x*", r"\B\w",
    r"(a|ab)(c|bcd)(d*)", r"\n?```\s*$", r"^```(?:json)?\s*\n?", r".*?c", r"(?:a|b){2,4}?c", r"a{x}", r"$",
    r"a{2}|b{1,}", r"(?:)", r"[\d.]+", r"[a\-z]+", r"\x41\u0062?", r"\Aa|z\Z", r"[^\W\d]+",
]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"(a)\1", "a reference to a group takes more than linear time"),
        (r"a(?=b)", "a group that looks ahead or behind, or sets options, takes more than linear time"),
        (r"(?<!a)b", "a group that looks ahead or behind, or sets options, takes more than linear time"),
        (r"a++", "a repetition is not repeated"),
        (r"*a", "there is nothing to repeat"),
        (r"(a", "a group is not closed"),
        (r"a)", "nothing opens this bracket"),
        (r"[a", "it ends in the middle of a part"),
        ("a\\", "it ends in the middle of a part"),
        (r"[b-a]", "a range of characters goes backwards"),
        (r"a{1001}", "a part is repeated at most 1000 times, and the higher number comes last"),
        (r"\xZZ", "a character's number has 2 hexadecimal digits"),
        (r"\q", "no such escape is known"),
        (r"(?P<1>a)", "a group has no name of its own"),
        ("(" * 60 + ")" * 60, "it has more than 50 groups"),
        ("(?:" * 60 + ")" * 60, "its groups go deeper than 50"),
    ],
)
def test_a_pattern_that_cannot_be_followed_is_refused(pattern: str, why: str) -> None:
    with pytest.raises(BadValueError, match=re.escape(why)):
        Pattern(pattern)


def test_large_programs_and_long_texts_are_refused() -> None:
    with pytest.raises(BadValueError, match="the pattern is too large"):
        Pattern("(?:a{1000}){10}")
    with pytest.raises(BadValueError, match="the text is too long for this pattern"):
        list(Pattern("(?:a{1000}){4}").find_all("a" * 1000))


@pytest.mark.parametrize("pattern", [r"(a+)+b", r"(a|a)*b", r"x(.*y)?", r"(?:a?){30}a{30}"])
def test_no_pattern_is_slow(pattern: str) -> None:
    begin = time.process_time()
    try:
        list(Pattern(pattern).find_all("xa" * 2000))
    except BadValueError as error:
        assert "takes too long" in str(error)
    assert time.process_time() - begin < 30


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("flags", [(False, False, False), (True, True, True)])
def test_it_finds_what_python_finds(pattern: str, flags: tuple[bool, bool, bool]) -> None:
    signs, made = random.Random(pattern), Pattern(pattern, Flags(*flags))
    known = re.compile(pattern, sum(flag for flag, on in zip((re.I, re.M, re.S), flags, strict=True) if on))
    for _ in range(60):
        text = "".join(signs.choice("aAbBcdxyz12-: \n`fo]") for _ in range(signs.randint(0, 14)))
        found = [(m.start, m.end, *(m.group(n + 1) for n in range(made.groups))) for m in made.find_all(text)]
        assert found == [(m.start(), m.end(), *m.groups()) for m in known.finditer(text)], text


@pytest.mark.parametrize(
    ("pattern", "replacement", "count", "result"),
    [
        (r"(\w+) (\w+)", r"\2 \g<1>", 0, "b a d c"),
        (r"(?P<one>\w)", r"[\g<one>]", 2, "[a] [b] c d"),
        (r"\s", r"\n", 1, "a\nb c d"),
        (r"x*", "-", 0, "-a- -b- -c- -d-"),
    ],
)
def test_matches_are_replaced_as_python_replaces_them(pattern: str, replacement: str, count: int, result: str) -> None:
    assert replaced(Pattern(pattern), "a b c d", replacement, count, 100) == result
    assert re.sub(pattern, replacement, "a b c d", count=count) == result


def test_a_replacement_stays_within_its_limit_and_knows_its_groups() -> None:
    with pytest.raises(BadValueError, match="the text becomes too long"):
        replaced(Pattern("a"), "a" * 100, "b" * 100, 0, 1000)
    with pytest.raises(BadValueError, match="the pattern has no such group"):
        replaced(Pattern("(a)"), "a", r"\2", 0, 1000)
