"""Prompt editing: prompts that change during sampling, in AUTOMATIC1111's grammar.

`[a:b:0.4]` is a for the first 40 % of the steps, then b; `[a::0.4]` removes a, `[b:0.4]` adds b; an integer is a step.
`[a|b|c]` changes at each step. Other square brackets are left to `prompt_weights.parse`. The number of steps is known
only when the conditioning is sampled, so each text has its steps as `prompt_times.Times`.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from latentloom.engine.errors import BadValueError
from latentloom.nodes.text.prompt_times import ALWAYS, Times
from latentloom.nodes.text.prompt_weights import MAX_DEPTH, NUMBER

MAX_VARIANTS = 64
_TOKEN = re.compile(r"\\.|[()\[\]:|]|[^\\()\[\]:|]+|\\", re.DOTALL)
_WHEN = re.compile(rf"\s*({NUMBER})\s*")


@dataclass(frozen=True, slots=True)
class Variant:
    """A text, or one text for each of several encoders, and the times at which it is the prompt."""

    texts: tuple[str, ...]
    times: Times = ALWAYS

    @property
    def text(self) -> str:
        """The first encoder's text."""
        return self.texts[0]


@dataclass(frozen=True, slots=True)
class _Switch:
    before: "_Sequence"
    after: "_Sequence"
    share: float | None  # of the steps; None: `step` is used
    step: int

    def passed(self, times: Times) -> bool:
        return self.step <= times.first if self.share is None else self.share <= times.start


@dataclass(frozen=True, slots=True)
class _Turn:
    options: tuple["_Sequence", ...]


_Sequence = tuple["str | _Switch | _Turn", ...]


def variants(*texts: str) -> tuple[Variant, ...]:
    """Return the variants of a prompt in order of time; one variant if it never changes.

    Several texts, one for each encoder, change together. Raises BadValueError for brackets nested deeper than 100, and
    for more than 64 variants.
    """
    sequences = [_parsed(text) for text in texts]
    parts = [part for sequence in sequences for part in _parts(sequence)]
    period = math.lcm(*(len(part.options) for part in parts if isinstance(part, _Turn)))
    switches = [part for part in parts if isinstance(part, _Switch)]
    shares = sorted({0.0, *(one.share for one in switches if one.share is not None and one.share < 1)})
    steps = sorted({0, *(one.step for one in switches if one.share is None)})
    if len(shares) * len(steps) * period > MAX_VARIANTS:
        raise BadValueError("the prompt changes too often", expected=f"at most {MAX_VARIANTS} texts", got="more")
    found: list[Variant] = []
    for first, last in pairwise([*steps, None]):
        row = [
            one
            for start, end in pairwise([*shares, None])
            for one in _between(sequences, Times(start or 0.0, end, first or 0, last), period)
        ]
        found += _merged(row, ("start", "end"))
    return tuple(_merged(found, ("first", "last")))


def _between(sequences: "Sequence[_Sequence]", times: Times, period: int) -> list[Variant]:
    turns = [tuple(_resolved(sequence, times, turn) for sequence in sequences) for turn in range(period)]
    if len(set(turns)) == 1:
        return [Variant(turns[0], times)]
    return [Variant(texts, replace(times, turn=turn, period=period)) for turn, texts in enumerate(turns)]


def _merged(found: list[Variant], ends: tuple[str, str]) -> list[Variant]:
    """Merge adjacent variants with the same text along one kind of time (shares or steps)."""
    kept: list[Variant] = []
    for variant in found:
        begin, end = ends
        last = kept[-1] if kept else None
        at = {end: getattr(variant.times, end)}
        joined = last and replace(variant.times, **{begin: getattr(last.times, begin)}) == replace(last.times, **at)
        if last and joined and last.texts == variant.texts:
            kept[-1] = Variant(last.texts, replace(last.times, **at))
        else:
            kept.append(variant)
    return kept


def _resolved(sequence: _Sequence, times: Times, turn: int) -> str:
    texts = []
    for part in sequence:
        match part:
            case str():
                texts.append(part)
            case _Switch():
                texts.append(_resolved(part.after if part.passed(times) else part.before, times, turn))
            case _Turn():
                texts.append(_resolved(part.options[turn % len(part.options)], times, turn))
    return "".join(texts)


def _parts(sequence: _Sequence) -> Iterator["str | _Switch | _Turn"]:
    """All parts, including nested ones."""
    for part in sequence:
        yield part
        inner = (part.before, part.after) if isinstance(part, _Switch) else getattr(part, "options", ())
        for one in inner:
            yield from _parts(one)


class _Frame:
    """An open bracket: its parts and the separators between them."""

    def __init__(self, bracket: str) -> None:
        self.bracket = bracket
        self.parts: list[list[str | _Switch | _Turn]] = [[]]
        self.separators: list[str] = []

    def split(self, separator: str) -> None:
        self.separators.append(separator)
        self.parts.append([])

    def literal(self, closing: str) -> list["str | _Switch | _Turn"]:
        """Return the bracket as literal text."""
        found: list[str | _Switch | _Turn] = [self.bracket, *self.parts[0]]
        for separator, part in zip(self.separators, self.parts[1:], strict=True):
            found += [separator, *part]
        return [*found, closing]

    def closed(self) -> list["str | _Switch | _Turn"]:
        """Return the meaning of a pair of square brackets."""
        parts, kinds = [tuple(part) for part in self.parts], set(self.separators)
        if kinds == {"|"}:
            return [_Turn(tuple(parts))]
        when = _when(parts[-1]) if kinds == {":"} and len(parts) <= 3 else None
        if when is None:
            return self.literal("]")
        return [_Switch(parts[0] if len(parts) == 3 else (), parts[-2], *when)]


def _when(part: _Sequence) -> tuple[float | None, int] | None:
    """Parse a share of the steps or a step to the fields of `_Switch`; None if the text is not a number."""
    text = "".join(item if isinstance(item, str) else "?" for item in part)
    match = _WHEN.fullmatch(text)
    if match is None:
        return None
    return (float(match[1]), 0) if "." in match[1] else (None, int(match[1]))


def _parsed(text: str) -> _Sequence:
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
            _keep(frames, frames[-1].closed())
        elif token in (":", "|") and frames[-1].bracket == "[":
            frames[-1].split(token)
        else:
            frames[-1].parts[-1].append(token)
    while len(frames) > 1:
        _keep(frames, frames[-1].literal(""))
    return tuple(frames[0].parts[0])


def _keep(frames: list[_Frame], found: list["str | _Switch | _Turn"]) -> None:
    """Close the innermost bracket and append its result to the bracket around it."""
    frames.pop()
    frames[-1].parts[-1] += found
