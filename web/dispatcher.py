"""The dispatcher: gives jobs to worker processes, records their reports, and makes sure that neither is lost."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from latentloom.engine.errors import LoomError
from latentloom.engine.jobs.attempts import Claim
from latentloom.engine.jobs.faults import StaleAttempt, StorageError
from latentloom.engine.jobs.frames import Frame
from latentloom.engine.jobs.job import Job
from latentloom.engine.jobs.routing import QueuedJob, Start
from latentloom.engine.settings import Settings
from latentloom.engine.types.node_log import log_sent
from latentloom.plugins.discovery import Record
from latentloom.web.background import Work, begun
from latentloom.web.event_hub import EventHub, Live
from latentloom.web.job_router import WINDOW, JobRouter
from latentloom.web.logs import fields
from latentloom.web.metrics import Metrics
from latentloom.web.queue_writer import Store, Tables
from latentloom.web.worker_process import ASK_SECONDS, WorkerProcess, refusal

log = logging.getLogger("latentloom.jobs")
TICK_SECONDS = 1.0
LATE_SECONDS = 2.0  # a delay that means that this process was stopped or its loop blocked
STORED_PROGRESS_SECONDS = 1.0


NOT_ASKED = {"code": "cancelled_itself", "message": "the job was cancelled by one of its own nodes"}


class NotReady(LoomError):
    """No worker is ready yet. Try again later."""

    code = "starting"


class Dispatcher:
    """The workers of a server."""

    def __init__(
        self,
        settings: Settings,
        devices: list[str],
        store: Store,
        event_hub: EventHub,
        metrics: Metrics,
        ready: Callable[[list[Record]], Awaitable[None]],
        heard: Callable[[dict[str, Any]], None],
    ) -> None:
        """Creates one worker per device and `cpu_workers` without a device.

        `ready` is called with the plugins that failed when a worker without a device is up, `heard` with events that
        belong to no job.
        """
        self._settings = settings
        self._store = store
        self._event_hub = event_hub
        self._metrics = metrics
        self._ready = ready
        self._heard = heard
        names = [(device, device, True) for device in devices]
        names += [(f"helper-{n + 1}", "cpu", False) for n in range(settings.cpu_workers)]
        self.workers = [
            WorkerProcess(
                name,
                settings.model_copy(update={"device": on}),
                device=has,
                hear=self._hear,
                gone=self._gone,
            )
            for name, on, has in names
        ]
        self._wake = asyncio.Event()
        self._helper_up = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: set[int] = set()  # tokens of attempts whose end is being written
        self._looked = self._routed = 0.0
        self.router = JobRouter()
        self.stopping = False
        self.ticked = self._watched = time.monotonic()

    def start(self, after: asyncio.Event) -> None:
        """Start the dispatch of jobs, and the workers after an event."""
        tasks: dict[str, Work] = {
            "watch": self._watch,
            "dispatch": self._dispatch,
            **{worker.name: partial(_live, worker, after) for worker in self.workers},
        }
        self._tasks = begun(tasks, self._metrics.failed)

    async def stop(self) -> None:
        """Stop all workers at their next step. Their jobs are queued again."""
        self.stopping = True
        self._wake.set()
        self._tasks.pop(0).cancel()
        for worker in self.workers:
            worker.stop()
        _, late = await asyncio.wait(self._tasks, timeout=self._settings.cancel_seconds)
        for worker in self.workers:
            worker.kill()
        if late:
            await asyncio.wait(late, timeout=5)

    def wake(self) -> None:
        """Check the queue for jobs to dispatch."""
        self._wake.set()

    def renew(self) -> None:
        """Replace the workers, because what is installed has changed: each one when it has nothing to do."""
        for worker in self.workers:
            worker.stale = True
        self._renew()

    def _renew(self) -> None:
        for worker in self.workers:
            worker.renew()
        if self._helper() is None:
            self._helper_up.clear()

    def cancel(self, job: str, state: str) -> None:
        """Tell the worker to cancel a job. The worker is killed if it does not react in time."""
        for worker in self.workers:
            if worker.job == job and state == "cancelling" and worker.kill_at is None:
                worker.kill_at = time.monotonic() + self._settings.cancel_seconds
                worker.send("cancel", token=worker.token)

    async def ask(self, what: str, *, seconds: float | None = ASK_SECONDS, **arguments: Any) -> Any:
        """Query a worker without a device. `seconds`: see `WorkerProcess.ask`. Raises NotReady, AnswerError."""
        helper = self._helper()
        if helper is None:
            try:
                async with asyncio.timeout(20):
                    await self._helper_up.wait()
            except TimeoutError:
                pass
            helper = self._helper()
        if helper is None:
            raise NotReady("no worker is ready yet", hint="try again in a moment")
        return await helper.ask(what, seconds=seconds, **arguments)

    def _helper(self) -> WorkerProcess | None:
        up = [worker for worker in self.workers if not worker.device and worker.state != "starting"]
        return min(up, key=lambda worker: worker.state != "idle", default=None)

    async def _watch(self) -> None:
        """Check that the workers are alive. Time in which this process was stopped or blocked is not counted."""
        while True:
            now = time.monotonic()
            late = now - self._watched - TICK_SECONDS
            for worker in self.workers:
                if late > LATE_SECONDS:
                    worker.excuse(late)
                worker.check(now)
            self._watched = now
            await asyncio.sleep(TICK_SECONDS)

    # Dispatch

    async def _dispatch(self) -> None:
        while not self.stopping:
            self.ticked = time.monotonic()
            if self.ticked - self._looked >= TICK_SECONDS:
                self._looked = self.ticked
                await self._take_back()
            self._renew()
            await self._route()
            try:
                async with asyncio.timeout(TICK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def _take_back(self) -> None:
        """Queue claimed jobs again that no worker has, which a fault of the server can cause."""
        if not await self._store.read(lambda t: t.queue.attempts()) - self._held():
            return
        held = self._held()
        for job in await self._store.write(lambda t: t.queue.take_back(held, "the server lost it"), durable=True):
            log.warning("a job had no worker", extra=fields(job, state=job.state))

    def _held(self) -> set[int]:
        """Return the attempts that a worker has or whose end is being written."""
        return self._ending | {worker.token for worker in self.workers if worker.job is not None}

    async def _route(self) -> None:
        """Hand out jobs until no idle worker can take one. Without idle workers, look at the queue once in a tick."""
        started, workers = True, {worker.name: worker for worker in self.workers}
        while started and not self.stopping:
            now = time.monotonic()
            idle = any(worker.state == "idle" and not worker.stale for worker in self.workers)
            if not idle and now - self._routed < TICK_SECONDS:
                return
            self._routed = now
            waiting = await self._store.read(_upcoming)
            starts = self.router.plan(waiting, self.workers, now).starts
            for start in starts:
                await self._hand_to(workers[start.worker], start)
            started = bool(starts)

    async def _hand_to(self, worker: WorkerProcess, start: Start) -> None:
        claim: Claim | None = await self._store.write(lambda t: t.queue.claim(worker.name, start.job))
        if claim is None:
            return
        if worker.state != "idle" or self.stopping:  # the worker ended while the claim was written
            self._give_back(claim)
            return
        worker.state, worker.job, worker.token, worker.stored = "busy", claim.job.id, claim.token, {}
        worker.owner, worker.load = claim.job.owner, start.load_seconds
        worker.expect(time.monotonic(), self.router.expected(claim.job.models, start.load_seconds))
        self._metrics.waited(claim.job, start.models)
        log.info("job handed out", extra=fields(claim.job, worker=worker.name, attempt=claim.token))
        outputs = None if claim.job.outputs is None else list(claim.job.outputs)
        worker.send(
            "job",
            id=claim.job.id,
            token=claim.token,
            document=claim.job.document,
            outputs=outputs,
            previews=self._event_hub.wants_previews,
        )

    def _give_back(self, claim: Claim) -> None:
        """Queue a job again whose worker ended before it got the job."""
        self._ending.add(claim.token)  # counts as held until it is written
        written = self._store.begin(lambda t: t.queue.release(claim.job.id, claim.token, "not begun", counts=False))
        written.add_done_callback(lambda _: self._ending.discard(claim.token))
        self._wake.set()

    # Messages

    async def _hear(self, worker: WorkerProcess, frame: Frame) -> None:
        message = frame.message
        if frame.kind == "hello":
            await self._hello(worker, message)
        elif frame.kind == "claim":
            self._holds(worker, message["models"])
            self._idle(worker)
        elif frame.kind == "heartbeat":
            worker.memory = message["memory"]
            figures = message["figures"]
            worker.free = max(0, figures.get("device_budget", 0) - figures.get("model_bytes", 0))
            self._holds(worker, message["models"])
            self._metrics.figures(worker.name, figures)
        elif frame.kind == "log":
            log_sent(message)
        elif frame.kind == "event" and message["token"] == 0:
            record = message["event"]
            self._heard(record)
            self._store.begin(lambda t: t.history.append("", record))
        elif message["token"] != worker.token or worker.job is None:
            return
        elif frame.kind == "event":
            self._event(worker, worker.job, message["event"])
        elif frame.kind == "preview":
            head = {"job": worker.job, "node": message["node"], "step": message["step"], "media": "image/jpeg"}
            live = Live(worker.job, worker.owner, message["node"], binary(head, frame.data))
            self._event_hub.publish_live(live)
        elif frame.kind == "call":
            worker.send("answer", to=message["number"], **await self._ledger(worker.job, worker.token, message))
        elif frame.kind == "finished":
            await self._finished(worker, worker.job, message)

    async def _hello(self, worker: WorkerProcess, message: dict[str, Any]) -> None:
        worker.environment = message["environment"]
        log.info("worker ready", extra=fields(worker=worker.name, pid=message["pid"]))
        if not worker.device:
            await self._ready([Record(**record) for record in message["failed"]])

    def _holds(self, worker: WorkerProcess, models: dict[str, float]) -> None:
        worker.models = models
        self.router.measured(models)

    def _idle(self, worker: WorkerProcess) -> None:
        worker.state, worker.job, worker.kill_at = "idle", None, None
        if not worker.device:
            self._helper_up.set()
        self._wake.set()

    def _event(self, worker: WorkerProcess, job: str, record: dict[str, Any]) -> None:
        token, now = worker.token, time.monotonic()
        if record["event"] == "node_progress":
            last = worker.stored.get(record["node"])
            if last is not None and now - last < STORED_PROGRESS_SECONDS and record["step"] < record["total"]:
                live = Live(job, worker.owner, record["node"], text({"job": job, **record}))
                self._event_hub.publish_live(live)
                return
            worker.stored[record["node"]] = now
        self._metrics.event(record)

        def store(tables: Tables) -> None:
            if record["event"] == "run_started":
                tables.queue.begin(job, token)
            tables.history.append(job, record)

        self._store.begin(store)

    async def _ledger(self, job: str, token: int, message: dict[str, Any]) -> dict[str, Any]:
        method, arguments = message["method"], message["arguments"]

        def act(tables: Tables) -> Any:
            tables.queue.held(job, token)
            effects = tables.effects
            calls: dict[str, Callable[..., Any]] = {
                "find": effects.find,
                "intend": effects.intend,
                "begin": effects.begin,
                "done": effects.done,
            }
            return calls[method](job, *arguments)

        try:
            return {"value": await self._store.write(act, durable=method != "find")}
        except LoomError as error:
            return refusal(error)

    async def _finished(self, worker: WorkerProcess, job: str, message: dict[str, Any]) -> None:
        token, state = worker.token, message["state"]
        result, problems = message["result"], message["problems"]

        def finish(tables: Tables) -> Job:
            held = tables.queue.held(job, token)
            if state == "cancelled" and held.state != "cancelling" and self.stopping:
                return tables.queue.release(job, token, "the server is stopping", counts=False)
            if held.state == "claimed":
                tables.queue.begin(job, token)
            if state == "cancelled" and held.state != "cancelling":
                return tables.queue.finish(job, token, "failed", result, [NOT_ASKED])
            return tables.queue.finish(job, token, state, result, problems)

        worker.job = None
        done = await self._surely(job, token, finish)
        if done is None:
            return
        self._metrics.finished(done)
        if state == "done":
            self.router.ran(done.models, result["seconds"], worker.load)
        codes = {"code": done.problems[0]["code"]} if done.problems else {}
        seconds = (done.finished or 0) - (done.started or 0)
        log.info("job %s", done.state, extra=fields(done, worker=worker.name, seconds=seconds, **codes))

    async def _gone(self, worker: WorkerProcess, why: str) -> None:
        if not any(not other.device and other.state != "starting" for other in self.workers):
            self._helper_up.clear()
        if worker.job is None:
            return
        job, token, counts = worker.job, worker.token, not self.stopping
        worker.job = None
        after = await self._surely(job, token, lambda t: t.queue.release(job, token, why, counts=counts))
        if after is None:
            return
        log.warning("worker lost", extra=fields(after, worker=worker.name, state=after.state, why=why))
        self._metrics.lost()
        self._wake.set()

    async def _surely(self, job: str, token: int, act: Callable[[Tables], Job]) -> Job | None:
        """Record the end of an attempt. Retries while the disk is full. Returns None if the attempt is stale."""
        self._ending.add(token)
        try:
            while True:
                try:
                    return await self._store.write(act, durable=True)
                except StorageError as error:
                    log.error("the end of a job waits for the disk", extra=fields(job=job, error=error))
                    await asyncio.sleep(TICK_SECONDS)
        except StaleAttempt:
            log.warning("a late report was refused", extra=fields(job=job))
            return None
        finally:
            self._ending.discard(token)


def _upcoming(tables: Tables) -> list[QueuedJob]:
    return [job for device in (True, False) for job in tables.queue.upcoming(WINDOW, device=device)]


async def _live(worker: WorkerProcess, after: asyncio.Event) -> None:
    await after.wait()
    await worker.live()


def text(record: dict[str, Any]) -> str:
    """Return a record as JSON text."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def binary(head: dict[str, Any], body: bytes) -> bytes:
    """Return a binary message: the length of a JSON head in four bytes, the head, the body."""
    encoded = text(head).encode()
    return len(encoded).to_bytes(4, "big") + encoded + body
