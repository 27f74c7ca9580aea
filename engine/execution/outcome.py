"""What a run leaves: how it ended, and what every node did."""

from dataclasses import dataclass, field
from typing import Any

from latentloom.engine.errors import LoomError


@dataclass(slots=True)
class NodeReport:
    """What happened at one node."""

    type: str
    status: str  # "done", "cached", "failed"
    seconds: float = 0.0
    peak_bytes: int = 0


@dataclass(slots=True)
class Outcome:
    """How a run ended: "done", "failed" or "cancelled", with what every node did and the wanted values."""

    status: str
    seconds: float
    nodes: dict[str, NodeReport]
    outputs: dict[str, Any]
    files: list[str] = field(default_factory=list)
    error: LoomError | None = None
