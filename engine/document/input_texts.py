"""Texts as values of named inputs, by an InputSpec. Text that cannot be converted stays text; validation reports it."""

import re
from typing import Any

from latentloom.engine.document.interfaces import node_types, port_at
from latentloom.engine.document.strict_json import parse
from latentloom.engine.document.workflow import NamedInput, Workflow
from latentloom.engine.errors import WorkflowError
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.spec import InputSpec

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
NULL = "null"
MAX_DIGITS = 400
_INTEGER = re.compile(rf"[+-]?[0-9]{{1,{MAX_DIGITS}}}\Z")


def value_of(port: InputSpec | None, text: str) -> Any:
    """Return the value of a text, from the command line or a table. Without a port it stays text.

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


def port_of(workflow: Workflow, registry: Registry, named: NamedInput) -> InputSpec | None:
    """Return the first known port that a named input sets, or None."""
    types = node_types(workflow, registry)
    return next((port for target in named.to if (port := port_at(workflow, types, target)) is not None), None)
