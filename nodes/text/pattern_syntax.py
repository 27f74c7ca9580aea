"""Reads regular expressions: the part of Python's syntax that a linear-time matcher can follow.

Groups, choices, repetitions (greedy and lazy), classes, anchors and word boundaries are read. What needs to go back in
the text (references to a group, looking ahead or behind, possessive repetition) is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from latentloom.engine.errors import BadValueError, brief

MAX_PATTERN = 1000  # characters
MAX_TIMES = 1000  # of one counted repetition
MAX_GROUPS = 50
MAX_DEPTH = 50  # groups within groups
Test = Callable[[str], bool]
Anchor = Literal["start", "end", "line_start", "line_end", "boundary", "inside"]


class One(NamedTuple):
    """One character that passes a test."""

    test: Test


class At(NamedTuple):
    """A place between characters."""

    anchor: Anchor


class Group(NamedTuple):
    """A part; `number` is None for one that is not captured."""

    part: Part
    number: int | None


class Row(NamedTuple):
    """Parts one after the other."""

    parts: tuple[Part, ...]


class Choice(NamedTuple):
    """One of several parts, the first that fits."""

    parts: tuple[Part, ...]


class Repeat(NamedTuple):
    """A part, `least` to `most` times; None is any number."""

    part: Part
    least: int
    most: int | None
    greedy: bool


Part = One | At | Group | Row | Choice | Repeat


@dataclass(frozen=True, slots=True)
class Flags:
    """How a pattern is read."""

    ignore_case: bool = False
    multiline: bool = False
    dot_all: bool = False


class Read(NamedTuple):
    """A pattern's parts, the number of its groups, and their names."""

    part: Part
    groups: int
    names: dict[str, int]


_SPACES = " \t\n\r\f\v"
_CLASSES: dict[str, Test] = {
    "d": str.isdecimal,
    "w": lambda sign: sign.isalnum() or sign == "_",
    "s": lambda sign: sign.isspace() or sign in _SPACES,
}
_PLAIN = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a", "0": "\0"}
_ANCHORS: dict[str, Anchor] = {"b": "boundary", "B": "inside", "A": "start", "Z": "end"}


def is_word(sign: str) -> bool:
    r"""Whether a character belongs to a word, as for `\\b`."""
    return _CLASSES["w"](sign)


def read_pattern(pattern: str, flags: Flags) -> Read:
    """Read a pattern. Raises BadValueError that names the place of the first part that cannot be read."""
    if len(pattern) > MAX_PATTERN:
        raise BadValueError(
            "the pattern is too long", expected=f"at most {MAX_PATTERN} characters", got=str(len(pattern))
        )
    reader = _Reader(pattern, flags)
    part = reader.choice(0)
    if reader.at < len(pattern):
        raise reader.wrong("nothing opens this bracket")
    return Read(part, reader.groups, reader.names)


@dataclass
class _Reader:
    pattern: str
    flags: Flags
    at: int = 0
    groups: int = 0
    names: dict[str, int] = field(default_factory=dict)

    def wrong(self, why: str) -> BadValueError:
        got = f"{brief(self.pattern[self.at : self.at + 12])} at character {self.at + 1}"
        return BadValueError(f"the pattern cannot be read: {why}", got=got)

    def takes(self, *signs: str) -> str | None:
        """Move past the first of some texts that stands here, and return it."""
        for sign in signs:
            if self.pattern.startswith(sign, self.at):
                self.at += len(sign)
                return sign
        return None

    def sign(self) -> str:
        """Return the next character and move past it."""
        if self.at == len(self.pattern):
            raise self.wrong("it ends in the middle of a part")
        self.at += 1
        return self.pattern[self.at - 1]

    def choice(self, depth: int) -> Part:
        if depth > MAX_DEPTH:
            raise self.wrong(f"its groups go deeper than {MAX_DEPTH}")
        parts = [self._row(depth)]
        while self.takes("|"):
            parts.append(self._row(depth))
        return parts[0] if len(parts) == 1 else Choice(tuple(parts))

    def _row(self, depth: int) -> Part:
        parts: list[Part] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            parts.append(self._repeated(self._piece(depth)))
        return Row(tuple(parts))

    def _repeated(self, part: Part) -> Part:
        times = self._times()
        if times is None:
            return part
        if isinstance(part, At):
            raise self.wrong("a place is not repeated")
        greedy = not self.takes("?")
        if self.pattern.startswith(("*", "+", "?"), self.at):
            raise self.wrong("a repetition is not repeated")
        return Repeat(part, *times, greedy)

    def _times(self) -> tuple[int, int | None] | None:
        found = self.takes("*", "+", "?")
        if found is not None:
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[found]
        end = self.pattern.find("}", self.at)
        if not self.pattern.startswith("{", self.at) or end < 0:
            return None
        low, comma, high = self.pattern[self.at + 1 : end].partition(",")
        if not all((word.isascii() and word.isdecimal()) or not word for word in (low, high)) or not (low or high):
            return None  # as in Python, such a bracket is a character
        least, most = int(low[:9] or 0), int(high[:9]) if high else None if comma else int(low[:9])
        if max(least, most or 0) > MAX_TIMES or (most is not None and most < least):
            raise self.wrong(f"a part is repeated at most {MAX_TIMES} times, and the higher number comes last")
        self.at = end + 1
        return least, most

    def _piece(self, depth: int) -> Part:
        sign = self.sign()
        if sign == "(":
            return self._group(depth)
        if sign == "[":
            return One(self._class())
        if sign == "\\":
            return self._escape()
        if sign in "*+?":
            self.at -= 1
            raise self.wrong("there is nothing to repeat")
        if sign == "^":
            return At("line_start" if self.flags.multiline else "start")
        if sign == "$":
            return At("line_end" if self.flags.multiline else "end")
        if sign == ".":
            return One((lambda _: True) if self.flags.dot_all else (lambda found: found != "\n"))
        return One(self._equal(sign))

    def _group(self, depth: int) -> Part:
        number: int | None = None
        if self.takes("?P<"):
            number = self._named()
        elif not self.takes("?:"):
            if self.takes("?"):
                self.at -= 2
                raise self.wrong("a group that looks ahead or behind, or sets options, takes more than linear time")
            number = self._numbered()
        part = self.choice(depth + 1)
        if not self.takes(")"):
            raise self.wrong("a group is not closed")
        return Group(part, number)

    def _numbered(self) -> int:
        if self.groups == MAX_GROUPS:
            raise self.wrong(f"it has more than {MAX_GROUPS} groups")
        self.groups += 1
        return self.groups

    def _named(self) -> int:
        end = self.pattern.find(">", self.at)
        name = self.pattern[self.at : max(end, self.at)]
        if not name.isidentifier() or name in self.names:
            raise self.wrong("a group has no name of its own")
        self.at = end + 1
        self.names[name] = self._numbered()
        return self.names[name]

    def _escape(self) -> Part:
        sign = self.sign()
        if sign in _ANCHORS:
            return At(_ANCHORS[sign])
        found = self._class_of(sign)
        if found is not None:
            return One(found)
        if sign in "123456789":
            self.at -= 2
            raise self.wrong("a reference to a group takes more than linear time")
        return One(self._equal(self._literal(sign)))

    def _class_of(self, sign: str) -> Test | None:
        if sign.lower() not in _CLASSES:
            return None
        test = _CLASSES[sign.lower()]
        return test if sign.islower() else (lambda found: not test(found))

    def _literal(self, sign: str) -> str:
        """Return the character that an escape stands for."""
        length = {"x": 2, "u": 4, "U": 8}.get(sign)
        if length is not None:
            return self._coded(length)
        if sign in _PLAIN:
            return _PLAIN[sign]
        if sign.isalnum():
            self.at -= 2
            raise self.wrong("no such escape is known")
        return sign

    def _coded(self, length: int) -> str:
        digits = self.pattern[self.at : self.at + length]
        try:
            found = chr(int(digits, 16)) if len(digits) == length and digits.isalnum() else None
        except (ValueError, OverflowError):
            found = None
        if found is None:
            raise self.wrong(f"a character's number has {length} hexadecimal digits")
        self.at += length
        return found

    def _equal(self, sign: str) -> Test:
        if not self.flags.ignore_case:
            return lambda found: found == sign
        both = {sign, sign.lower(), sign.upper()}
        return lambda found: found in both

    def _class(self) -> Test:
        """Return the test of a class in square brackets, whose opening bracket is read."""
        negated = self.takes("^") is not None
        tests: list[Test] = []
        while not self.takes("]") or not tests:
            if tests or self.pattern[self.at - 1] != "]":
                tests.append(self._item())
            else:
                tests.append(self._equal("]"))  # as the first item it is a character
        return (lambda found: not any(test(found) for test in tests)) if negated else _any_of(tests)

    def _item(self) -> Test:
        sign = self.sign()
        if sign == "\\":
            escaped = self.sign()
            found = self._class_of(escaped)
            if found is not None:
                return found
            sign = "\b" if escaped == "b" else self._literal(escaped)
        if not self.pattern.startswith("-", self.at) or self.pattern.startswith("-]", self.at):
            return self._equal(sign)
        self.at += 1
        last = self.sign()
        last = self._literal(self.sign()) if last == "\\" else last
        if last < sign:
            raise self.wrong("a range of characters goes backwards")
        return self._between(sign, last)

    def _between(self, first: str, last: str) -> Test:
        if not self.flags.ignore_case:
            return lambda found: first <= found <= last
        return lambda found: any(first <= one <= last for one in (found, found.lower(), found.upper()))


def _any_of(tests: list[Test]) -> Test:
    return tests[0] if len(tests) == 1 else (lambda found: any(test(found) for test in tests))
