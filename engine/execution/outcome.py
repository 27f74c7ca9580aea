"""The outcome of a run: its status and a report for each node."""

import traceback
from dataclasses import dataclass, field
from typing import Any

from latentloom.engine.errors import LoomError
from latentloom.engine.files.labels import SourceType


@dataclass(slots=True)
class NodeReport:
    """The report on one node."""

    type: str
    status: str  # "done", "cached", "failed"
    seconds: float = 0.0
    peak_bytes: int = 0


@dataclass(slots=True)
class Outcome:
    """The outcome of a run: `status` ("done", "failed" or "cancelled"), node reports and the wanted output values."""

    status: str
    seconds: float
    nodes: dict[str, NodeReport]
    outputs: dict[str, Any]
    files: list[str] = field(default_factory=list)
    origins: dict[str, SourceType | None] = field(default_factory=dict)
    """The digital source type of each output with pictures; None if they are not labelled."""
    error: LoomError | None = None


def let_go(error: BaseException | None) -> None:
    """Clear the frames of an error, its causes and its contexts, so that they do not keep tensors alive.

    An error and its frame form a reference cycle, which would keep the tensors until the next garbage collection.
    """
    seen: set[int] = set()
    queue = [error]
    while queue:
        one = queue.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)
            queue += [one.__cause__, one.__context__]
