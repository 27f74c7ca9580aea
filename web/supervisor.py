"""Hands jobs to workers, takes their reports, and sees that neither is lost."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any

from latentloom.engine.errors import LoomError
from latentloom.engine.jobs.faults import StaleAttempt, StorageError
from latentloom.engine.jobs.frames import Frame
from latentloom.engine.jobs.job import Job
from latentloom.engine.jobs.queue import Claim
from latentloom.engine.settings import Settings
from latentloom.plugins.discovery import Record
from latentloom.web.duty import begun
from latentloom.web.hub import Hub, Live
from latentloom.web.metrics import Metrics
from latentloom.web.seat import Seat, refusal
from latentloom.web.store import Store, Tables

log = logging.getLogger("latentloom.jobs")
TICK_SECONDS = 1.0
STORED_PROGRESS_SECONDS = 1.0


class NotReady(LoomError):
    """No worker can answer yet; try again in a moment."""

    code = "starting"


class Supervisor:
    """The workers of one server."""

    def __init__(
        self,
        settings: Settings,
        devices: list[str],
        store: Store,
        hub: Hub,
        metrics: Metrics,
        ready: Callable[[list[Record]], None],
    ) -> None:
        """One worker per device and `cpu_workers` without; `ready` hears when one of the latter is up, and which
        plugins failed there.
        """
        self._settings = settings
        self._store = store
        self._hub = hub
        self._metrics = metrics
        self._ready = ready
        names = [(device, device, True) for device in devices]
        names += [(f"helper-{n + 1}", "cpu", False) for n in range(settings.cpu_workers)]
        self.seats = [
            Seat(
                name,
                settings.model_copy(update={"device": on}),
                device=has,
                hear=self._hear,
                gone=self._gone,
                failed=metrics.failed,
            )
            for name, on, has in names
        ]
        self._wake = asyncio.Event()
        self._helper_up = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: set[int] = set()  # attempts whose end is being written
        self._looked = 0.0
        self.stopping = False
        self.ticked = time.monotonic()

    def start(self) -> None:
        """Start the workers and hand out jobs."""
        duties = {"dispatch": self._dispatch, **{seat.name: seat.live for seat in self.seats}}
        self._tasks = begun(duties, self._metrics.failed)

    async def stop(self) -> None:
        """Let every worker stop at its next step; what it ran goes back into the queue."""
        self.stopping = True
        self._wake.set()
        for seat in self.seats:
            seat.stop()
        _, late = await asyncio.wait(self._tasks, timeout=self._settings.cancel_seconds)
        for seat in self.seats:
            seat.kill()
        if late:
            await asyncio.wait(late, timeout=5)

    def wake(self) -> None:
        """There may be something to hand out."""
        self._wake.set()

    def cancel(self, job: Job) -> None:
        """Tell the worker of a job that is being cancelled; one that does not listen is ended."""
        for seat in self.seats:
            if seat.job == job.id and job.state == "cancelling" and seat.kill_at is None:
                seat.kill_at = time.monotonic() + self._settings.cancel_seconds
                seat.send("cancel", token=seat.token)

    async def ask(self, what: str, **arguments: Any) -> Any:
        """Ask a worker without a device. Raises NotReady, AnswerError."""
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
        return await helper.ask(what, **arguments)

    def _helper(self) -> Seat | None:
        up = [seat for seat in self.seats if not seat.device and seat.state != "starting"]
        return min(up, key=lambda seat: seat.state != "idle", default=None)

    # Handing out

    async def _dispatch(self) -> None:
        while not self.stopping:
            self.ticked = time.monotonic()
            for seat in self.seats:
                seat.check(self.ticked)
            if self.ticked - self._looked >= TICK_SECONDS:
                self._looked = self.ticked
                await self._take_back()
            for seat in [seat for seat in self.seats if seat.state == "idle"]:
                await self._hand_to(seat)
            try:
                async with asyncio.timeout(TICK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def _take_back(self) -> None:
        """Queue again what is claimed and in nobody's hands: a fault of the server's own came in between."""
        if not await self._store.read(lambda t: t.queue.attempts()) - self._held():
            return
        held = self._held()
        for job in await self._store.write(lambda t: t.queue.take_back(held, "the server lost it"), durable=True):
            log.warning("a job was in nobody's hands job=%s state=%s", job.id, job.state)

    def _held(self) -> set[int]:
        """The attempts that a worker has, or whose end is on its way to the disk."""
        return self._ending | {seat.token for seat in self.seats if seat.job is not None}

    async def _hand_to(self, seat: Seat) -> None:
        claim: Claim | None = await self._store.write(lambda t: t.queue.claim(seat.name, device=seat.device))
        if claim is None:
            return
        if seat.state != "idle" or self.stopping:  # it ended while the claim was written
            self._store.begin(lambda t: t.queue.release(claim.job.id, claim.token, "not begun", counts=False))
            self._wake.set()
            return
        seat.state, seat.job, seat.token, seat.stored = "busy", claim.job.id, claim.token, {}
        self._metrics.waited(claim.job)
        log.info("job handed out job=%s worker=%s attempt=%d", claim.job.id, seat.name, claim.token)
        outputs = None if claim.job.outputs is None else list(claim.job.outputs)
        seat.send(
            "job",
            id=claim.job.id,
            token=claim.token,
            document=claim.job.document,
            outputs=outputs,
            previews=self._hub.wants_previews,
        )

    # Hearing

    async def _hear(self, seat: Seat, frame: Frame) -> None:
        message = frame.message
        if frame.kind == "hello":
            self._hello(seat, message)
        elif frame.kind == "claim":
            self._idle(seat)
        elif frame.kind == "heartbeat":
            seat.memory = message["memory"]
            self._metrics.figures(seat.name, message["figures"])
        elif frame.kind == "event" and message["token"] == 0:
            record = message["event"]
            self._store.begin(lambda t: t.history.append("", record))
        elif message["token"] != seat.token or seat.job is None:
            return
        elif frame.kind == "event":
            self._event(seat, seat.job, message["event"])
        elif frame.kind == "preview":
            head = {"job": seat.job, "node": message["node"], "step": message["step"], "media": "image/jpeg"}
            self._hub.publish_live(Live(seat.job, message["node"], binary(head, frame.data)))
        elif frame.kind == "call":
            seat.send("answer", to=message["number"], **await self._ledger(seat.job, seat.token, message))
        elif frame.kind == "finished":
            await self._finished(seat, seat.job, message)

    def _hello(self, seat: Seat, message: dict[str, Any]) -> None:
        seat.environment = message["environment"]
        log.info("worker ready worker=%s pid=%d", seat.name, message["pid"])
        if not seat.device:
            self._ready([Record(**record) for record in message["failed"]])

    def _idle(self, seat: Seat) -> None:
        seat.state, seat.job, seat.kill_at = "idle", None, None
        if not seat.device:
            self._helper_up.set()
        self._wake.set()

    def _event(self, seat: Seat, job: str, record: dict[str, Any]) -> None:
        token, now = seat.token, time.monotonic()
        if record["event"] == "node_progress":
            last = seat.stored.get(record["node"])
            if last is not None and now - last < STORED_PROGRESS_SECONDS and record["step"] < record["total"]:
                self._hub.publish_live(Live(job, record["node"], text({"job": job, **record})))
                return
            seat.stored[record["node"]] = now
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

    async def _finished(self, seat: Seat, job: str, message: dict[str, Any]) -> None:
        token, state = seat.token, message["state"]
        result, problems = message["result"], message["problems"]

        def finish(tables: Tables) -> Job:
            held = tables.queue.held(job, token)
            if state == "cancelled" and held.state != "cancelling":
                return tables.queue.release(job, token, "the server is stopping", counts=False)
            if held.state == "claimed":
                tables.queue.begin(job, token)
            return tables.queue.finish(job, token, state, result, problems)

        seat.job = None
        done = await self._surely(job, token, finish)
        if done is None:
            return
        self._metrics.finished(done)
        log.info("job %s job=%s seconds=%.3f", done.state, job, (done.finished or 0) - (done.started or 0))

    async def _gone(self, seat: Seat, why: str) -> None:
        if not any(not other.device and other.state != "starting" for other in self.seats):
            self._helper_up.clear()
        if seat.job is None:
            return
        job, token, counts = seat.job, seat.token, not self.stopping
        seat.job = None
        after = await self._surely(job, token, lambda t: t.queue.release(job, token, why, counts=counts))
        if after is None:
            return
        log.warning("worker lost job=%s state=%s: %s", job, after.state, why)
        self._metrics.lost()
        self._wake.set()

    async def _surely(self, job: str, token: int, act: Callable[[Tables], Job]) -> Job | None:
        """Write how an attempt ended, however long the disk is full; None when the attempt no longer counts."""
        self._ending.add(token)
        try:
            while True:
                try:
                    return await self._store.write(act, durable=True)
                except StorageError as error:
                    log.error("the end of a job waits for the disk job=%s: %s", job, error)
                    await asyncio.sleep(TICK_SECONDS)
        except StaleAttempt:
            log.warning("a late report was refused job=%s", job)
            return None
        finally:
            self._ending.discard(token)


def text(record: dict[str, Any]) -> str:
    """A record as JSON text."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def binary(head: dict[str, Any], body: bytes) -> bytes:
    """A binary message: four bytes with the length of a JSON head, the head, the body."""
    encoded = text(head).encode()
    return len(encoded).to_bytes(4, "big") + encoded + body
