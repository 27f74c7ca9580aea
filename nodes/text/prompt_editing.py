"""Prompt editing: prompts that change while a picture is made, in AUTOMATIC1111's grammar.

`[a:b:0.4]` is a for the first 40 % of the steps, then b; `[a::0.4]` ends a, `[b:0.4]` begins b; a whole number is a
step. `[a|b|c]` changes at each step. Anything else in square brackets is left for `prompt.parse`.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from latentloom.engine.errors import BadValueError
from latentloom.nodes.text.prompt_weights import MAX_DEPTH, NUMBER

MAX_VARIANTS = 64
_TOKEN = re.compile(r"\\.|[()\[\]:|]|[^\\()\[\]:|]+|\\", re.DOTALL)
_WHEN = re.compile(rf"\s*({NUMBER})\s*")


@dataclass(frozen=True, slots=True)
class Variant:
    """A text and the steps at which it is the prompt: start <= step / steps < end, and step % period == turn."""

    text: str
    start: float = 0.0
    end: float = 1.0
    turn: int = 0
    period: int = 1


@dataclass(frozen=True, slots=True)
class _Switch:
    before: "_Sequence"
    after: "_Sequence"
    when: float


@dataclass(frozen=True, slots=True)
class _Turn:
    options: tuple["_Sequence", ...]


_Sequence = tuple["str | _Switch | _Turn", ...]


def variants(text: str, steps: int) -> tuple[Variant, ...]:
    """What a prompt is at which steps, in order of time; one variant if it never changes.

    Raises BadValueError for brackets nested deeper than 100, and for more than 64 changes.
    """
    sequence = _parsed(text, steps)
    period = math.lcm(*(len(part.options) for part in _parts(sequence) if isinstance(part, _Turn)))
    points = {part.when for part in _parts(sequence) if isinstance(part, _Switch)}
    times = sorted({0.0, 1.0, *(when for when in points if 0 < when < 1)})
    if (len(times) - 1) * period > MAX_VARIANTS:
        raise BadValueError("the prompt changes too often", expected=f"at most {MAX_VARIANTS} texts", got="more")
    found: list[Variant] = []
    for start, end in pairwise(times):
        found += _between(sequence, start, end, period)
    return tuple(_merged(found))


def _between(sequence: _Sequence, start: float, end: float, period: int) -> list[Variant]:
    texts = [_resolved(sequence, start, turn) for turn in range(period)]
    if len(set(texts)) == 1:
        return [Variant(texts[0], start, end)]
    return [Variant(text, start, end, turn, period) for turn, text in enumerate(texts)]


def _merged(found: list[Variant]) -> Iterator[Variant]:
    """Steady variants of one text, one after the other, as one."""
    last: Variant | None = None
    for variant in found:
        if last and last.period == variant.period == 1 and last.text == variant.text:
            last = Variant(last.text, last.start, variant.end)
            continue
        if last:
            yield last
        last = variant
    if last:
        yield last


def _resolved(sequence: _Sequence, time: float, turn: int) -> str:
    texts = []
    for part in sequence:
        match part:
            case str():
                texts.append(part)
            case _Switch():
                texts.append(_resolved(part.after if time >= part.when else part.before, time, turn))
            case _Turn():
                texts.append(_resolved(part.options[turn % len(part.options)], time, turn))
    return "".join(texts)


def _parts(sequence: _Sequence) -> Iterator["str | _Switch | _Turn"]:
    """Every part, those inside others too."""
    for part in sequence:
        yield part
        inner = (part.before, part.after) if isinstance(part, _Switch) else getattr(part, "options", ())
        for one in inner:
            yield from _parts(one)


class _Frame:
    """A bracket under way: its parts, and what stood between them."""

    def __init__(self, bracket: str) -> None:
        self.bracket = bracket
        self.parts: list[list[str | _Switch | _Turn]] = [[]]
        self.separators: list[str] = []

    def split(self, separator: str) -> None:
        self.separators.append(separator)
        self.parts.append([])

    def literal(self, closing: str) -> list["str | _Switch | _Turn"]:
        """All of it as it was written."""
        found: list[str | _Switch | _Turn] = [self.bracket, *self.parts[0]]
        for separator, part in zip(self.separators, self.parts[1:], strict=True):
            found += [separator, *part]
        return [*found, closing]

    def closed(self, steps: int) -> list["str | _Switch | _Turn"]:
        """What a pair of square brackets means."""
        parts, kinds = [tuple(part) for part in self.parts], set(self.separators)
        if kinds == {"|"}:
            return [_Turn(tuple(parts))]
        when = _when(parts[-1], steps) if kinds == {":"} and len(parts) <= 3 else None
        if when is None:
            return self.literal("]")
        return [_Switch(parts[0] if len(parts) == 3 else (), parts[-2], when)]


def _when(part: _Sequence, steps: int) -> float | None:
    """The share of the steps that a number means, or None for anything else."""
    text = "".join(item if isinstance(item, str) else "?" for item in part)
    match = _WHEN.fullmatch(text)
    if match is None:
        return None
    value = float(match[1])
    return min(1.0, value / steps if "." not in match[1] else value)


def _parsed(text: str, steps: int) -> _Sequence:
    frames = [_Frame("")]
    for token in _TOKEN.findall(text):
        if token in ("(", "["):
            frames.append(_Frame(token))
            if len(frames) > MAX_DEPTH + 1:
                raise BadValueError(
                    "the prompt's brackets are nested too deep", expected=f"at most {MAX_DEPTH}", got="more"
                )
        elif token == ")" and frames[-1].bracket == "(":
            _keep(frames, frames[-1].literal(")"))
        elif token == "]" and any(frame.bracket == "[" for frame in frames):
            while frames[-1].bracket != "[":
                _keep(frames, frames[-1].literal(""))
            _keep(frames, frames[-1].closed(steps))
        elif token in (":", "|") and frames[-1].bracket == "[":
            frames[-1].split(token)
        else:
            frames[-1].parts[-1].append(token)
    while len(frames) > 1:
        _keep(frames, frames[-1].literal(""))
    return tuple(frames[0].parts[0])


def _keep(frames: list[_Frame], found: list["str | _Switch | _Turn"]) -> None:
    """End the innermost bracket, with what it came to."""
    frames.pop()
    frames[-1].parts[-1] += found
