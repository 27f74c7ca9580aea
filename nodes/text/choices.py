"""Expands prompts with choices: `{red|blue} car`, `{2::red|blue}`, `{2$$ and $$a|b|c}`, and `__name__` for a list.

The syntax is that of the Dynamic Prompts extension. Choices may hold other choices and names of lists. A seed decides,
so that the same seed gives the same prompt.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from latentloom.engine.errors import BadValueError, brief, nearest

MAX_LENGTH = 100_000  # characters of an expanded prompt
MAX_DEPTH = 32  # choices within choices, and lists within lists
MAX_CHOICES = 10_000  # drawn for one prompt
_SIGN = re.compile(r"\\.|[{}|]|__[A-Za-z0-9*][A-Za-z0-9/*.-]{0,99}(?:_[A-Za-z0-9/*.-]{1,99}){0,20}__", re.DOTALL)
_COUNT = re.compile(r"(\d{1,3})?(?:-(\d{1,3})?)?\$\$(?:([^|{}$]{0,50})\$\$)?")
_WEIGHT = re.compile(r"\s{0,9}(\d{1,6}(?:\.\d{1,6})?|\.\d{1,6})::")
Lists = Mapping[str, Sequence[str]]


def read_lists(text: str) -> dict[str, list[str]]:
    """Read lists, one a line: `animal: cat | dog`. Lines that begin with # are left out. Raises BadValueError."""
    found: dict[str, list[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, colon, rest = line.partition(":")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not colon or not name.strip():
            raise BadValueError(f"line {number} is not a list", expected="name: one | another", got=brief(line))
        found[name.strip()] = [item for part in _split(rest) if (item := part.strip())]
    return found


def _split(text: str) -> list[str]:
    """Split a text at the bars that are in no braces."""
    parts, depth, start = list[str](), 0, 0
    for sign in _SIGN.finditer(text):
        depth += {"{": 1, "}": -1}.get(sign[0], 0)
        if sign[0] == "|" and depth <= 0:
            parts.append(text[start : sign.start()])
            start = sign.end()
    return [*parts, text[start:]]


def expanded(text: str, seed: int, lists: Lists) -> str:
    """Return a prompt with its choices made. Raises BadValueError for an unknown list, and beyond the limits.

    A brace without its counterpart stays as it is; a backslash makes a brace or a bar a character.
    """
    return _Expander(random.Random(f"choices {seed}"), lists).text(text, 0)


@dataclass
class _Expander:
    random: random.Random
    lists: Lists
    drawn: int = 0

    def text(self, text: str, depth: int) -> str:
        if depth > MAX_DEPTH:
            raise BadValueError("the choices of the prompt are nested too deep", expected=f"at most {MAX_DEPTH} levels")
        pieces, length, place, closings = list[str](), 0, 0, _closings(text)
        while sign := _SIGN.search(text, place):
            piece, end = self._piece(text, sign, closings, depth)
            pieces += [text[place : sign.start()], piece]
            length += len(pieces[-1]) + len(pieces[-2])
            place = end
            if length > MAX_LENGTH:
                raise BadValueError("the prompt becomes too long", expected=f"at most {MAX_LENGTH} characters")
        return "".join([*pieces, text[place:]])

    def _piece(self, text: str, sign: re.Match[str], closings: Mapping[int, int], depth: int) -> tuple[str, int]:
        """Return what stands for a sign, and the place behind it."""
        if sign[0][0] == "\\":
            return sign[0][1] if sign[0][1] in "{}|" else sign[0], sign.end()
        if sign[0].startswith("__"):
            return self._listed(sign[0][2:-2], depth), sign.end()
        end = closings.get(sign.start())
        if end is None:
            return sign[0], sign.end()
        return self._choice(text[sign.end() : end], depth), end + 1

    def _choice(self, inside: str, depth: int) -> str:
        count = _COUNT.match(inside)
        options = [_weighted(part) for part in _split(inside[count.end() :] if count else inside)]
        if count is None:
            return self.text(self._pick(options), depth + 1)
        low, high = _range(count, len(options))
        chosen = self._several(options, self.random.randint(low, high))
        separator = count[3] if count[3] is not None else ", "
        return separator.join(self.text(option, depth + 1) for option in chosen)

    def _several(self, options: list[tuple[str, float]], count: int) -> list[str]:
        """Draw different options, in the order of the draw."""
        left, found = list(options), list[str]()
        for _ in range(min(count, len(options))):
            found.append(self._pick(left))
            left.remove(next(one for one in left if one[0] == found[-1]))
        return found

    def _pick(self, options: Sequence[tuple[str, float]]) -> str:
        self.drawn += 1
        if self.drawn > MAX_CHOICES:
            raise BadValueError("the prompt has too many choices", expected=f"at most {MAX_CHOICES}")
        weights = [weight for _, weight in options]
        if not any(weights):
            weights = [1.0] * len(options)
        return self.random.choices([option for option, _ in options], weights)[0]

    def _listed(self, name: str, depth: int) -> str:
        """Return an entry of a list; `*` in the name stands for any text, and draws from all lists that fit."""
        if "*" in name:
            fits = re.compile("[^/]{0,100}".join(map(re.escape, re.split(r"\*+", name)[:4])))
            found = [item for known, items in self.lists.items() if fits.fullmatch(known) for item in items]
        else:
            found = list(self.lists.get(name, []))
        if not found:
            near = nearest(name, self.lists)
            raise BadValueError(f"there is no list '{name}'", expected=", ".join(self.lists) or "a list", nearest=near)
        return self.text(self._pick([_weighted(item) for item in found]), depth + 1)


def _closings(text: str) -> dict[int, int]:
    """Return the place of the closing brace by the place of the opening one, in one pass over the text."""
    opened, found = list[int](), dict[int, int]()
    for sign in _SIGN.finditer(text):
        if sign[0] == "{":
            opened.append(sign.start())
        elif sign[0] == "}" and opened:
            found[opened.pop()] = sign.start()
    return found


def _weighted(option: str) -> tuple[str, float]:
    found = _WEIGHT.match(option)
    return (option[found.end() :], float(found[1])) if found else (option, 1.0)


def _range(count: re.Match[str], most: int) -> tuple[int, int]:
    """Return the least and the largest number of options that are drawn."""
    dash = "-" in count[0].split("$$")[0]
    low = int(count[1]) if count[1] else (0 if dash else 1)
    high = int(count[2]) if count[2] else (most if dash else low)
    return min(low, high), max(low, high)
