"""How far node types go to save memory: one that ran out of it computes in smaller parts from then on."""

from latentloom.engine.types.spec import NodeSpec


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
