"""The records of a server's event stream, as type checkers see them."""

from typing import Any, Required, TypedDict


class EventRecord(TypedDict, total=False):
    """One event. All have a name and, except for live progress, a number; the other fields depend on the name.

    `latentloom.engine.events.event_of` returns an event of a run as an object.
    """

    event: Required[str]
    number: int
    job: str
    time: float  # seconds since 1970
    node: str
    type: str
    step: int
    total: int
    done: int
    message: str
    code: str
    path: str
    seconds: float
    peak_bytes: int
    problem: dict[str, str]
    problems: list[dict[str, Any]]
    run: str
    nodes: int
    name: str
    worker: str
    attempt: int
    why: str
