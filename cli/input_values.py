"""Converts text to values by an InputSpec. Text that cannot be converted stays text; the validator reports it."""

import re
from typing import Any

from latentloom.engine.document.strict_json import parse
from latentloom.engine.errors import WorkflowError
from latentloom.engine.types.spec import InputSpec

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
NULL = "null"
MAX_DIGITS = 400
_INTEGER = re.compile(rf"[+-]?[0-9]{{1,{MAX_DIGITS}}}\Z")


def value_of(port: InputSpec | None, text: str) -> Any:
    """Return the value of a text on the command line. Without a port it stays text.

    INT, FLOAT and BOOLEAN are parsed. CHOICE, STRING, FILE and MODEL_FILE stay text. Lists and JSON are read as
    JSON. "null" is None for an optional input that is not a STRING.
    """
    if port is None:
        return text
    if port.optional and text == NULL and port.kind != "STRING":
        return None
    if port.is_list or port.kind in ("JSON", "ANY"):
        return _json(text)
    parse_text = {"INT": _integer, "FLOAT": _number, "BOOLEAN": _boolean}.get(port.kind)
    return text if parse_text is None else parse_text(text)


def _integer(text: str) -> int | str:
    return int(text) if _INTEGER.match(text) else text


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _boolean(text: str) -> bool | str:
    word = text.lower()
    return True if word in TRUE else False if word in FALSE else text


def _json(text: str) -> Any:
    try:
        return parse(text)
    except WorkflowError:
        return text


def metavar(port: InputSpec) -> str:
    """Return the placeholder for a value of the input in the help."""
    if port.is_list:
        return f"[{port.kind}, ...]"
    if port.kind == "CHOICE" and 0 < len(port.choices) <= 6:
        return "|".join(port.choices)
    names = {
        "STRING": "TEXT",
        "FLOAT": "NUMBER",
        "BOOLEAN": "true|false",
        "FILE": "PATH",
        "MODEL_FILE": "MODEL",
        "INT": "INT|random" if port.seed else "INT",
    }
    return names.get(port.kind, port.kind)


def bounds(port: InputSpec) -> str:
    """Return the range of an input as text, "" if it has none."""
    low, high = port.minimum, port.maximum
    facts = []
    if low is not None and high is not None:
        facts.append(f"{number(low)}..{number(high)}")
    elif low is not None or high is not None:
        facts.append(f"at least {number(low)}" if low is not None else f"at most {number(high)}")
    if port.multiple_of is not None:
        facts.append(f"a multiple of {number(port.multiple_of)}")
    if port.min_length or port.max_length is not None:
        facts.append(f"{port.min_length or 0}..{'' if port.max_length is None else port.max_length} characters")
    return ", ".join(facts)


def number(value: float | None) -> str:
    """Return a bound as short text."""
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:g}"
