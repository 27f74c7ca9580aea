"""The report of an import: one line for each change, approximation or loss."""

from typing import Any

from latentloom.engine.errors import brief

MAX_LINES = 1_000


class Report:
    """Collects the lines about a file. Lines after the first thousand are only counted."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._lines: list[str] = []
        self._more = 0

    def note(self, node: str, what: str, message: str) -> None:
        """Add a line. `what` is "changed", "approximated", "lost" or "placeholder"; `node` may be empty."""
        if len(self._lines) == MAX_LINES:
            self._more += 1
        else:
            self._lines.append(f"node '{brief(node)[1:-1]}': {what}: {message}" if node else f"{what}: {message}")

    def record(self) -> dict[str, Any]:
        """Return the report as JSON."""
        more = [f"{self._more} more lines are left out"] if self._more else []
        return {"source": self.source, "lines": [*self._lines, *more]}


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, in the plural if needed."""
    return f"{count} {noun}{'s' * (count != 1)}"
