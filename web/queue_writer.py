"""The queue for many who ask at once: one thread writes, and what waits meanwhile shares its transaction."""

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
from latentloom.engine.jobs.database import connect, transaction
from latentloom.engine.jobs.effects import Effects
from latentloom.engine.jobs.faults import StorageError
from latentloom.engine.jobs.history import History, Stored
from latentloom.engine.jobs.outputs import Outputs
from latentloom.engine.jobs.queue import Queue
from latentloom.engine.jobs.replies import Replies
from latentloom.engine.jobs.webhooks import Webhooks
from latentloom.web.workflow_store import WorkflowStore

T = TypeVar("T")
OWN_FAULTS = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError)  # of the one write that raises it
BATCH = 256
RESERVE_BYTES = 4 * 2**20


class Tables:
    """Everything in one database, over one connection."""

    def __init__(self, connection: sqlite3.Connection, limits: Limits, clock: Callable[[], float]) -> None:
        self.connection = connection
        self.history = History(connection, clock)
        self.queue = Queue(connection, self.history, limits, clock)
        self.effects = Effects(connection, clock)
        self.outputs = Outputs(connection)
        self.workflow_store = WorkflowStore(connection, clock)
        self.webhooks = Webhooks(connection, clock)
        self.replies = Replies(connection, clock)


class _Write(NamedTuple):
    act: Callable[[Tables], Any]
    durable: bool
    answer: asyncio.Future[Any]


class Store:
    """The database of one server. Made and used in one event loop."""

    def __init__(
        self,
        folder: Path,
        publish: Callable[[list[Stored]], None],
        limits: Limits = Limits(),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`publish` hears of new events, in the loop, once they are stored. Raises DatabaseError."""
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
        """Do something in a transaction; it has been committed when this returns. Raises StorageError."""
        return await self.begin(act, durable=durable)

    def begin(self, act: Callable[[Tables], T], *, durable: bool = False) -> "asyncio.Future[T]":
        """The same without waiting. Writes are done in the order in which they were begun."""
        answer: asyncio.Future[T] = self._loop.create_future()
        self._writes.put(_Write(act, durable, answer))
        return answer

    async def read(self, act: Callable[[Tables], T]) -> T:
        """Look something up in what has been committed. Raises StorageError."""
        try:
            return await self._loop.run_in_executor(self._reader, act, self._reading)
        except sqlite3.Error as error:
            raise StorageError(f"the queue cannot be read: {error}", hint="look at its disk") from error

    async def search(self, act: Callable[[Tables], T]) -> T:
        """The same for what may take long: nothing that hands out jobs waits for it."""
        return await self._loop.run_in_executor(self._searcher, act, self._searching)

    async def close(self) -> None:
        """Finish what was begun, and let go of the file."""
        self._writes.put(None)
        await self._loop.run_in_executor(None, self._thread.join)
        self._reader.shutdown()
        self._searcher.shutdown()
        self._searching.connection.close()
        self._reading.connection.close()
        self._tables.connection.close()

    @property
    def alive(self) -> bool:
        """Whether writes are done: the thread is there, and the last write reached the disk."""
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
        """What each write came to. Nothing that it raises ends the thread, for then no job would be taken any more."""
        try:
            found: tuple[list[Any], list[Stored]] | None = self._tried(batch)
        except BaseException:
            found = self._again(batch)
        self.failing = found is None
        return self._refused(batch) if found is None else found

    def _again(self, batch: list[_Write]) -> tuple[list[Any], list[Stored]] | None:
        """The same with the room that is kept for a full disk, which lets jobs end; None when that fails too."""
        try:
            self._tables.history.take()
            if self._tables.connection.in_transaction:  # the way back failed too
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
        """The result of one write, or its fault: then nothing of it stays."""
        connection, before = self._tables.connection, len(self._tables.history.fresh)
        connection.execute("SAVEPOINT one")
        try:
            result = write.act(self._tables)
        except Exception as error:
            if isinstance(error, sqlite3.Error) and not isinstance(error, OWN_FAULTS):
                raise  # the file's fault, which all share
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
                write.answer.exception()  # who did not wait for it does not want to hear of it
            else:
                write.answer.set_result(result)
        if fresh:
            self._publish(fresh)
