"""A node's door to the world: progress, previews, cancel."""

import threading
from typing import Any

import pytest

from latentloom.engine import Context
from latentloom.engine.errors import Cancelled, OutOfMemoryError


def context(times: list[float], events: list[Any], *, previews: bool = True) -> Context:
    source = iter(times)
    return Context(
        node="n",
        services=None,
        emit=events.append,
        cancelled=threading.Event(),
        previews=previews,
        clock=lambda: next(source),
    )


def previewed(events: list[Any]) -> list[int]:
    return [event.step for event in events if event.name == "node_preview"]


def test_at_most_five_previews_a_second_counted_from_when_one_is_done() -> None:
    # now, then the time after a preview was made
    events: list[Any] = []
    ctx = context([10.0, 10.05, 10.2, 10.24, 10.26, 10.3, 10.49, 10.5, 10.5], events)
    for step in range(1, 7):
        ctx.progress(step, 6, preview=lambda: "picture")
    assert previewed(events) == [1, 4, 6]


def test_without_watchers_a_preview_is_never_made() -> None:
    events: list[Any] = []
    ctx = context([1.0, 2.0], events, previews=False)
    for step in (1, 2):
        ctx.progress(step, 2, preview=lambda: pytest.fail("a preview that nobody sees"))
    assert [event.name for event in events] == ["node_progress"] * 2


def test_progress_raises_once_the_run_is_cancelled() -> None:
    events: list[Any] = []
    cancelled = threading.Event()
    ctx = Context(node="n", services=None, emit=events.append, cancelled=cancelled)
    ctx.progress(1, 3)
    cancelled.set()
    with pytest.raises(Cancelled, match="node 'n': the run was cancelled"):
        ctx.progress(2, 3)
    assert [event.step for event in events] == [1]


def test_a_preview_that_runs_out_of_memory_is_the_last_one_and_the_run_goes_on() -> None:
    def full() -> None:
        raise OutOfMemoryError("the device is full")

    events: list[Any] = []
    ctx = context([1.0, 2.0, 3.0], events)
    ctx.progress(1, 2, preview=full)
    ctx.progress(2, 2, preview=full)
    assert [event.name for event in events] == ["node_progress", "node_progress"]
