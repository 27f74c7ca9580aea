"""The database of the server: one thread writes, and concurrent writes share a transaction."""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from latentloom.engine.jobs.attempts import Limits
from latentloom.engine.jobs.batches import Batches
from latentloom.engine.jobs.database import connect, transaction
from latentloom.engine.jobs.effects import Effects
from latentloom.engine.jobs.faults import StorageError
from latentloom.engine.jobs.history import History, Stored
from latentloom.engine.jobs.outputs import Outputs
from latentloom.engine.jobs.queue import Queue
from latentloom.engine.jobs.replies import Replies
from latentloom.engine.jobs.webhooks import Webhooks
from latentloom.web.workflow_store import ADMINS, WorkflowStore

T = TypeVar("T")
OWN_FAULTS = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError)  # errors that concern a single write
BATCH = 256
RESERVE_BYTES = 4 * 2**20


class Tables:
    """All tables of the database, over one connection."""

    def __init__(self, connection: sqlite3.Connection, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self.connection = connection
        self.history = History(connection, clock)
        self.queue = Queue(connection, self.history, limits, clock)
        self.effects = Effects(connection, clock)
        self.outputs = Outputs(connection)
        self.workflow_store = WorkflowStore(connection, clock)
        self.batches = Batches(connection, self.queue, clock)
        self.webhooks = Webhooks(connection, self.batches, clock)
        self.replies = Replies(connection, clock)

    def of(self, owner: str | None) -> "OwnedTables":
        """Return the tables as an owner sees them; None: as an admin."""
        queue = Queue(self.connection, self.history, self._limits, self._clock, owner)
        return OwnedTables(
            queue,
            Outputs(self.connection, owner),
            WorkflowStore(self.connection, self._clock, ADMINS if owner is None else owner),
            self.replies,
            Batches(self.connection, queue, self._clock, owner),
        )


class OwnedTables(NamedTuple):
    """The tables that requests use, as an owner or an admin sees them: other owners' rows do not exist in them."""

    queue: Queue
    outputs: Outputs
    workflow_store: WorkflowStore
    replies: Replies
    batches: Batches


class _Write(NamedTuple):
    act: Callable[[Tables], Any]
    durable: bool
    answer: asyncio.Future[Any]


class OwnedStore:
    """The database as an owner or an admin sees it. Requests reach it in no other way."""

    def __init__(self, store: "Store", owner: str | None) -> None:
        self._store = store
        self._owner = owner

    async def write(self, act: Callable[[OwnedTables], T]) -> T:
        """See `Store.write`. The change survives a power failure."""
        return await self._store.write(lambda tables: act(tables.of(self._owner)), durable=True)

    async def read(self, act: Callable[[OwnedTables], T]) -> T:
        """See `Store.read`."""
        return await self._store.read(lambda tables: act(tables.of(self._owner)))

    async def search(self, act: Callable[[OwnedTables], T]) -> T:
        """See `Store.search`."""
        return await self._store.search(lambda tables: act(tables.of(self._owner)))


class Store:
    """The database of a server. Create and use it in one event loop."""

    def __init__(
        self,
        folder: Path,
        publish: Callable[[list[Stored]], None],
        limits: Limits = Limits(),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`publish` is called with new events, in the loop, after they are stored. Raises DatabaseError."""
        path = folder / "queue.db"
        self._tables = Tables(connect(path), limits, clock)
        with transaction(self._tables.connection, durable=True):
            self._tables.history.begin()
        self._reading = Tables(connect(path, readonly=True), limits, clock)
        self._searching = Tables(connect(path, readonly=True), limits, clock)
        self._reserve = folder / "queue.reserve"
        self._publish = publish
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._reader = ThreadPoolExecutor(1, "latentloom-reader")
        self._searcher = ThreadPoolExecutor(1, "latentloom-searcher")
        self._thread = threading.Thread(target=self._work, name="latentloom-writer", daemon=True)
        self.failing = False
        self._fault: BaseException | None = None
        self._keep_reserve()
        self._thread.start()

    async def write(self, act: Callable[[Tables], T], *, durable: bool = False) -> T:
        """Run a function in a transaction, which is committed when this returns. Raises StorageError."""
        return await self.begin(act, durable=durable)

    def begin(self, act: Callable[[Tables], T], *, durable: bool = False) -> "asyncio.Future[T]":
        """Like `write`, without waiting. Writes are executed in the order of the calls."""
        answer: asyncio.Future[T] = self._loop.create_future()
        self._writes.put(_Write(act, durable, answer))
        return answer

    async def read(self, act: Callable[[Tables], T]) -> T:
        """Run a read-only function on committed data. Raises StorageError."""
        try:
            return await self._loop.run_in_executor(self._reader, act, self._reading)
        except sqlite3.Error as error:
            raise StorageError(f"the queue cannot be read: {error}", hint="check its disk") from error

    async def search(self, act: Callable[[Tables], T]) -> T:
        """Like `read`, for slow queries: it does not delay the dispatch of jobs."""
        return await self._loop.run_in_executor(self._searcher, act, self._searching)

    def of(self, owner: str | None) -> OwnedStore:
        """Return the database as an owner sees it; None: as an admin."""
        return OwnedStore(self, owner)

    async def close(self) -> None:
        """Finish all writes and close the file."""
        self._writes.put(None)
        await self._loop.run_in_executor(None, self._thread.join)
        self._reader.shutdown()
        self._searcher.shutdown()
        self._searching.connection.close()
        self._reading.connection.close()
        self._tables.connection.close()

    @property
    def alive(self) -> bool:
        """Whether writes work: the thread is alive, and the last write succeeded."""
        return self._thread.is_alive() and not self.failing

    # The writer's thread

    def _work(self) -> None:
        while (first := self._writes.get()) is not None:
            batch, last = [first], False
            with suppress(queue.Empty):
                while len(batch) < BATCH and not last:
                    more = self._writes.get_nowait()
                    last = more is None
                    batch += [more] if more is not None else []
            results, fresh = self._commit(batch)
            self._loop.call_soon_threadsafe(self._deliver, batch, results, fresh)
            if last:
                return

    def _commit(self, batch: list[_Write]) -> tuple[list[Any], list[Stored]]:
        """Return the result of each write. No exception may end the thread, because no job could be accepted then."""
        try:
            found: tuple[list[Any], list[Stored]] | None = self._tried(batch)
        except BaseException:
            found = self._again(batch)
        self.failing = found is None
        return self._refused(batch) if found is None else found

    def _again(self, batch: list[_Write]) -> tuple[list[Any], list[Stored]] | None:
        """Retry with the disk space that is reserved for ending jobs on a full disk. Returns None if that fails too."""
        try:
            self._tables.history.take()
            if self._tables.connection.in_transaction:  # the rollback failed
                self._tables.connection.rollback()
            with suppress(OSError):
                self._reserve.unlink(missing_ok=True)
            found = self._tried(batch)
            self._keep_reserve()
            return found
        except BaseException as error:
            self._fault = error
            return None

    def _refused(self, batch: list[_Write]) -> tuple[list[Any], list[Stored]]:
        self._tables.history.take()
        fault = StorageError(f"the queue cannot be written to: {self._fault}", hint="free some space on its disk")
        return [fault] * len(batch), []

    def _tried(self, batch: list[_Write]) -> tuple[list[Any], list[Stored]]:
        results = []
        if self._tables.history.short:
            with transaction(self._tables.connection, durable=True):
                self._tables.history.reserve()
        with transaction(self._tables.connection, durable=any(write.durable for write in batch)):
            for write in batch:
                results.append(self._one(write))
        return results, self._tables.history.take()

    def _one(self, write: _Write) -> Any:
        """Return the result of one write, or its exception after its changes were rolled back."""
        connection, before = self._tables.connection, len(self._tables.history.fresh)
        connection.execute("SAVEPOINT one")
        try:
            result = write.act(self._tables)
        except Exception as error:
            if isinstance(error, sqlite3.Error) and not isinstance(error, OWN_FAULTS):
                raise  # a fault of the database, which affects all writes
            connection.execute("ROLLBACK TO one")
            del self._tables.history.fresh[before:]
            result = error
        connection.execute("RELEASE one")
        return result

    def _keep_reserve(self) -> None:
        with suppress(OSError):
            if not self._reserve.exists():
                self._reserve.write_bytes(bytes(RESERVE_BYTES))

    def _deliver(self, batch: list[_Write], results: list[Any], fresh: list[Stored]) -> None:
        for write, result in zip(batch, results, strict=True):
            if write.answer.done():
                continue
            if isinstance(result, Exception):
                write.answer.set_exception(result)
                write.answer.exception()  # retrieved, so that asyncio does not log it for a caller that does not wait
            else:
                write.answer.set_result(result)
        if fresh:
            self._publish(fresh)
