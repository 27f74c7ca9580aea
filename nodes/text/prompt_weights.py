"""The grammar of prompts: words with weights, and sections, in two dialects.

AUTOMATIC1111: `(a)` multiplies the weight by 1.1, `(a:1.3)` by 1.3, `[a]` divides it by 1.1; nested brackets multiply.
BREAK starts a new section. A backslash escapes a bracket. An unclosed bracket extends to the end. ComfyUI: only `(a)`
and `(a:1.3)`; an explicit number replaces the surrounding weight; an unclosed bracket is plain text.
"""

import re
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from latentloom.engine.errors import BadValueError

Grammar = Literal["a1111", "comfyui", "plain"]

STEP = 1.1
MAX_DEPTH = 100
MAX_WEIGHT = 1000.0
NUMBER = r"(?:\d++(?:\.\d*+)?|\.\d++)"  # without a sign; possessive, so there is no backtracking
_NUMBER = rf"[+-]?{NUMBER}"
_TOKEN = re.compile(rf"\\.|\\|[()\[\]]|:\s*({_NUMBER})\s*\)|[^\\()\[\]:]+|:", re.DOTALL)
_BREAK = re.compile(r"\bBREAK\b")
_EXPLICIT = re.compile(rf"\s*({_NUMBER})\s*")


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of text and its weight; 1 is neutral. An embedding replaces the text."""

    text: str
    weight: float = 1.0
    embedding: Any = None


Section = tuple[Span, ...]


def parse(text: str, grammar: Grammar = "a1111") -> tuple[Section, ...]:
    """Parse a prompt to its sections, at least one. Adjacent spans of equal weight are joined; empty ones are dropped.

    Raises BadValueError for brackets nested deeper than 100 and for absolute weights above 1000.
    """
    if grammar == "plain":
        return (_joined([Span(text)]),)
    if grammar == "comfyui":
        return (_joined(_comfyui(text)),)
    return tuple(_joined(section) for section in _a1111(text))


def _joined(spans: list[Span]) -> Section:
    """Join adjacent spans of equal weight."""
    most = max((abs(span.weight) for span in spans), default=0.0)
    if most > MAX_WEIGHT:
        raise BadValueError(
            "a word of the prompt has too large a weight", expected=f"at most {MAX_WEIGHT:g}", got=f"{most:g}"
        )
    groups = groupby((span for span in spans if span.text), key=lambda span: span.weight)
    return tuple(Span("".join(span.text for span in group), weight) for weight, group in groups)


class _Ranges:
    """Texts in order, each with a weight. Closing a bracket multiplies the weights since it was opened.

    Round and square brackets are independent of each other, so they may overlap: `(a [b) c]`.
    """

    def __init__(self) -> None:
        self._texts: list[str | None] = []  # None: a new section
        self._weights: list[float] = []
        self._open: dict[str, list[int]] = {"(": [], "[": []}

    def add(self, text: str | None) -> None:
        self._texts.append(text)
        self._weights.append(1.0)

    def open(self, bracket: str) -> None:
        self._open[bracket].append(len(self._texts))
        _check_depth(len(self._open[bracket]))

    def close(self, bracket: str, factor: float) -> bool:
        """Close a bracket; return False if none is open."""
        if not self._open[bracket]:
            return False
        start = self._open[bracket].pop()
        self._weights[start:] = [weight * factor for weight in self._weights[start:]]
        return True

    def sections(self) -> list[list[Span]]:
        while self.close("(", STEP) or self.close("[", 1 / STEP):
            pass
        found: list[list[Span]] = [[]]
        for text, weight in zip(self._texts, self._weights, strict=True):
            if text is None:
                found.append([])
            else:
                found[-1].append(Span(text, weight))
        return found


def _a1111(text: str) -> list[list[Span]]:
    ranges = _Ranges()
    for match in _TOKEN.finditer(text):
        token, weight = match[0], match[1]
        if token[0] == "\\":
            ranges.add(token[1:])
        elif token in ("(", "["):
            ranges.open(token)
        elif token == ")":
            _ = ranges.close("(", STEP) or ranges.add(token)
        elif token == "]":
            _ = ranges.close("[", 1 / STEP) or ranges.add(token)
        elif weight is not None:
            _ = ranges.close("(", float(weight)) or ranges.add(token)
        else:
            _add_sections(ranges, token)
    return ranges.sections()


def _add_sections(ranges: _Ranges, text: str) -> None:
    parts = _BREAK.split(text)
    for index, part in enumerate(parts):
        if index > 0:
            ranges.add(None)
            part = part.lstrip()
        ranges.add(part if index == len(parts) - 1 else part.rstrip())


_Tree = list["str | _Tree"]


def _comfyui(text: str) -> list[Span]:
    frames: list[_Tree] = [[]]
    for token in re.findall(r"\\[()]|[()]|[^\\()]+|\\", text):
        if token == "(":
            frames.append([])
            _check_depth(len(frames))
        elif token == ")" and len(frames) > 1:
            inner = frames.pop()
            frames[-1].append(inner)
        else:
            frames[-1].append(token[1:] if len(token) == 2 and token[0] == "\\" else token)
    while len(frames) > 1:
        inner = frames.pop()
        frames[-1] += ["(", *inner]
    return _weighed(frames[0], 1.0)


def _weighed(tree: "_Tree", weight: float) -> list[Span]:
    found: list[Span] = []
    for item in tree:
        found += [Span(item, weight)] if isinstance(item, str) else _bracketed(item, weight)
    return found


def _bracketed(tree: "_Tree", around: float) -> list[Span]:
    """A closed bracket: its weight is the number at its end, or 1.1 times the surrounding weight without a number."""
    last = tree[-1] if tree else None
    text, colon, number = last.rpartition(":") if isinstance(last, str) else ("", "", "")
    match = _EXPLICIT.fullmatch(number) if colon else None
    if match is None or not (text or len(tree) > 1):
        return _weighed(tree, around * STEP)
    return _weighed([*tree[:-1], text], float(match[1]))


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadValueError("the prompt's brackets are nested too deep", expected=f"at most {MAX_DEPTH}", got="more")
