"""Finds and replaces by regular expressions, in time that is linear in the text.

A pattern becomes a program for a machine that follows all possibilities at once (Thompson 1968; Pike's form, which
keeps groups, as Cox 2009 describes it). No pattern makes it slow: the steps are at most the length of the text times
that of the program, and their number is limited.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from latentloom.engine.errors import BadValueError, brief
from latentloom.nodes.text.pattern_syntax import At, Choice, Flags, Group, One, Part, Repeat, Row, is_word, read_pattern

MAX_PROGRAM = 5_000  # instructions
MAX_WORK = 2_000_000  # instructions times characters


class Split(NamedTuple):
    """Go on at both places; the first has precedence."""

    first: int
    second: int


class Save(NamedTuple):
    """Note the place in the text: 2n is the start of group n, 2n + 1 its end."""

    slot: int


class Done(NamedTuple):
    """The pattern fits."""


Step = One | At | Split | Save | Done
Slots = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """Where a pattern fits: the starts and ends of its groups in the text; -1 for one that took no part."""

    text: str
    slots: Slots

    @property
    def start(self) -> int:
        """The first character."""
        return self.slots[0]

    @property
    def end(self) -> int:
        """The character behind the last."""
        return self.slots[1]

    def group(self, number: int = 0) -> str | None:
        """Return the text of a group; None for one that took no part. Group 0 is the whole match."""
        first, last = self.slots[2 * number : 2 * number + 2]
        return self.text[first:last] if first >= 0 and last >= 0 else None


class Pattern:
    """A compiled pattern. Raises BadValueError for one that cannot be read or is too large."""

    def __init__(self, pattern: str, flags: Flags | None = None) -> None:
        read = read_pattern(pattern, flags or Flags())
        self.groups, self.names = read.groups, read.names
        self._steps: list[Step] = []
        self._add(Save(0))
        self._compile(read.part)
        self._add(Save(1))
        self._add(Done())

    def find_all(self, text: str) -> Iterator[Match]:
        """Yield the matches from left to right; they do not overlap. Raises BadValueError for too long a text."""
        work = len(text) * len(self._steps)
        if work > MAX_WORK:
            most = MAX_WORK // len(self._steps)
            raise BadValueError(
                "the text is too long for this pattern", expected=f"at most {most} characters", got=str(len(text))
            )
        yield from self._matches(text)

    def _matches(self, text: str) -> Iterator[Match]:
        at, left = 0, 2 * MAX_WORK
        while at <= len(text):
            found, read = self._search(text, at)
            left -= (read - at + 1) * len(self._steps)
            if found is None:
                return
            yield found
            at = found.end + (found.end == found.start)
            if left < 0:
                raise BadValueError("the pattern takes too long in this text", hint="use a pattern with fewer choices")

    def number(self, group: int | str) -> int:
        """Return the number of a group. Raises BadValueError if there is none."""
        number = self.names.get(group) if isinstance(group, str) else group
        if number is None or not 0 <= number <= self.groups:
            raise BadValueError("the pattern has no such group", expected=f"0..{self.groups}", got=brief(group))
        return number

    def _add(self, step: Step) -> int:
        if len(self._steps) == MAX_PROGRAM:
            raise BadValueError("the pattern is too large", hint="repeat its parts fewer times")
        self._steps.append(step)
        return len(self._steps) - 1

    def _compile(self, part: Part) -> None:
        match part:
            case Row(parts):
                for one in parts:
                    self._compile(one)
            case Choice(parts):
                self._choose(parts)
            case Group(inner, None):
                self._compile(inner)
            case Group(inner, int(number)):
                self._add(Save(2 * number))
                self._compile(inner)
                self._add(Save(2 * number + 1))
            case Repeat():
                self._repeat(part)
            case One() | At():
                self._add(part)

    def _choose(self, parts: Sequence[Part]) -> None:
        ends = []
        for part in parts[:-1]:
            split = self._add(Split(0, 0))
            self._compile(part)
            ends.append(self._add(Split(0, 0)))
            self._steps[split] = Split(split + 1, len(self._steps))
        self._compile(parts[-1])
        for end in ends:
            self._steps[end] = Split(len(self._steps), len(self._steps))

    def _repeat(self, repeat: Repeat) -> None:
        for _ in range(repeat.least):
            self._compile(repeat.part)
        if repeat.most is None:
            self._loop(repeat)
            return
        splits = []
        for _ in range(repeat.most - repeat.least):
            splits.append(self._add(Split(0, 0)))
            self._compile(repeat.part)
        for split in splits:
            self._steps[split] = _ordered(split + 1, len(self._steps), greedy=repeat.greedy)

    def _loop(self, repeat: Repeat) -> None:
        split = self._add(Split(0, 0))
        self._compile(repeat.part)
        self._add(Split(split, split))
        self._steps[split] = _ordered(split + 1, len(self._steps), greedy=repeat.greedy)

    def _search(self, text: str, start: int) -> tuple[Match | None, int]:
        """Return the leftmost match from a place on, and the place up to which the text was read."""
        empty: Slots = (-1,) * (2 * self.groups + 2)
        threads: dict[int, Slots] = {}
        found: Match | None = None
        for at in range(start, len(text) + 1):
            if found is None:
                self._follow(threads, 0, empty, text, at)
            sign, following = text[at] if at < len(text) else None, dict[int, Slots]()
            for place, slots in threads.items():
                step = self._steps[place]
                if isinstance(step, Done):
                    found = Match(text, slots)
                    break  # the threads behind it have a lower precedence
                if isinstance(step, One) and sign is not None and step.test(sign):
                    self._follow(following, place + 1, slots, text, at + 1)
            threads = following
            if not threads and found is not None:
                return found, at
        return found, len(text)

    def _follow(self, threads: dict[int, Slots], place: int, slots: Slots, text: str, at: int) -> None:
        """Add what is reached from a place without reading a character, in the order of precedence."""
        waiting = [(place, slots)]
        while waiting:
            place, slots = waiting.pop()
            if place in threads:
                continue
            threads[place] = slots
            match self._steps[place]:
                case Split(first, second):
                    waiting += [(second, slots), (first, slots)]
                case Save(slot):
                    waiting.append((place + 1, (*slots[:slot], at, *slots[slot + 1 :])))
                case At(anchor) if _holds(anchor, text, at):
                    waiting.append((place + 1, slots))
                case _:
                    pass


def _ordered(inside: int, behind: int, *, greedy: bool) -> Split:
    return Split(inside, behind) if greedy else Split(behind, inside)


def _holds(anchor: str, text: str, at: int) -> bool:
    before, after = text[at - 1 : at] if at else "", text[at : at + 1]
    match anchor:
        case "start":
            return at == 0
        case "end":
            return not after or (after == "\n" and at + 1 == len(text))
        case "line_start":
            return at == 0 or before == "\n"
        case "line_end":
            return not after or after == "\n"
        case _:
            edge = (bool(before) and is_word(before)) != (bool(after) and is_word(after))
            return edge if anchor == "boundary" else not edge


def replaced(pattern: Pattern, text: str, replacement: str, count: int, most: int) -> str:
    r"""Replace the first `count` matches, all for 0. `\\1`, `\\g<1>` and `\\g<name>` stand for groups.

    Raises BadValueError if the result is longer than `most`.
    """
    pieces, template = list[str](), _template(pattern, replacement)
    place = length = 0
    for number, found in enumerate(pattern.find_all(text), 1):
        pieces += [text[place : found.start], *(found.group(p) or "" if isinstance(p, int) else p for p in template)]
        place = found.end
        length += sum(map(len, pieces[-len(template) - 1 :]))
        if length > most:
            raise BadValueError("the text becomes too long", expected=f"at most {most} characters")
        if number == count:
            break
    return "".join([*pieces, text[place:]])


def _template(pattern: Pattern, replacement: str) -> list[str | int]:
    """Return the pieces of a replacement: texts, and the numbers of groups."""
    found, rest = list[str | int](), replacement
    while rest:
        plain, sign, rest = rest.partition("\\")
        found.append(plain)
        if not sign:
            break
        if rest.startswith("g<") and ">" in rest:
            name, _, rest = rest[2:].partition(">")
            found.append(pattern.number(int(name[:9]) if name.isdecimal() else name))
        elif rest[:1].isdecimal():
            found.append(pattern.number(int(rest[0])))
            rest = rest[1:]
        else:
            found.append({"n": "\n", "t": "\t", "r": "\r", "": "\\"}.get(rest[:1], rest[:1]))
            rest = rest[1:]
    return found
