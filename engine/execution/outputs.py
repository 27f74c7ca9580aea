"""Checks a node's return value against its spec and converts it to the kinds of the outputs."""

from dataclasses import asdict
from typing import Any

from latentloom.engine.errors import NodeError, brief
from latentloom.engine.planning.step import Step
from latentloom.engine.types.absent import ABSENT, Absent
from latentloom.engine.types.expansion import Expansion
from latentloom.engine.types.literals import LiteralError, coerce, kind_of_literal
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.spec import ANY, LITERAL_KINDS, InputSpec, OutputSpec

Returned = tuple[str, Any] | list[tuple[str, Any]]
"""The kind and value of an output, or a list of them for a list output."""


def outputs_of(step: Step, returned: Any, registry: Registry) -> dict[str, Returned]:
    """Return the outputs by name, checked against the spec. Raises NodeError."""
    ports = step.spec.outputs
    if step.spec.several:
        if not isinstance(returned, tuple) or len(returned) != len(ports):
            raise _wrong(step, "all outputs", f"a tuple of {len(ports)}", returned)
        values = list(returned)
    else:
        values = [returned] if ports else []
    return {port.name: _output(step, port, value, registry) for port, value in zip(ports, values, strict=True)}


def _output(step: Step, port: OutputSpec, value: Any, registry: Registry) -> Returned:
    if not port.is_list:
        return _one(step, port, value, registry)
    if not isinstance(value, list | tuple):
        raise _wrong(step, port.name, f"a list of {port.kind}", value)
    return [_one(step, port, item, registry) for item in value]


def _one(step: Step, port: OutputSpec, value: Any, registry: Registry) -> tuple[str, Any]:
    if isinstance(value, Absent):
        return ABSENT, asdict(value)
    kind = _kind_of(value, registry) if port.kind == ANY else port.kind
    if kind not in LITERAL_KINDS:
        port_type = registry.type_of(kind)
        if port_type is None or not isinstance(value, port_type.cls):
            raise _wrong(step, port.name, kind, value)
        return kind, value
    try:
        return kind, coerce(InputSpec(name=port.name, kind="STRING" if kind == "CHOICE" else kind), value)
    except LiteralError as error:
        raise _wrong(step, port.name, error.fields["expected"] or kind, value, error.fields["hint"]) from None


def _kind_of(value: Any, registry: Registry) -> str:
    """Return the kind of a value on a port of kind ANY."""
    kind = getattr(value, "kind", None)
    return kind if isinstance(kind, str) and registry.knows_type(kind) else kind_of_literal(value)


def _wrong(step: Step, name: str, expected: str, value: Any, hint: str | None = None) -> NodeError:
    hint = "return an Expansion alone, not inside a tuple" if isinstance(value, Expansion) else hint
    return NodeError(
        f"{step.spec.type} returned a value that does not fit its output '{name}'",
        node=step.id,
        expected=expected,
        got=described(value),
        hint=hint,
    )


def described(value: Any) -> str:
    """Return a short description of a value for messages."""
    return brief(value) if isinstance(value, str | int | float) else type(value).__name__
