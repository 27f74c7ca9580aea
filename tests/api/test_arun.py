"""Runs in an event loop: `arun`, and the cancellation of its task."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from serving import until
from toys import registry

from latentloom import api
from latentloom.engine.errors import NodeError, WorkflowError
from latentloom.engine.events import RunEvent
from latentloom.engine.settings import load_settings


def busy(steps: int) -> dict[str, Any]:
    return {
        "format": "latentloom/1",
        "outputs": [{"name": "n", "from": {"node": "b", "output": "value"}}],
        "nodes": {"b": {"type": "toys/Busy", "inputs": {"steps": steps}}},
    }


@pytest.fixture
def session(tmp_path: Path) -> Any:
    settings = load_settings({"device": "cpu"}, {"LATENTLOOM_HOME": str(tmp_path / "home")})
    with api.Session(settings, registry()) as made:
        yield made


def test_arun_returns_the_result_and_calls_listeners_in_the_loop(session: api.Session) -> None:
    heard: list[tuple[str, bool]] = []

    async def go() -> api.Result:
        own = threading.get_ident()
        return await session.arun(
            busy(2), on_event=lambda event: heard.append((event.name, threading.get_ident() == own))
        )

    assert asyncio.run(go())["n"] == 2
    assert heard == [
        (name, True)
        for name in ("run_started", "node_started", "node_progress", "node_progress", "node_finished", "run_finished")
    ]


def test_the_loop_is_free_during_a_run(session: api.Session) -> None:
    async def go() -> bool:
        started = asyncio.Event()

        def hear(event: RunEvent) -> None:
            if event.name == "node_progress":
                started.set()

        run = asyncio.create_task(session.arun(busy(100_000), on_event=hear))
        await started.wait()
        free = not run.done()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        return free

    assert asyncio.run(go())


def test_a_cancelled_task_stops_the_run_and_ends_after_it(session: api.Session) -> None:
    names: list[str] = []

    async def go() -> None:
        started = asyncio.Event()

        def hear(event: RunEvent) -> None:
            names.append(event.name)
            if event.name == "node_progress":
                started.set()

        run = asyncio.create_task(session.arun(busy(100_000), on_event=hear))
        await started.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(go())
    assert "node_finished" not in names
    until(lambda: not any(thread.name == "latentloom-run" for thread in threading.enumerate()))


def test_faults_are_those_of_run(session: api.Session) -> None:
    failing = {"format": "latentloom/1", "nodes": {"f": {"type": "toys/Fail", "inputs": {}}}}
    failing["outputs"] = [{"name": "f", "from": {"node": "f", "output": "value"}}]
    with pytest.raises(NodeError):
        asyncio.run(session.arun(failing))
    with pytest.raises(WorkflowError):
        asyncio.run(session.arun(busy(-1)))


def test_a_fault_of_the_listener_stops_the_run(session: api.Session) -> None:
    def hear(event: RunEvent) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(session.arun(busy(100_000), on_event=hear))
