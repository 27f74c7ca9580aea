"""Gives the cells of batches to the queue, a few at a time, and notes how their jobs end."""

import asyncio
from collections.abc import Callable

from latentloom.engine.errors import WorkflowError
from latentloom.engine.failpoints import failpoint
from latentloom.engine.jobs.batches import Batch
from latentloom.engine.jobs.job import NewJob
from latentloom.web.dispatcher import NotReady
from latentloom.web.intake import Intake
from latentloom.web.queue_writer import Store, Tables

AHEAD = 128
"""Jobs of one batch that wait or run at once. Other jobs of the same priority wait for no more than these."""
LEAST = AHEAD // 4  # jobs to queue at once
PAUSE = 0.1
LATER = 1.0  # seconds after no worker was ready


class BatchFeeder:
    """The background work for batches. All its state is in the database, so that a new server goes on."""

    def __init__(self, store: Store, intake: Intake, queued: Callable[[], None]) -> None:
        """`queued` is called when new jobs wait."""
        self._store = store
        self._intake = intake
        self._queued = queued
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look for batches that have not ended."""
        self._woken.set()

    async def work(self) -> None:
        """Run until cancelled."""
        while True:
            self._woken.clear()
            running = await self._store.read(lambda t: t.batches.running())
            pauses = [await self._fed(batch) for batch in running]
            await (asyncio.sleep(min(pauses)) if pauses else self._woken.wait())

    async def _fed(self, batch: Batch) -> float:
        """Feed a batch, and return after how many seconds to look at it again."""
        try:
            await self._feed(batch)
        except NotReady:
            return LATER
        return PAUSE

    async def _feed(self, batch: Batch) -> None:
        """Note the ends of a batch's jobs, and queue as many new ones as there is room for."""
        now = await self._store.write(lambda t: t.batches.settle(batch))
        room = AHEAD - now.counts["open"]
        if now.state != "running" or not now.counts["waiting"] or room < LEAST:
            return
        cells = await self._store.read(lambda t: t.batches.waiting(batch, room))
        made = await self._intake.cell_jobs(batch, cells)
        jobs = [(place, job) for place, job in made if isinstance(job, NewJob)]
        faults = [(place, error) for place, error in made if isinstance(error, WorkflowError)]

        def store(tables: Tables) -> None:
            tables.batches.begin(batch, jobs)
            for place, error in faults:
                tables.batches.fail(batch, place, [problem.record() for problem in error.problems])

        await self._store.write(store, durable=True)
        failpoint("batch.fed")
        self._queued()
