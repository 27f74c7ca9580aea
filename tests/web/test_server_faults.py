"""A fault at every place where the server's endless work waits: the work goes on, and no job is lost or done twice."""

import ast
import asyncio
import base64
import contextlib
import importlib
import inspect
import json
import os
import signal
import sqlite3
import textwrap
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import CoroutineType, coroutine
from typing import Any

import pytest
from aiohttp import web
from queues import claim_next
from serving import PATIENCE, PLANT, flow, use

from latentloom.engine.settings import load_settings
from latentloom.web.background import begun, kept
from latentloom.web.child_process import ChildProcess
from latentloom.web.dispatcher import Dispatcher
from latentloom.web.intake import Order
from latentloom.web.routes.system import health
from latentloom.web.services import Services
from latentloom.web.webhooks import WebhookSender
from latentloom.web.worker_process import AnswerError, WorkerProcess

Place = tuple[str, int]
SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()
TASKS = ("watch", "dispatch", "helper-1", "webhooks", "retention")
WORK = (
    kept,
    Dispatcher._watch, Dispatcher._dispatch, Dispatcher._take_back, Dispatcher._hand_to, Dispatcher._hear,
    Dispatcher._ledger, Dispatcher._finished, Dispatcher._gone, Dispatcher._surely,
    WorkerProcess.live, WorkerProcess._one_life, WorkerProcess._born, WorkerProcess._lived,
    WorkerProcess._read, WorkerProcess._take_in, ChildProcess.start, ChildProcess.end,
    WebhookSender.work, WebhookSender._tell,
    Services._prune_for_ever, Services.prune,
)  # fmt: skip


WATCHED = [work.__code__ for work in (kept, WebhookSender._tell, WorkerProcess._read, WorkerProcess._take_in)]


class Wrecked(BaseException):
    """A fault that no `except Exception` sees."""


FAULTS: tuple[Callable[[], BaseException], ...] = (Wrecked, asyncio.CancelledError, lambda: RuntimeError("a fault"))


def waits(function: Callable[..., Any]) -> Iterator[tuple[str, range]]:
    """Where a function waits: its file, and the lines of each place."""
    lines, first = inspect.getsourcelines(function)
    tree = ast.parse(textwrap.dedent("".join(lines)))
    file = str(inspect.getsourcefile(function))
    for node in ast.walk(tree):
        if isinstance(node, ast.Await):
            yield file, range(first + node.lineno - 1, first + int(node.end_lineno or 0))
        if isinstance(node, ast.AsyncWith) and "post" in ast.unparse(node.items[0]):
            yield file, range(first + node.lineno - 1, first + node.body[0].lineno - 1)


def chain(coro: Any) -> list[Place]:
    """Where a coroutine waits, from the outside in."""
    found = []
    while isinstance(coro, CoroutineType) and coro.cr_frame is not None:
        found.append((coro.cr_code.co_filename, coro.cr_frame.f_lineno))
        coro = coro.cr_await
    return found


class Saboteur:
    """Throws one fault into the work that waits at a chosen place, instead of what it waits for."""

    def __init__(self) -> None:
        self.target: tuple[str, range] | None = None
        self.fault: Callable[[], BaseException] = Wrecked
        self.struck = asyncio.Event()

    def aim(self, target: tuple[str, range], fault: Callable[[], BaseException]) -> None:
        self.target, self.fault = target, fault
        self.struck.clear()

    def task(self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **named: Any) -> asyncio.Task[Any]:
        """A task factory: the server's duties are watched, all else is left alone."""
        background = isinstance(coro, CoroutineType) and coro.cr_code in WATCHED
        return asyncio.Task(self._shell(coro) if background else coro, loop=loop, **named)

    async def _shell(self, coro: Coroutine[Any, Any, Any]) -> Any:
        return await self._driven(coro)

    @coroutine
    def _driven(self, coro: Any) -> Iterator[Any]:
        error: BaseException | None = None
        while True:
            try:
                waited = coro.send(None) if error is None else coro.throw(error)
            except StopIteration as stop:
                return stop.value
            if self._strikes(coro):
                error = self.fault()
                if waited is not None:
                    waited._asyncio_future_blocking = False
                continue
            try:
                error = yield waited
            except BaseException as raised:
                error = raised

    def _strikes(self, coro: Any) -> bool:
        if self.target is None or not any(file == self.target[0] and at in self.target[1] for file, at in chain(coro)):
            return False
        self.target = None
        self.struck.set()
        return True


class Case:
    """A server in this process, a listener for its calls, and a saboteur."""

    def __init__(self, home: Path, services: Services, saboteur: Saboteur, address: str) -> None:
        self.home, self.services, self.saboteur, self._address = home, services, saboteur, address
        self.told: list[str] = []

    async def job(self, tag: str, seconds: float = 0.0, *, saves: bool = True, loose: bool = False) -> str:
        """Queue a job that computes, saves a file and has a listener told; a loose one is claimed by nobody."""
        nodes = {"n": use("Note", journal=str(self.home / "journal"), tag=tag, seconds=seconds)}
        if saves:
            nodes["s"] = use("Save", text="@n", name=tag)
        new = await self.services.intake.job(Order(flow("n", **nodes), {}, None, None), webhook=self._address)
        await self.services.store.write(
            lambda t: (t.queue.submit(new), loose and claim_next(t.queue, "nobody", device=False))
        )
        self.services.dispatcher.wake()
        return new.id

    async def ended(self, id: str) -> str:
        """How a job ended."""
        async with asyncio.timeout(PATIENCE):
            while (state := (await self.services.store.read(lambda t: t.queue.job(id))).state) not in (
                "done",
                "failed",
            ):
                await asyncio.sleep(0.02)
        return state

    async def struck(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self.saboteur.struck.wait()
        except TimeoutError:
            return False
        return True

    async def chat(self) -> None:
        """Have the worker answer so much that it comes in pieces."""
        long = flow(n=use("Note", journal="x" * 1_000_000, tag=""))
        with contextlib.suppress(AnswerError):
            await self.services.dispatcher.ask("migrate", document=long)

    async def worker(self, state: str) -> int:
        """Wait until the worker is in a state; its process."""
        seat = self.services.dispatcher.workers[0]
        async with asyncio.timeout(PATIENCE):
            while seat.state != state:
                await asyncio.sleep(0.02)
        return seat.pid

    def old_upload(self) -> None:
        """An uploaded picture that nothing names and that has outlived its time."""
        path = self.home / "input" / "by-hash" / "00" / "old.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (0, 0))

    def files(self, tag: str) -> int:
        return len(list((self.home / "output").glob(f"{tag}-*")))


@pytest.fixture
def run_case(tmp_path, monkeypatch):
    """A function that runs `act(case)` beside a server whose pauses are short; `first`: a place struck at the start."""
    monkeypatch.setenv("PYTHONPATH", str(PLANT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.syspath_prepend(PLANT)
    importlib.invalidate_caches()
    for name, value in {
        "background.PAUSE_SECONDS": 0.02,
        "worker_process.FIRST_PAUSE": 0.05,
        "worker_process.LONGEST_PAUSE": 0.05,
        "dispatcher.TICK_SECONDS": 0.2,
        "webhooks.PAUSE": 0.2,
        "services.PRUNE_SECONDS": 0.2,
        "services.OFTEN": 1000,
    }.items():
        monkeypatch.setattr(f"latentloom.web.{name}", value)
    home = tmp_path / "home"
    settings = load_settings(
        {
            "cpu_workers": 1,
            "warm_up": False,
            "keep_upload_days": 1,
            "webhook_hosts": ("127.0.0.1",),
            "webhook_secret": SECRET,
        },
        {"LATENTLOOM_HOME": str(home)},
    )

    def run(act: Callable[[Case], Coroutine[Any, Any, None]], first: tuple[str, range] | None = None) -> None:
        async def go() -> None:
            saboteur = Saboteur()
            asyncio.get_running_loop().set_task_factory(saboteur.task)
            services = Services(settings, [])
            case = Case(home, services, saboteur, "")

            async def hear(request: web.Request) -> web.Response:
                id = (await request.json())["data"]["id"]
                case.told.append(id)
                return web.Response(status=500 if case.told.count(id) == 1 else 200)

            listener = web.Application()
            listener.router.add_post("/told", hear)
            runner = web.AppRunner(listener)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            case._address = f"http://127.0.0.1:{runner.addresses[0][1]}/told"
            if first is not None:
                saboteur.aim(first, Wrecked)
            await services.start()
            try:
                await case.worker("idle")
                await act(case)
            finally:
                async with asyncio.timeout(PATIENCE):
                    await services.stop()
                    await runner.cleanup()
            assert {task for task in asyncio.all_tasks() if task.get_name() in TASKS} == set()

        asyncio.run(go())

    return run


async def wreck(case: Case, place: tuple[str, range], fault: Callable[[], BaseException], tag: str) -> str:
    """Strike one place while a job runs, or else when a worker dies over one; the job."""
    case.saboteur.aim(place, fault)
    case.old_upload()
    if place == first_wait(kept):  # before the work, once
        begun({"more": nothing}, print)
    id = await case.job(tag, loose=place == last_wait(Dispatcher._take_back))
    assert await case.ended(id) == "done", place
    assert case.files(tag) == 1, place
    await case.chat()
    if not await case.struck(0.5):
        id = await case.job(f"{tag}-slow", 0.5)
        os.kill(await case.worker("busy"), signal.SIGKILL)
        assert await case.struck(PATIENCE), (place, "was not reached")
        assert await case.ended(id) == "done", place
    return id


def line_of(place: tuple[str, range]) -> str:
    return Path(place[0]).read_text().splitlines()[place[1].start - 1]


async def nothing() -> None:
    pass


def first_wait(function: Callable[..., Any]) -> tuple[str, range]:
    return min(waits(function), key=lambda place: place[1].start)


def last_wait(function: Callable[..., Any]) -> tuple[str, range]:
    return max(waits(function), key=lambda place: place[1].start)


FULL_DISK = last_wait(Dispatcher._surely)
HANGING = tuple(sorted(waits(ChildProcess.end), key=lambda place: place[1].start)[:2])  # before and after it is killed
FORBIDDEN = first_wait(WebhookSender._tell)
GREETING = first_wait(Dispatcher._hear)
RARE = (
    FULL_DISK,
    *HANGING,
    FORBIDDEN,
    GREETING,
    *[place for place in waits(WorkerProcess._read) if len(place[1]) == 1 and "acquire" in line_of(place)],
)  # a full disk, a worker that hangs, a call that is allowed no more, the first worker: tests of their own; a backlog


@pytest.mark.parametrize("turn", [0, pytest.param(1, marks=pytest.mark.full), pytest.param(2, marks=pytest.mark.full)])
def test_a_fault_wherever_the_server_waits_costs_no_job(run_case, turn):
    async def act(case: Case) -> None:
        ids = []
        for number, place in enumerate(place for function in WORK for place in waits(function) if place not in RARE):
            ids.append(await wreck(case, place, FAULTS[(number + turn) % 3], f"w{number}"))
        assert await case.ended(await case.job("last")) == "done"
        async with asyncio.timeout(PATIENCE):
            while min(map(case.told.count, ids)) < 2:  # the first time it was refused
                await asyncio.sleep(0.05)
        assert all(case.services.checks().values())
        assert not await case.services.store.read(lambda t: t.queue.attempts())

    run_case(act)


def test_a_fault_while_the_end_of_a_job_waits_for_a_full_disk_costs_nothing(run_case, monkeypatch):
    async def act(case: Case) -> None:
        id = await case.job("full", 0.5, saves=False)
        await case.worker("busy")
        case.saboteur.aim(FULL_DISK, Wrecked)
        monkeypatch.setenv("LATENTLOOM_FAILPOINT", "queue.written:enospc")
        assert await case.struck(PATIENCE)
        monkeypatch.delenv("LATENTLOOM_FAILPOINT")
        assert await case.ended(id) == "done"

    run_case(act)


def test_a_fault_while_the_first_worker_tells_what_it_loaded_costs_one_life(run_case):
    async def act(case: Case) -> None:
        assert case.saboteur.struck.is_set()
        assert case.services.intake.ready
        assert await case.ended(await case.job("first")) == "done"

    run_case(act, first=GREETING)


@pytest.mark.parametrize("place", HANGING)
def test_a_fault_while_a_worker_that_hangs_is_ended_costs_nothing(run_case, place):
    async def act(case: Case) -> None:
        id = await case.job("hangs", 0.5)
        os.kill(await case.worker("busy"), signal.SIGSTOP)
        case.saboteur.aim(place, Wrecked)
        case.services.dispatcher.workers[0]._writer.close()
        assert await case.struck(PATIENCE)
        assert await case.ended(id) == "done"
        assert case.files("hangs") == 1

    run_case(act)


def test_a_fault_while_a_call_that_is_allowed_no_more_is_dropped_costs_nothing(run_case, monkeypatch):
    async def act(case: Case) -> None:
        case.saboteur.aim(FORBIDDEN, Wrecked)
        id = await case.job("dropped", 0.5, saves=False)
        monkeypatch.setattr(case.services.webhooks, "_hosts", frozenset())
        assert await case.ended(id) == "done"
        assert await case.struck(PATIENCE)
        async with asyncio.timeout(PATIENCE):
            while await case.services.store.read(lambda t: t.webhooks.due()):
                await asyncio.sleep(0.05)
        assert case.told == []

    run_case(act)


def test_health_tells_when_no_job_is_handed_out_any_more(run_case, monkeypatch):
    monkeypatch.setattr("latentloom.web.services.STUCK_SECONDS", 1.0)

    async def told(case: Case, status: int) -> bool:
        """Whether the worker loop is alive, once health answers with a status."""
        async with asyncio.timeout(PATIENCE):
            while (answer := await health(case.services, None)).status != status:
                await asyncio.sleep(0.05)
        return json.loads(answer.text)["checks"]["claiming"]

    async def act(case: Case) -> None:
        assert await told(case, 200)
        id = await case.job("again", saves=False)
        assert await case.ended(id) == "done"
        other = sqlite3.connect(case.services.settings.data / "queue.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE jobs SET state = 'queued' WHERE id = ?", (id,))
        other.executescript("BEGIN IMMEDIATE")  # it commits first: a job waits, and nobody else can claim it
        assert not await told(case, 503)
        other.execute("ROLLBACK")
        assert await told(case, 200)
        other.close()

    run_case(act)
