"""Many who write at once, and a disk that is full."""

import asyncio
import contextlib
import errno
import json
import sqlite3
from pathlib import Path

import pytest
from queues import claim_next, new_job

from latentloom.engine.jobs.attempts import Limits
from latentloom.engine.jobs.faults import StorageError, UnknownJob
from latentloom.web import queue_writer
from latentloom.web.queue_writer import Store


def run(folder, act, clock=lambda: 1000.0):
    """What `act(store, published)` gives, on a store of its own."""

    async def go():
        published = []
        store = Store(folder, published.extend, Limits(), clock)
        try:
            return await act(store, published)
        finally:
            await store.close()

    return asyncio.run(go())


def test_a_hundred_at_once_each_get_their_own_answer(tmp_path):
    async def act(store, published):
        jobs = await asyncio.gather(
            *(store.write(lambda t, n=n: t.queue.submit(new_job(f"j{n}")), durable=True) for n in range(100))
        )
        return [job.id for job in jobs], [json.loads(stored.text)["job"] for stored in published]

    answers, published = run(tmp_path, act)

    assert answers == published == [f"j{n}" for n in range(100)]


def test_a_fault_takes_back_its_own_write_and_no_other(tmp_path):
    def bad(tables):
        tables.queue.submit(new_job("bad"))
        tables.queue.job("nope")

    async def act(store, published):
        found = await asyncio.gather(
            store.write(lambda t: t.queue.submit(new_job("a"))),
            store.write(bad),
            store.write(lambda t: t.queue.submit(new_job("b"))),
            return_exceptions=True,
        )
        waiting = await store.read(lambda t: t.queue.waiting())
        return found[1], waiting, [stored.job for stored in published]

    fault, waiting, published = run(tmp_path, act)

    assert isinstance(fault, UnknownJob)
    assert waiting == published == ["a", "b"]


OWN_FAULTS = {
    "INSERT INTO jobs (id) VALUES (NULL)": sqlite3.IntegrityError,
    "INSERT INTO jobs (id) VALUES (?)": sqlite3.ProgrammingError,
}


@pytest.mark.parametrize("statement", OWN_FAULTS)
def test_a_statement_that_is_wrong_costs_no_other_write(tmp_path, statement):
    def wrong(tables):
        tables.queue.submit(new_job("bad"))
        tables.connection.execute(statement)

    async def act(store, published):
        writes = [lambda t, n=n: t.queue.submit(new_job(f"j{n}")) for n in range(9)]
        found = await asyncio.gather(*map(store.write, [*writes[:4], wrong, *writes[4:]]), return_exceptions=True)
        return type(found[4]), store.alive, await store.read(lambda t: t.queue.waiting())

    assert run(tmp_path, act) == (OWN_FAULTS[statement], True, [f"j{n}" for n in range(9)])


def test_a_full_disk_is_told_and_forgotten_once_there_is_room(tmp_path, monkeypatch):
    async def act(store, published):
        await store.write(lambda t: t.queue.submit(new_job("a")), durable=True)
        monkeypatch.setenv("LATENTLOOM_FAILPOINT", "queue.written:enospc")
        with pytest.raises(StorageError, match=r"the queue cannot be written to: .*No space left"):
            await store.write(lambda t: t.queue.submit(new_job("b")), durable=True)
        monkeypatch.delenv("LATENTLOOM_FAILPOINT")
        await store.write(lambda t: t.queue.submit(new_job("c")), durable=True)
        return await store.read(lambda t: t.queue.waiting()), [stored.job for stored in published]

    assert run(tmp_path, act) == (["a", "c"], ["a", "c"])


FAULTS = {
    "read-only": OSError(errno.EROFS, "Read-only file system"),
    "read-only database": sqlite3.OperationalError("attempt to write a readonly database"),
    "memory": MemoryError("out of memory"),
    "exit": SystemExit(3),
    "interrupt": KeyboardInterrupt(),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("where", ["act", "transaction", "reserve", "rollback"])
def test_whatever_is_raised_in_the_writers_thread_it_goes_on(tmp_path, monkeypatch, where, fault):
    """A read-only disk refuses the removal of the reserve too; once it can be written to, so can the queue."""

    def broken(*_, **__):
        raise FAULTS[fault]

    @contextlib.contextmanager
    def stuck(connection, *, durable):
        connection.execute("BEGIN IMMEDIATE")  # and no way back
        broken()
        yield

    async def act(store, published):
        await store.write(lambda t: t.queue.submit(new_job("a")))
        with monkeypatch.context() as patched:
            if where == "act":
                with pytest.raises((StorageError, type(FAULTS[fault]))):
                    await store.write(broken)
            else:
                patched.setattr(queue_writer, "transaction", stuck if where == "rollback" else broken)
                if where == "reserve":
                    patched.setattr(Path, "unlink", broken)
                with pytest.raises(StorageError, match="the queue cannot be written to"):
                    await store.write(lambda t: t.queue.submit(new_job("b")))
                assert store.alive is False
        await store.write(lambda t: t.queue.submit(new_job("c")))
        return store.alive, await store.read(lambda t: t.queue.waiting()), [stored.job for stored in published]

    assert run(tmp_path, act) == (True, ["a", "c"], ["a", "c"])


def test_a_queue_that_cannot_be_read_is_told_as_such(tmp_path):
    async def act(store, published):
        with pytest.raises(StorageError, match="the queue cannot be read: no such table: absent"):
            await store.read(lambda t: t.connection.execute("SELECT * FROM absent"))
        return await store.read(lambda t: t.queue.waiting())

    assert run(tmp_path, act) == []


def test_a_clock_that_jumps_changes_no_order(tmp_path):
    times = iter([1e9, 1e9 + 86400, 1e9 - 86400, 0.0, 2e9, 5.0] * 10)

    async def act(store, published):
        for name in "abc":
            await store.write(lambda t, name=name: t.queue.submit(new_job(name)))
        claims = [(await store.write(lambda t: claim_next(t.queue))).job.id for _ in "abc"]
        return claims, [stored.number for stored in published]

    assert run(tmp_path, act, lambda: next(times)) == (["a", "b", "c"], [1, 2, 3, 4, 5, 6])
