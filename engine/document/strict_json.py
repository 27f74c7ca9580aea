"""A strict JSON parser: rejects everything that the format leaves open, with an error code for each case."""

import json
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from latentloom.engine.errors import Problem, WorkflowError, shown

_BRACKETS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)


class Limits(NamedTuple):
    """The size limits of a document."""

    size: int = 64 * 2**20
    nodes: int = 1_000_000
    depth: int = 64
    digits: int = 400


def parse(data: bytes | str, limits: Limits = Limits(), not_finite: Callable[[str], Any] | None = None) -> Any:  # noqa: B008
    """Parse JSON. Rejects NaN, duplicate keys, lone surrogates, and documents beyond the limits.

    `not_finite` returns a replacement for NaN and infinities, for files of programs that write them.
    """
    text = _decoded(data, limits)
    _check_depth(text, limits.depth)
    try:
        found = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=not_finite or _no_constant,
            parse_int=_int_within(limits.digits),
            parse_float=_finite_or(not_finite or _no_constant),
        )
    except json.JSONDecodeError as error:
        raise _refused("not_json", f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    if "\\u" in text:
        _check_surrogates(found)
    return found


def _refused(code: str, message: str, **facts: str | None) -> WorkflowError:
    return WorkflowError([Problem(code=code, message=message, **facts)])


def _decoded(data: bytes | str, limits: Limits) -> str:
    if len(data) > limits.size:
        raise _refused(
            "too_large", "the document is too large", expected=f"at most {limits.size} bytes", got=f"{len(data)} bytes"
        )
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
        text.encode()
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise _refused("not_text", f"not UTF-8 text: {error.reason} at byte {error.start}") from None
    return text


def _check_depth(text: str, limit: int) -> None:
    depth = 0
    for match in _BRACKETS.finditer(text):
        first = match[0][0]
        if first in "[{":
            depth += 1
            if depth > limit:
                raise _refused("too_deep", "the document is nested too deeply", expected=f"at most {limit} levels")
        elif first in "]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _refused("duplicate_key", f"the key '{shown(twice)}' appears twice in one object")
    return found


def _no_constant(text: str) -> Any:
    raise _refused("not_finite", f"{text} is not a number that a workflow can hold", hint="use a finite number")


def _finite_or(other: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse_float(text: str) -> Any:
        number = float(text)
        return number if math.isfinite(number) else other(shown(text))

    return parse_float


def _int_within(digits: int) -> Callable[[str], int]:
    def parse_int(text: str) -> int:
        if len(text) > digits:
            raise _refused(
                "too_long_integer",
                "an integer is too long",
                expected=f"at most {digits} digits",
                got=f"{len(text)} digits",
            )
        return int(text)

    return parse_int


def _check_surrogates(found: Any) -> None:
    stack = [found]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            try:
                item.encode()
            except UnicodeEncodeError:
                raise _refused(
                    "lone_surrogate", "a text contains an unpaired surrogate", got=ascii(item)[:60]
                ) from None
        elif isinstance(item, dict):
            stack += [*item, *item.values()]
        elif isinstance(item, list):
            stack += item
