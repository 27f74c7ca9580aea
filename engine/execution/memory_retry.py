"""How far node types go to save memory: one that ran out of it computes in smaller parts from then on."""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from latentloom.engine.types.spec import NodeSpec
from latentloom.engine.types.values import Handle


class Economies:
    """The economy of each node type: 0 = all at once, up to the number that its spec names.

    It changes results a little, so it belongs to a step's key.
    """

    def __init__(self) -> None:
        self._levels: dict[str, int] = {}

    def of(self, spec: NodeSpec) -> int:
        """The economy of a node type, 0..spec.economies."""
        return self._levels.get(spec.type, 0)

    def raise_to(self, spec: NodeSpec, level: int) -> bool:
        """Compute in smaller parts from now on; False where the node type knows no such economy."""
        if level > spec.economies:
            return False
        self._levels[spec.type] = max(level, self.of(spec))
        return True


def work_of(spec: NodeSpec, values: Mapping[str, Any], economy: int) -> Hashable:
    """What the memory that a call needs beside its models depends on: node type, models, sizes of values."""
    return (spec.type, economy, *(size for value in values.values() for size in _sizes(value)))


def _sizes(value: Any) -> Iterator[Hashable]:
    for item in value if isinstance(value, list) else (value,):
        if isinstance(item, Handle):
            yield tuple(file.sha256 for file in item.files)
        elif isinstance(shape := getattr(item, "shape", None), tuple):
            yield shape
