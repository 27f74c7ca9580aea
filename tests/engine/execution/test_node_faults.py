"""Nodes that stop in odd ways: whatever they raise, the run ends once and names them, and nothing of it stays."""

import asyncio
import concurrent.futures
import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from toys import flow, use

from latentloom.api import Session
from latentloom.engine import Context, Image, node
from latentloom.engine.errors import Cancelled, NodeError
from latentloom.engine.events import Event, NodeFailed, RunFinished
from latentloom.engine.settings import load_settings
from latentloom.engine.types.registry import Distribution, Registration, Registry
from latentloom.engine.types.values import VALUE_TYPES

RAISED: list[BaseException] = []
ARRAYS: list[weakref.ref[Any]] = []


@node("Raise")
def raises() -> int:
    """Raise what the test put into RAISED."""
    raise RAISED[0]


@node("RaiseLater")
async def raises_later() -> int:
    """Raise it in a coroutine."""
    await asyncio.sleep(0)
    raise RAISED[0]


@node("Break")
def breaks(ctx: Context, image: Image, cancel: bool = False) -> float:
    """Fail with a large array at hand."""
    array = np.zeros(1_000_000)
    ARRAYS.append(weakref.ref(array))
    if cancel:
        ctx.progress(1, 1)
    raise ValueError("broken")


def opened(home: Path, **flags: Any) -> Session:
    made = Registration(Distribution("toy-nodes", "1.0", "toys", "code"))
    made.node(*toys.NODES, raises, raises_later, breaks, token_once)
    for cls in (*VALUE_TYPES, toys.Token):
        made.type(cls)
    settings = load_settings({"cache_bytes": 0, "memory_cache_bytes": 0, **flags}, {"LATENTLOOM_HOME": str(home)})
    return Session(settings, Registry([made]))


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    ARRAYS.clear()
    with opened(tmp_path) as made:
        yield made


@node("TokenOnce")
def token_once(text: str) -> toys.Token:
    """A value without a codec; fail the first time."""
    if RAISED:
        raise RAISED.pop()
    return toys.Token(text)


STOPS = [
    Cancelled("never mind"),
    asyncio.CancelledError("never mind"),
    concurrent.futures.CancelledError("never mind"),
    GeneratorExit("never mind"),
    StopIteration("never mind"),
    StopAsyncIteration("never mind"),
    SystemExit("never mind"),
]


@pytest.mark.parametrize("type", ["Raise", "RaiseLater"])
@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: type(stop).__module__ + "." + type(stop).__name__)
def test_a_node_that_stops_of_its_own_accord_fails(session: Session, stop: BaseException, type: str) -> None:
    RAISED[:] = [stop]
    found: list[Event] = []
    made = session.run_job(session.prepare(flow("x", x=use(type))), listen=found.append)
    assert (made.status, made.nodes["x"].status) == ("failed", "failed")
    assert isinstance(made.error, NodeError) and made.error.problem.node == "x"
    assert [event.node for event in found if isinstance(event, NodeFailed)] == ["x"]
    assert [event.status for event in found if isinstance(event, RunFinished)] == ["failed"]


def test_a_cancel_that_nobody_asked_for_is_told_as_one(session: Session) -> None:
    RAISED[:] = [Cancelled("never mind")]
    made = session.run_job(session.prepare(flow("x", x=use("Raise"))))
    assert str(made.error) == ("node 'x': toys/Raise stopped as if cancelled, but nobody cancelled it: never mind")


@pytest.mark.parametrize("cancel", [False, True])
def test_what_a_node_had_at_hand_goes_with_it(session: Session, cancel: bool) -> None:
    """Without the garbage collector: on a card that memory is needed at once."""
    document = flow("b", a=use("MakeImage"), b=use("Break", image="@a.image", cancel=cancel))
    cancelled = threading.Event()
    gc.collect()
    gc.disable()
    try:
        made = session.run_job(
            session.prepare(document),
            cancelled=cancelled,
            listen=lambda event: event.name == "node_started" and event.node == "b" and cancel and cancelled.set(),
        )
        assert made.status == ("cancelled" if cancel else "failed")
        assert [array() is None for array in ARRAYS] == [True]
    finally:
        gc.enable()


def test_an_error_still_tells_where_it_came_from(session: Session) -> None:
    made = session.run_job(session.prepare(flow("b", a=use("MakeImage"), b=use("Break", image="@a.image"))))
    assert made.error is not None and made.error.__cause__ is not None
    trace = made.error.__cause__.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    assert trace is not None and trace.tb_frame.f_code.co_name == "breaks"


def test_values_of_two_attempts_under_one_id_are_not_taken_for_each_other(tmp_path: Path) -> None:
    """The first attempt leaves a value without a codec in memory; the second makes another beside it."""
    RAISED[:] = [ValueError("the first time")]
    nodes = {
        "a": use("MakeToken", text="from A"),
        "b": use("TokenOnce", text="from B"),
        "ra": use("ReadToken", token="@a.token"),
        "rb": use("ReadToken", token="@b.token"),
    }
    with opened(tmp_path, memory_cache_bytes=10**9) as session:
        job = session.prepare(flow("ra rb", **nodes))
        assert session.run_job(job, resume="J").status == "failed"
        assert session.run_job(job, resume="J").outputs == {"o0": "from A", "o1": "from B"}
