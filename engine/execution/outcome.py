"""What a run leaves: how it ended, and what every node did."""

import traceback
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


def let_go(error: BaseException | None) -> None:
    """Have an error, and those behind it, hold no values: tensors of the frames that they came through.

    A frame that holds an error that holds the frame would keep them until the garbage collector comes.
    """
    seen: set[int] = set()
    queue = [error]
    while queue:
        one = queue.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)
            queue += [one.__cause__, one.__context__]
