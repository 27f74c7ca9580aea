"""The services of a server, wired together."""

import asyncio
import contextlib
import logging
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from latentloom.engine.cache.disk import DiskStore
from latentloom.engine.errors import LoomError
from latentloom.engine.files.partial import sweep
from latentloom.engine.jobs.attempts import Limits
from latentloom.engine.jobs.input_files import named_by_hash
from latentloom.engine.jobs.retention import BATCH, Keep, prune_batches, prune_files, prune_jobs, prune_rest
from latentloom.engine.jobs.serving import Ownership, Serving, unwritable
from latentloom.engine.models.host_memory import resident_bytes
from latentloom.engine.settings import Settings
from latentloom.web.access import Access
from latentloom.web.background import begun
from latentloom.web.batch_feeder import BatchFeeder
from latentloom.web.connections import Connections
from latentloom.web.dispatcher import Dispatcher
from latentloom.web.event_hub import EventHub
from latentloom.web.input_files import InputFiles
from latentloom.web.intake import Intake
from latentloom.web.metrics import Metrics
from latentloom.web.operations import Operations
from latentloom.web.plugin_watch import PluginWatch
from latentloom.web.queue_writer import Store
from latentloom.web.saved_files import SavedFiles
from latentloom.web.trash import TRASH_SECONDS
from latentloom.web.webhooks import Permission, WebhookSender
from latentloom.web.worker_process import WorkerProcess

T = TypeVar("T")
log = logging.getLogger("latentloom.server")
PRUNE_SECONDS = 300.0
STUCK_SECONDS = 30.0
DOWN_SECONDS = 60.0  # maximum time for a worker to start
OFTEN, OFTEN_SECONDS = 10, 300.0  # a worker that ends this often is unhealthy
LOW_DISK = 64 * 2**20


class Services:
    """Everything that routes use, between `start` and `stop`."""

    def __init__(self, settings: Settings, devices: list[str]) -> None:
        """Raises SettingsError; DatabaseError if another server owns the data folder or it is not writable."""
        self.settings = settings
        self._ownership = Ownership(settings.data)
        self.access = Access(settings)
        self.webhooks = Permission(settings)
        self._devices = devices
        self.event_hub = EventHub()
        self.metrics = Metrics()
        self.connections: Connections | None = None
        self.sockets: set[web.WebSocketResponse] = set()
        self.thumbnails = settings.data / "thumbnails"
        self.files = SavedFiles(settings.output, self.thumbnails)
        keep = settings.keep_upload_days
        self.inputs = InputFiles(settings.input, None if keep is None else keep * 86400)
        self._disk = ThreadPoolExecutor(4, "latentloom-disk")
        self._keep = Keep(
            seconds=settings.keep_days * 86400, jobs=settings.keep_jobs, file_bytes=settings.keep_output_bytes
        )

    async def start(self) -> None:
        """Open the queue, recover interrupted jobs, and start the workers. Raises DatabaseError."""
        settings = self.settings
        folders = {"output": settings.output, "input": settings.input}
        for what, folder in (*folders.items(), ("data", self.thumbnails), ("data", self.uploads)):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise unwritable(what, folder, error) from None
        sweep([settings.output, settings.input, self.thumbnails, *self.thumbnails.iterdir()])
        for left in self.uploads.iterdir():  # no other server uses this folder
            left.unlink(missing_ok=True)
        limits = Limits(queued=settings.queue_limit, queued_per_owner=settings.owner_limit)
        self.store = Store(settings.data, self.event_hub.publish, limits)
        hub = self.event_hub
        hub.last, hub.stream = await self.store.read(lambda t: (t.history.last(), t.history.stream()))
        self.intake = Intake(
            settings, lambda what, **arguments: self.dispatcher.ask(what, **arguments), self.inputs.stored
        )
        self.operations = Operations(self._say)
        self.dispatcher = Dispatcher(
            settings,
            self._devices,
            self.store,
            hub,
            self.metrics,
            lambda failed: self.intake.looked(failed),
            self.operations.heard,
        )
        again = await self.store.write(lambda t: t.queue.recover(), durable=True)
        if again:
            log.info("%d interrupted jobs continue", len(again))
        self.watch = PluginWatch(settings, self.intake, self.dispatcher.renew)
        self.dispatcher.start(self.watch.first)
        self.batch_feeder = BatchFeeder(self.store, self.intake, self.dispatcher.wake)
        tasks = {
            "plugins": self.watch.work,
            "webhooks": WebhookSender(self.store, self.webhooks, self.metrics).work,
            "retention": self._prune_for_ever,
            "batches": self.batch_feeder.work,
        }
        self._tasks = begun(tasks, self.metrics.failed)

    async def stop(self) -> None:
        """Stop the workers at their next step. Their jobs wait in the queue for the next start."""
        self.watch.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.operations.stop()
        await self.dispatcher.stop()
        self.intake.close()
        self._disk.shutdown(wait=False, cancel_futures=True)
        await self.store.close()
        self._ownership.close()

    def _say(self, record: Mapping[str, Any]) -> None:
        """Publish an event that belongs to no job."""
        self.store.begin(lambda t: t.history.append("", record))

    async def disk(self, act: Callable[..., T], *arguments: Any) -> T:
        """Run a function that may wait for a disk, in other threads than those that validate workflows."""
        return await asyncio.get_running_loop().run_in_executor(self._disk, act, *arguments)

    def tell(self, address: str) -> None:
        """Publish the address, so that `loom run` on this machine finds the server."""
        self._ownership.tell(Serving(address, tuple(self._devices)))

    @property
    def uploads(self) -> Path:
        """The folder for uploads that are not checked yet."""
        return self.settings.data / "uploads"

    @contextlib.contextmanager
    def temporary(self) -> Iterator[Path]:
        """Return a path for a temporary file, which is removed after a with-block."""
        self.uploads.mkdir(parents=True, exist_ok=True)
        path = self.uploads / secrets.token_hex(8)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    # Retention

    async def _prune_for_ever(self) -> None:
        while True:
            try:
                await self.prune()
            except LoomError as error:
                log.error("nothing could be pruned: %s", error)
            await asyncio.sleep(PRUNE_SECONDS)

    async def prune(self) -> None:
        """Remove everything beyond the retention limits, in small batches."""
        more = True
        while more:
            jobs = await self.store.write(lambda t: prune_jobs(t.connection, self._keep, time.time()))
            self.event_hub.forget(jobs)
            more = len(jobs) == BATCH
        await self.store.write(lambda t: prune_batches(t.connection, self._keep, time.time()))
        await self.store.write(lambda t: prune_rest(t.connection, self._keep, time.time()))
        gone = await self.store.write(lambda t: list(prune_files(t.outputs, self._keep)))
        await self.disk(self.files.remove, gone)
        old = await self.disk(self.inputs.old)
        if old:
            named = await self.store.search(lambda t: named_by_hash(t.connection))
            await self.disk(self.inputs.remove_unnamed, old, named)
        thrown = time.time() - (TRASH_SECONDS if self.disk_free() > LOW_DISK else 0)
        for trash in (self.files.trash, self.inputs.trash):
            await self.disk(trash.empty, thrown)

    # Health

    def checks(self) -> dict[str, bool]:
        """Return the health checks by name."""
        dispatcher = self.dispatcher
        return {
            "claiming": time.monotonic() - dispatcher.ticked < STUCK_SECONDS,
            "workers": all(self._steady(worker) for worker in dispatcher.workers),
            "queue": self.store.alive,
            "disk": self.disk_free() > LOW_DISK,
        }

    def _steady(self, worker: WorkerProcess) -> bool:
        """Whether a worker is up, or has been down only briefly, and does not end repeatedly."""
        now = time.monotonic()
        down = worker.down_since is not None and now - worker.down_since > DOWN_SECONDS
        return not down and sum(now - at < OFTEN_SECONDS for at in worker.deaths) < OFTEN

    def disk_free(self) -> int:
        """Return the free bytes on the disk of the queue."""
        return shutil.disk_usage(self.settings.data).free

    def disks_free(self) -> dict[str, int]:
        """Return the free bytes on the disk of each folder that is there."""
        folders = {name: getattr(self.settings, name) for name in ("data", "input", "output", "cache")}
        return {name: shutil.disk_usage(folder).free for name, folder in folders.items() if folder.is_dir()}

    def cache_bytes(self) -> int:
        """Return the bytes of the disk cache, which the workers share."""
        store = DiskStore(self.settings.cache, self.settings.cache_bytes)
        with contextlib.closing(store):
            return store.info()["bytes"]

    def memory(self) -> dict[str, int]:
        """Return the resident bytes of the server and its workers."""
        return {"server": resident_bytes(), **{worker.name: worker.memory for worker in self.dispatcher.workers}}
