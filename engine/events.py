"""The events of a run: small frozen records, numbered from 0 in each run."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base class of all events."""

    name: ClassVar[str] = "event"
    number: int = -1

    def record(self) -> dict[str, Any]:
        """Return this event as JSON."""
        return {"event": self.name, **asdict(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """A run starts. `nodes` is the number of steps planned so far."""

    name: ClassVar[Literal["run_started"]] = "run_started"
    run: str
    nodes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStarted(Event):
    """A node's body starts."""

    name: ClassVar[Literal["node_started"]] = "node_started"
    node: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCached(Event):
    """A node's outputs came from the cache. Its body did not run."""

    name: ClassVar[Literal["node_cached"]] = "node_cached"
    node: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeProgress(Event):
    """A node has reached `step` of `total`."""

    name: ClassVar[Literal["node_progress"]] = "node_progress"
    node: str
    step: int
    total: int
    message: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Numbers to watch, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePreview(Event):
    """A preview of an unfinished picture, at most five per second and node. `image`, an Image, is not in `record`."""

    name: ClassVar[Literal["node_preview"]] = "node_preview"
    node: str
    step: int
    image: Any = field(compare=False)

    def record(self) -> dict[str, Any]:
        """Return this event as JSON, without the picture."""
        return {"event": self.name, "number": self.number, "node": self.node, "step": self.step}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeWarning(Event):
    """A warning to the user. The run continues."""

    name: ClassVar[Literal["node_warning"]] = "node_warning"
    node: str | None
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSaved(Event):
    """A sink's file was saved under its final name."""

    name: ClassVar[Literal["file_saved"]] = "file_saved"
    node: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFinished(Event):
    """A node's body succeeded."""

    name: ClassVar[Literal["node_finished"]] = "node_finished"
    node: str
    type: str
    seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFailed(Event):
    """A node's body raised."""

    name: ClassVar[Literal["node_failed"]] = "node_failed"
    node: str
    type: str
    problem: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """A run ended: "done", "failed" or "cancelled"."""

    name: ClassVar[Literal["run_finished"]] = "run_finished"
    run: str
    status: str
    seconds: float


RunEvent = (
    RunStarted
    | NodeStarted
    | NodeCached
    | NodeProgress
    | NodePreview
    | NodeWarning
    | FileSaved
    | NodeFinished
    | NodeFailed
    | RunFinished
)
"""All events of a run. Type checkers know the fields after a test of `name` or with `match`."""
Listener = Callable[[RunEvent], None]
_TYPES: dict[str, type[RunEvent]] = {
    cls.name: cls
    for cls in (RunStarted, NodeStarted, NodeCached, NodeProgress, NodeWarning, FileSaved, NodeFinished, NodeFailed)
}


def event_of(record: Mapping[str, Any]) -> RunEvent | None:
    """Return the run event in a server's record; None if the record is not an event of a run."""
    cls = _TYPES.get(record["event"])
    if cls is None:
        return None
    names = {item.name for item in fields(cls)}
    return cls(**{name: value for name, value in record.items() if name in names})
