"""Runs jobs for clients that wait for their pictures within one request. The jobs are ordinary jobs of the queue."""

import asyncio
import contextlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from aiohttp import web

from latentloom.engine.errors import Problem
from latentloom.engine.jobs.faults import UnknownJob
from latentloom.engine.jobs.job import Job, NewJob
from latentloom.engine.jobs.outputs import Output
from latentloom.engine.jobs.states import FINAL, OPEN
from latentloom.web.dispatcher import NotReady
from latentloom.web.event_hub import Reader
from latentloom.web.http_errors import RequestError
from latentloom.web.queue_writer import OwnedStore, OwnedTables
from latentloom.web.services import Services

LOOK_SECONDS = 5.0  # how often a wait checks whether the client is still connected
_ENDS = frozenset(f"job_{state}" for state in FINAL)


class JobFailed(RequestError):
    """A job that a client waited for has failed, or saved no picture."""

    code = "job_failed"
    status = 422  # not 500: clients try again after a fault of the server, and would run the job twice more

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("the job failed")
        self._problems = tuple(problems)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All problems of the job."""
        return self._problems


class Picture(NamedTuple):
    """A picture that a job has saved: its record and the bytes of the file."""

    output: Output
    data: bytes


@dataclass(slots=True)
class Progress:
    """What is known of a running job: the step of the last node that reported one, and a preview as JPEG."""

    step: int = 0
    total: int = 0
    preview: bytes | None = None

    def read(self, reader: Reader) -> None:
        """Take the live messages of a reader."""
        for live in reader.take_live():
            if isinstance(live.body, bytes):
                self.preview = live.body[4 + int.from_bytes(live.body[:4], "big") :]
            else:
                self.note(live.body)

    def note(self, text: str) -> bool:
        """Read an event as JSON. Returns whether it ends the job."""
        record = json.loads(text)
        if record.get("event") == "node_progress":
            self.step, self.total = record["step"], record["total"]
        return record.get("event") in _ENDS


async def submit(services: Services, new: Sequence[NewJob]) -> list[Job]:
    """Queue jobs, all or none. Raises QueueFull."""
    jobs = await services.store.write(lambda t: [t.queue.submit(one) for one in new], durable=True)
    services.dispatcher.wake()
    return jobs


async def ended(services: Services, request: web.Request, id: str, progress: Progress | None = None) -> Job:
    """Wait until a job has ended and return it. The job continues if the client disconnects.

    Previews are made only if there is a `progress` to keep them.

    Raises NotReady if the server stops, UnknownJob if the job was removed, ConnectionError if the client is gone.
    """
    hub = services.event_hub
    with hub.reader(hub.last, id, None, previews=progress is not None) as reader:
        while True:
            reader.wake.clear()
            job = await services.store.read(lambda t: t.queue.job(id))
            if job.state in FINAL:
                return job
            await _event(services, request, reader, progress or Progress())


async def ended_within(services: Services, request: web.Request, id: str, seconds: float) -> None:
    """Wait until a job has ended, for at most some seconds, or until the server stops or the job is removed.

    Raises ConnectionError if the client is gone; the job continues.
    """
    with contextlib.suppress(TimeoutError, NotReady):
        async with asyncio.timeout(seconds):
            await ended(services, request, id)


async def _event(services: Services, request: web.Request, reader: Reader, progress: Progress) -> None:
    """Wait until a job may have ended."""
    while True:
        found = await services.event_hub.after(services.store, reader)
        progress.read(reader)
        if any(progress.note(stored.text) for stored in found):
            return
        if reader.ended:
            raise NotReady("the server is stopping", hint="the job continues after the next start")
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError
        if not found:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.wake.wait(), LOOK_SECONDS)
            reader.wake.clear()


async def pictures(services: Services, job: Job) -> list[Picture]:
    """Return the pictures of an ended job; none for a cancelled one. Raises JobFailed."""
    if job.state == "failed":
        raise JobFailed([Problem(**problem) for problem in job.problems])
    saved = await services.store.read(lambda t: t.outputs.of_job(job.id))
    found = [output for output in saved if output.media.startswith("image/")]
    if job.state == "done" and not found:
        raise JobFailed([Problem(code=JobFailed.code, message="the workflow saves no picture", hint="add a SaveImage")])
    return [Picture(output, await services.disk(_content, services, output)) for output in found]


def _content(services: Services, output: Output) -> bytes:
    """Return the content of a saved file. Raises JobFailed if it has changed since."""
    path = services.files.intact([output])
    if path is None:
        raise JobFailed([Problem(code=JobFailed.code, message="a saved file was removed or changed", got=output.path)])
    return path.read_bytes()


async def cancel(services: Services, store: OwnedStore, ids: Iterable[str]) -> None:
    """Cancel jobs. Ended and unknown ones are passed over."""
    for id in ids:
        job = await store.write(partial(_cancelled, id=id))
        if job is not None:
            services.dispatcher.cancel(id, job.state)


def _cancelled(tables: OwnedTables, id: str) -> Job | None:
    with contextlib.suppress(UnknownJob):
        if tables.queue.job(id).state in OPEN:
            return tables.queue.cancel(id)
    return None
