"""What code that is not trusted gets to see and to leave: copies of its own, so that no write reaches a shared value.

Nothing in Python keeps a node from writing into an array that it can read. So a plugin's node gets private values,
which are compared with the shared ones when it is through; and what it returns is copied, because it may have kept the
memory and write there later. Built-in nodes are trusted: the test kit holds that they leave their inputs alone.
"""

from collections.abc import Mapping
from typing import Any

from latentloom.engine.execution.outputs import Returned
from latentloom.engine.planning.validate import Step
from latentloom.engine.types.port_types import PortType
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.spec import NodeSpec


def trusted(step: Step, registry: Registry) -> bool:
    """Whether a node runs built-in code alone: what it reaches through a context may be a plugin's."""
    return step.type.distribution.builtin and not (step.spec.context and registry.foreign)


class Lending:
    """Values that were lent out as private copies. Literals are copies already, and nobody's but the node's."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lent: list[tuple[str, PortType, Any, Any]] = []

    def lend(self, spec: NodeSpec, values: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs of a node in memory of their own."""
        return {**values, **{name: self.private(name, values[name]) for name in spec.values if name in values}}

    def private(self, name: str, value: Any) -> Any:
        """A value, or a list of them, in memory of its own; `name` is what `written` calls it."""
        if type(value) is list:
            return [self.private(name, item) for item in value]
        port_type = self._registry.type_of_value(value)
        if port_type is None:
            return value
        made = port_type.private(value)
        self._lent.append((name, port_type, made, value))
        return made

    def written(self) -> list[str]:
        """The names of values whose private copies are no longer what was lent."""
        return [name for name, port_type, made, value in self._lent if not port_type.equal(made, value)]


def sealed(outputs: dict[str, Returned], registry: Registry) -> dict[str, Returned]:
    """What a node returned, in memory that it does not have."""
    return {
        name: [_sealed(*item, registry) for item in found] if isinstance(found, list) else _sealed(*found, registry)
        for name, found in outputs.items()
    }


def _sealed(kind: str, value: Any, registry: Registry) -> tuple[str, Any]:
    port_type = registry.type_of_value(value)
    return kind, value if port_type is None else port_type.sealed(value)
