"""Who computes on the device: runs, threads, coroutines and cancels in any order; nothing waits for ever."""

import asyncio
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from torch import nn
from toys import flow, use

from latentloom.api import Session
from latentloom.engine import Context, Model, node
from latentloom.engine.errors import Cancelled
from latentloom.engine.events import Event, NodeProgress, NodeWarning
from latentloom.engine.models.reservations import Turns
from latentloom.engine.models.store import KEPT
from latentloom.engine.settings import load_settings
from latentloom.engine.types.context import Borrower
from latentloom.engine.types.registry import Distribution, Registration, Registry
from latentloom.engine.types.values import VALUE_TYPES

WIDTH, DEPTH = 256, 10
PATIENCE = 30  # seconds until a test says that something hangs
SIGNALS: dict[str, threading.Event] = {}
GRADIENTS: list[bool] = []


def signal(name: str) -> threading.Event:
    return SIGNALS.setdefault(name, threading.Event())


class Kind:
    """Half-precision layers in a row, which a processor that computes in fp32 has to copy."""

    def load(self, paths: Any, info: Any) -> nn.Module:
        torch.manual_seed(info["seed"])
        return nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(DEPTH))).half().eval()


def answer(net: nn.Module) -> float:
    return float(net(torch.ones(1, WIDTH)).abs().sum())


@node("ToyModel")
def toy_model(seed: int) -> Model:
    """A model."""
    return Model("rows", [], {"seed": seed})


@node("Once", device=True)
def once(ctx: Context, model: Model, tag: int = 0) -> float:
    """Compute with a model."""
    with ctx.load(model) as (net,):
        return answer(net)


@node("Nested", device=True)
def nested(ctx: Context, model: Model, other: Model, steps: int) -> int:
    """As a sampler with previews does: load a second model while the first is lent."""
    with ctx.load(model):
        for step in range(steps):
            ctx.progress(step, steps)
            with ctx.load(other):
                signal("nested").set()
    return steps


@node("Hold", device=True)
def hold(ctx: Context, model: Model) -> int:
    """Have a model until it is let go."""
    with ctx.load(model):
        signal("held").set()
        assert signal("let go").wait(PATIENCE)
    return 1


@node("Forget", device=True)
def forget(ctx: Context, model: Model) -> int:
    """Borrow, and give nothing back."""
    ctx.load(model).__enter__()
    return 1


@node("Twice", device=True)
async def twice(ctx: Context, model: Model, working: int = 0) -> float:
    """Compute twice, with a rest between."""
    async with ctx.load(model, working=working) as (net,):
        first = answer(net)
        await asyncio.sleep(0.01)
        GRADIENTS.append(torch.is_grad_enabled())
        return first if answer(net) == first else -1.0


@node("Plain", device=True)
async def plain(ctx: Context, model: Model) -> float:
    """Wait as a sync node does."""
    with ctx.load(model) as (net,):
        return answer(net)


@node("Late", device=True)
async def late(ctx: Context, model: Model) -> float:
    """Ask for a model that somebody has."""
    await asyncio.to_thread(signal("held").wait, PATIENCE)
    signal("late").set()
    async with ctx.load(model) as (net,):
        return answer(net)


@node("Tick")
async def tick() -> int:
    """Let go of what is held, once another coroutine waits for it."""
    while not signal("late").is_set():
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    signal("let go").set()
    return 1


@node("Rest", device=True)
async def rest(ctx: Context, model: Model) -> int:
    """Have a model until somebody cancels."""
    async with ctx.load(model):
        ctx.progress(0, 1)
        await asyncio.sleep(PATIENCE)
    return 1


@node("HungryLater", device=True)
async def hungry_later(tag: str) -> str:
    """Run out of memory as often as HUNGER says."""
    await asyncio.sleep(0)
    return toys.hungry(tag)


NODES = (toy_model, once, nested, hold, forget, twice, plain, late, tick, rest, hungry_later)


def opened(home: Path, **flags: Any) -> Session:
    made = Registration(Distribution("toy-nodes", "1.0", "toys", "code"))
    made.node(*toys.NODES, *NODES)
    made.model_kind("rows", Kind)
    for cls in (*VALUE_TYPES, toys.Token):
        made.type(cls)
    settings = load_settings({"device": "cpu", "dtype": "fp32", **flags}, {"LATENTLOOM_HOME": str(home)})
    return Session(settings, Registry([made]))


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    SIGNALS.clear()
    GRADIENTS.clear()
    yield
    toys.HUNGER.clear()


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with opened(tmp_path) as made:
        yield made


def document(outputs: str, **nodes: Any) -> dict[str, Any]:
    models = {f"m{n}": use("ToyModel", seed=n) for n in range(4)}
    return flow(outputs, **models, **nodes)


def started(*acts: Any) -> list[threading.Thread]:
    threads = [threading.Thread(target=act, daemon=True) for act in acts]
    for thread in threads:
        thread.start()
    return threads


def ended(threads: list[threading.Thread]) -> bool:
    for thread in threads:
        thread.join(PATIENCE)
    return not any(thread.is_alive() for thread in threads)


# Threads


def test_a_session_that_is_left_in_the_middle_of_a_stream_closes(tmp_path: Path) -> None:
    session = opened(tmp_path)
    job = document("a", a=use("Nested", model="@m0.model", other="@m1.model", steps=10**9))

    def leave() -> None:
        with session:
            for event in session.stream(job, cache=False):
                if isinstance(event, NodeProgress) and event.step > 3:
                    break

    assert ended(started(leave))


def test_runs_of_other_threads_end_with_their_session(tmp_path: Path) -> None:
    session, found = opened(tmp_path), []
    job = session.prepare(document("a", a=use("Nested", model="@m0.model", other="@m1.model", steps=10**9)))
    threads = started(lambda: found.append(session.run_job(job).status))
    assert signal("nested").wait(PATIENCE)
    assert ended(started(session.close))
    assert ended(threads) and found == ["cancelled"]


def test_a_session_may_be_closed_from_within_a_run(tmp_path: Path) -> None:
    session = opened(tmp_path)
    job = session.prepare(document("a", a=use("Once", model="@m0.model")))

    def hear(event: Event) -> None:
        if event.name == "node_started":
            session.close()

    found: list[str] = []
    assert ended(started(lambda: found.append(session.run_job(job, listen=hear).status))) and found == ["cancelled"]


def test_a_model_inside_anothers_loan_and_a_run_that_forgets_models_wait_for_nothing_for_ever(tmp_path: Path) -> None:
    with opened(tmp_path) as session:
        for n in range(KEPT):
            session.run(flow("a", m=use("ToyModel", seed=n), a=use("Once", model="@m.model")))
        jobs = [
            session.prepare(document("a", a=use("Nested", model="@m0.model", other="@m1.model", steps=50))),
            *(session.prepare(flow("a", m=use("ToyModel", seed=n), a=use("Once", model="@m.model"))) for n in (98, 99)),
        ]
        assert ended(started(*(lambda job=job: session.run_job(job) for job in jobs)))


def test_a_cancel_ends_the_wait_for_a_model(session: Session) -> None:
    holder = session.prepare(document("a", a=use("Hold", model="@m0.model")))
    waiter = session.prepare(document("a", a=use("Once", model="@m1.model")))
    found, cancelled = [], threading.Event()
    holding = started(lambda: session.run_job(holder))
    assert signal("held").wait(PATIENCE)
    waiting = started(lambda: found.append(session.run_job(waiter, cancelled=cancelled).status))
    threading.Timer(0.1, cancelled.set).start()
    assert ended(waiting) and found == ["cancelled"]
    signal("let go").set()
    assert ended(holding)
    assert session.run_job(waiter).status == "done"


def test_what_a_node_leaves_open_is_taken_back(session: Session) -> None:
    first = session.prepare(document("a", a=use("Forget", model="@m0.model")))
    second = session.prepare(document("a", a=use("Once", model="@m1.model")))
    done: list[str] = []
    assert ended(started(lambda: done.extend(session.run_job(job).status for job in (first, second))))
    assert done == ["done", "done"]
    session.engine.models.evict_all()
    assert session.engine.models.pool.held_bytes == 0


def test_turns_go_to_one_at_a_time_whatever_is_withdrawn() -> None:
    turns, inside, most, taken = Turns(), [], [], []

    def work(n: int) -> None:
        chance = random.Random(n)
        for _ in range(60):
            borrower = Borrower()
            withdrawn = chance.random() < 0.3
            if withdrawn:
                borrower.cancelled.set()
            try:
                with turns.turn(borrower):
                    inside.append(n)
                    most.append(len(set(inside)))
                    with turns.turn(borrower):
                        taken.append(n)
                    if chance.random() < 0.1:
                        inside.remove(n)
                        turns.leave(borrower)
                        continue
                    inside.remove(n)
            except Cancelled:
                assert withdrawn

    assert ended(started(*(lambda n=n: work(n) for n in range(6))))
    assert max(most) == 1 and len(taken) > 100
    with turns.turn(Borrower()):
        pass


# Coroutines


@pytest.mark.parametrize("budget", [10**9, 2_000_000])
def test_two_async_nodes_compute_right_whatever_is_fetched(tmp_path: Path, budget: int) -> None:
    nodes = {f"a{n}": use("Twice", model=f"@m{n}.model", working=700_000 if n == 0 else 0) for n in range(3)}
    with opened(tmp_path, ram_budget=budget) as session:
        found = session.run(document("a0 a1 a2", **nodes)).outputs
        alone = [session.run(document("o", o=use("Once", model=f"@m{n}.model"))).outputs["o0"] for n in range(3)]
    assert list(found.values()) == alone
    assert GRADIENTS == [False] * 3


def test_a_coroutine_that_waits_for_a_model_holds_nobody_up(session: Session) -> None:
    """The sync node lets go only when another coroutine of the same loop tells it to."""
    job = session.prepare(
        document(
            "l h t", l=use("Late", model="@m0.model"), t=use("Tick"), h=use("Hold", model="@m1.model")
        )  # the async nodes begin first
    )
    found: list[Any] = []
    assert ended(started(lambda: found.append(session.run_job(job).status))) and found == ["done"]


def test_an_async_node_that_would_block_its_loop_is_told_how_to_wait(session: Session) -> None:
    made = session.run_job(session.prepare(document("a", a=use("Plain", model="@m0.model"))))
    assert str(made.error) == (
        "node 'a': toys/Plain: an async node that waits for models with a plain `with` blocks every other async node\n"
        "  hint: write `async with ctx.load(...)`"
    )


def test_a_session_runs_inside_a_programs_own_loop(session: Session) -> None:
    """As in a notebook, where every cell runs on a loop."""

    async def cell() -> Any:
        return session.run(document("a", a=use("Once", model="@m0.model"))).outputs["o0"]

    assert asyncio.run(cell()) > 0


def test_a_cancelled_coroutine_gives_its_models_back(session: Session) -> None:
    cancelled = threading.Event()
    job = session.prepare(document("a", a=use("Rest", model="@m0.model")))
    made = session.run_job(
        job, cancelled=cancelled, listen=lambda event: isinstance(event, NodeProgress) and cancelled.set()
    )
    assert made.status == "cancelled"
    other = session.prepare(document("a", a=use("Once", model="@m1.model")))
    assert ended(started(lambda: session.run_job(other)))


def test_an_async_node_that_runs_out_of_memory_runs_once_more(session: Session) -> None:
    toys.HUNGER[:] = [1]
    toys.ran()
    found: list[Event] = []
    made = session.run_job(session.prepare(flow("h", h=use("HungryLater", tag="x"))), listen=found.append)
    assert (made.status, toys.ran()) == ("done", ["x", "x"])
    assert [event.code for event in found if isinstance(event, NodeWarning)] == ["memory_retry"]


# Shortages


def test_after_many_shortages_other_work_still_finds_room(tmp_path: Path) -> None:
    with opened(tmp_path, ram_budget=100_000_000) as session:
        for n in range(5):
            toys.HUNGER[:] = [1]
            assert session.run(flow("h", h=use("Hungry", tag=f"t{n}"))).outputs == {"o0": f"t{n}"}
            assert session.run(document("a", a=use("Once", model="@m0.model", tag=n))).outputs["o0"] > 0


def test_after_many_shortages_the_same_work_still_finds_room(tmp_path: Path) -> None:
    with opened(tmp_path, ram_budget=4_000_000) as session:
        model = Model("rows", [], {"seed": 1})
        for _ in range(6):
            session.engine.models.make_room()
            with session.engine.models.load([model]) as (net,), torch.no_grad():
                assert answer(net) > 0
