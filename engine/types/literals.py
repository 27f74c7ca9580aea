"""Literal values of inputs: checks them against the bounds of an InputSpec and converts numbers to its type."""

import json
import math
import re
from collections.abc import Collection
from typing import Any

from latentloom.engine.errors import Problem, brief, nearest
from latentloom.engine.types.spec import InputSpec

NAMES = {
    "INT": "an integer",
    "FLOAT": "a number",
    "STRING": "text",
    "BOOLEAN": "true or false",
    "CHOICE": "a choice",
    "JSON": "JSON",
}
RANDOM = "random"
_KINDS = {bool: "BOOLEAN", int: "INT", float: "FLOAT", str: "STRING"}
_INTEGER = re.compile(r"-?[0-9]{1,20}\Z")


class LiteralError(Exception):
    """A literal that its input does not accept."""

    def __init__(self, **fields: str | None) -> None:
        super().__init__(fields["message"])
        self.fields = fields

    def at(self, node: str | None, name: str) -> Problem:
        """Return the problem with its node and input."""
        return Problem(node=node, input=name, **self.fields)  # type: ignore[arg-type]


def coerce(port: InputSpec, value: Any, choices: Collection[str] | None = None) -> Any:
    """Return the value in the type that the port declares. `choices` from a source replace the port's own choices.

    Raises LiteralError with code wrong_type, out_of_range or unknown_choice.
    """
    if value is None:
        return _none(port)
    check = _CHECKS.get(port.kind)
    if check is None:
        return value
    value = check(port, value)
    if port.kind == "CHOICE":
        _choice(port, value, port.choices if choices is None else choices)
    return value


def _none(port: InputSpec) -> None:
    if not port.optional and port.kind not in ("JSON", "ANY"):
        raise _wrong(port, None)


def _wrong(port: InputSpec, value: Any, hint: str | None = None) -> LiteralError:
    expected = NAMES.get(port.kind, f"a value of type {port.kind}")
    return LiteralError(code="wrong_type", message="wrong type", expected=expected, got=brief(value), hint=hint)


def _integer(port: InputSpec, value: Any) -> int:
    if port.seed and value == RANDOM:
        raise LiteralError(
            code="unresolved_seed", message="a random seed has not been drawn yet", hint="resolve the workflow first"
        )
    if type(value) is float and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if type(value) is str and _INTEGER.match(value):
        value = int(value)  # integers above 2^53-1 are written as text
    if type(value) is not int:
        raise _wrong(port, value)
    _bounded(port, value)
    return value


def _number(port: InputSpec, value: Any) -> float:
    if type(value) not in (int, float):
        raise _wrong(port, value)
    try:
        number = float(value)
    except OverflowError:
        raise _wrong(port, value) from None
    if not math.isfinite(number):
        raise _wrong(port, value, "NaN and infinity are not numbers that a workflow can hold")
    _bounded(port, number)
    return number


def _bounded(port: InputSpec, value: float) -> None:
    low, high = port.minimum, port.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        span = f"{_show(low)}..{_show(high)}" if None not in (low, high) else _one_sided(low, high)
        raise LiteralError(code="out_of_range", message="out of range", expected=span, got=brief(value))
    if port.multiple_of:
        _multiple(port.multiple_of, value)


def _multiple(step: float, value: float) -> None:
    if not value % step if type(value) is int else abs(value / step - round(value / step)) < 1e-9:
        return
    lower = value // step * step
    raise LiteralError(
        code="out_of_range",
        message=f"not a multiple of {_show(step)}",
        expected=f"a multiple of {_show(step)}",
        got=brief(value),
        hint=f"the nearest are {_show(lower)} and {_show(lower + step)}",
    )


def _one_sided(low: float | None, high: float | None) -> str:
    return f"at least {_show(low)}" if low is not None else f"at most {_show(high)}"


def _show(number: float | None) -> str:
    return "" if number is None else f"{number:d}" if isinstance(number, int) else f"{number:g}"


def _text(port: InputSpec, value: Any) -> str:
    if type(value) is not str:
        raise _wrong(port, value)
    if not value.isascii():
        _whole(port, value)
    low, high = port.min_length, port.max_length
    if (low and len(value) < low) or (high is not None and len(value) > high):
        raise LiteralError(
            code="out_of_range",
            message="text of the wrong length",
            expected=f"{low or 0}..{'any number of' if high is None else high} characters",
            got=str(len(value)),
        )
    return value


def _whole(port: InputSpec, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _wrong(port, value, "it contains an unpaired surrogate") from None


def _boolean(port: InputSpec, value: Any) -> bool:
    if type(value) is not bool:
        raise _wrong(port, value)
    return value


def _choice(port: InputSpec, value: str, choices: Collection[str]) -> None:
    if value in choices:
        return
    raise LiteralError(
        code="unknown_choice",
        message="not one of the choices",
        expected=", ".join(choices) if len(choices) <= 40 else f"one of {len(choices)} {port.source}",
        got=brief(value),
        nearest=nearest(value, choices),
        hint=None if choices else "there is nothing to choose from",
    )


def kind_of_literal(value: Any) -> str:
    """Return the kind of a literal, for ports of kind ANY."""
    return _KINDS.get(type(value), "JSON")


def plain(value: Any) -> Any:
    """Return a copy after a JSON round trip: tuples become lists, keys become strings.

    Raises ValueError for values that JSON cannot represent.
    """
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("a text contains an unpaired surrogate") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(str(error)) from None
    return json.loads(text)


def _json(port: InputSpec, value: Any) -> Any:
    try:
        return plain(value)
    except ValueError as error:
        raise _wrong(port, value, str(error)) from None


_CHECKS = {
    "INT": _integer,
    "FLOAT": _number,
    "STRING": _text,
    "CHOICE": _text,
    "FILE": _text,
    "MODEL_FILE": _text,
    "BOOLEAN": _boolean,
    "JSON": _json,
    "ANY": _json,
}
