"""A node's door to the world: progress, previews, cancel."""

import logging
import threading
from typing import Any

import pytest

from latentloom.engine import Context, node
from latentloom.engine.errors import Cancelled, NodeError, OutOfMemoryError
from latentloom.engine.types.node import definition
from latentloom.engine.types.node_log import NODES, NodeLog, log_sent, send_on


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


def test_only_a_node_that_uses_the_device_is_told_it() -> None:
    @node("Plain")
    def plain() -> int:
        """A node without device=True."""
        return 1

    spec = definition(plain).spec
    ctx = Context(node="n", services=None, emit=lambda event: None, cancelled=threading.Event(), spec=spec)
    with pytest.raises(NodeError, match=r"ctx\.device is for nodes that use the device") as caught:
        _ = ctx.device
    assert caught.value.problem.hint == "write @node(..., device=True)"


def test_a_record_goes_to_another_process_with_its_level_node_and_traceback(caplog: pytest.LogCaptureFixture) -> None:
    sent: list[dict[str, Any]] = []
    own = logging.getLogger(NODES)
    was = own.level, own.propagate, own.handlers
    try:
        send_on("WARNING", sent.append)
        log = NodeLog("mine/Draw", "n")
        log.info("not sent")
        log.warning("%d %% done", 50)
        try:
            raise ValueError("odd")
        except ValueError:
            log.exception("x" * 30_000)
    finally:
        own.level, own.propagate, own.handlers = was
        own.manager._clear_cache()  # type: ignore[attr-defined]
    assert sent[0] == {"logger": "latentloom.nodes.mine.Draw", "level": 30, "message": "50 % done", "node": "n"}
    assert len(sent[1]["message"]) == 20_000
    log_sent(sent[0])
    (record,) = caplog.records
    assert (record.name, record.getMessage(), record.fields) == (sent[0]["logger"], "50 % done", {"node": "n"})  # type: ignore[attr-defined]


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
