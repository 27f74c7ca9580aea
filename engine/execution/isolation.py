"""Isolation of untrusted code: it gets private copies, so that it cannot modify a shared value.

Python cannot prevent a node from writing into an array that it can read. So a plugin's node gets private values,
which are compared with the shared ones after the call. Its outputs are copied, because the node may keep a reference
to their memory and write into it later. Built-in nodes are trusted: the test kit verifies that they do not modify
their inputs.
"""

from collections.abc import Mapping
from typing import Any

from latentloom.engine.execution.outputs import Returned
from latentloom.engine.planning.step import Step
from latentloom.engine.types.port_types import PortType
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.spec import NodeSpec


def trusted(step: Step, registry: Registry) -> bool:
    """Whether a node runs only code that is built in, or isolated in a process that shares no memory with this one.

    Code that it calls through its context may belong to a plugin.
    """
    return step.type.isolated or (step.type.distribution.builtin and not (step.spec.context and registry.foreign))


class Lending:
    """Values that were lent as private copies. Literals are not lent: each node has its own copy of them already."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lent: list[tuple[str, PortType, Any, Any]] = []

    def lend(self, spec: NodeSpec, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs of a node as private copies."""
        return {**values, **{name: self.private(name, values[name]) for name in spec.values if name in values}}

    def private(self, name: str, value: Any) -> Any:
        """Return a private copy of a value or of a list of values. `written` reports it under `name`."""
        if type(value) is list:
            return [self.private(name, item) for item in value]
        port_type = self._registry.type_of_value(value)
        if port_type is None:
            return value
        made = port_type.private(value)
        self._lent.append((name, port_type, made, value))
        return made

    def written(self) -> list[str]:
        """Return the names of the values whose private copies were modified."""
        return [name for name, port_type, made, value in self._lent if not port_type.equal(made, value)]


def sealed(outputs: dict[str, Returned], registry: Registry) -> dict[str, Returned]:
    """Return a node's outputs in memory that the node has no reference to."""
    return {
        name: [_sealed(*item, registry) for item in found] if isinstance(found, list) else _sealed(*found, registry)
        for name, found in outputs.items()
    }


def _sealed(kind: str, value: Any, registry: Registry) -> tuple[str, Any]:
    port_type = registry.type_of_value(value)
    return kind, value if port_type is None else port_type.sealed(value)
