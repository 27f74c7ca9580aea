"""Reservations of the device: one call of a node at a time, first come first served, and the models lent to it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, NamedTuple

from latentloom.engine.errors import Cancelled, NodeError
from latentloom.engine.types.context import Borrower

POLL = 0.05  # seconds between checks of the cancel event


class _Ticket(NamedTuple):
    borrower: Borrower
    granted: Future[None]


class Turns:
    """A reentrant first-in-first-out lock on the device. A holder may take it again and gives it back as often.

    The internal mutex is held briefly, never while code of nodes or models runs or the device computes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: Borrower | None = None
        self._depth = 0
        self._waiting: deque[_Ticket] = deque()

    @contextmanager
    def turn(self, borrower: Borrower) -> Iterator[None]:
        """Hold the device for the duration of a with-block."""
        self.take(borrower)
        try:
            yield
        finally:
            self.give_back(borrower)

    def take(self, borrower: Borrower) -> None:
        """Wait for the device. Raises Cancelled as soon as the borrower's run is cancelled."""
        ticket = self._ask(borrower)
        try:
            while not _happened(ticket.granted):
                borrower.check()
        except BaseException:
            self._withdraw(ticket)
            raise

    async def take_async(self, borrower: Borrower) -> None:
        """See `take`. Does not block other coroutines."""
        ticket = self._ask(borrower)
        granted = asyncio.wrap_future(ticket.granted)
        try:
            while not granted.done():
                await asyncio.wait([granted], timeout=POLL)
                borrower.check()
        except BaseException:
            self._withdraw(ticket)
            raise

    def give_back(self, borrower: Borrower) -> None:
        """Undo one `take` of a borrower. No effect if it has left."""
        with self._lock:
            if self._holder is borrower:
                self._depth -= 1
                self._grant()

    def leave(self, borrower: Borrower) -> None:
        """Release everything that a borrower holds and remove it from the waiting queue."""
        with self._lock:
            for ticket in self._waiting:
                if ticket.borrower is borrower:
                    ticket.granted.cancel()
            self._waiting = deque(ticket for ticket in self._waiting if ticket.borrower is not borrower)
            if self._holder is borrower:
                self._depth = 0
                self._grant()

    def _ask(self, borrower: Borrower) -> _Ticket:
        ticket = _Ticket(borrower, Future())
        with self._lock:
            if self._holder is borrower:
                self._depth += 1
                ticket.granted.set_result(None)
            else:
                self._waiting.append(ticket)
                self._grant()
        return ticket

    def _grant(self) -> None:
        """Grant a free device to the first borrower in the queue, for all its waiting tickets."""
        if self._depth:
            return
        self._holder = self._waiting[0].borrower if self._waiting else None
        mine = [ticket for ticket in self._waiting if ticket.borrower is self._holder]
        self._waiting = deque(ticket for ticket in self._waiting if ticket.borrower is not self._holder)
        self._depth = len(mine)
        for ticket in mine:
            ticket.granted.set_result(None)

    def _withdraw(self, ticket: _Ticket) -> None:
        with self._lock:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                return
        self.give_back(ticket.borrower)


def _happened(granted: Future[None]) -> bool:
    try:
        granted.result(timeout=POLL)
    except TimeoutError:
        return False
    return True


class Loan:
    """Models lent to a node: `with` in a sync node, `async with` in an async node. Can be used once."""

    def __init__(self, turns: Turns, borrower: Borrower, begin: Callable[[], Any], end: Callable[[bool], None]) -> None:
        """`begin` makes the models ready while the borrower holds the device; `end(good)` takes them back."""
        self._turns, self._borrower = turns, borrower
        self._begin, self._end = begin, end
        self._lock = threading.Lock()
        self._ready = self._closed = False

    def __enter__(self) -> Any:
        if self._borrower.asynchronous and _on_a_loop():
            raise NodeError(
                "an async node that waits for models with a plain `with` blocks every other async node",
                hint="write `async with ctx.load(...)`",
            )
        self._turns.take(self._borrower)
        return self._open()

    def __exit__(self, kind: Any, *_: object) -> None:
        self.close(good=kind is None)

    async def __aenter__(self) -> Any:
        await self._turns.take_async(self._borrower)
        opening = asyncio.get_running_loop().run_in_executor(None, self._open)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:  # models that are still loading are closed when they are ready
            opening.add_done_callback(lambda done: done.exception())
            self.close(good=False)
            raise

    async def __aexit__(self, kind: Any, *_: object) -> None:
        self.close(good=kind is None)

    def _open(self) -> Any:
        try:
            found = self._begin()
        except BaseException:
            self._turns.give_back(self._borrower)
            raise
        with self._lock:
            self._ready = True
            wanted = not self._closed
        if not wanted:
            self._finish(good=False)
            raise Cancelled("nobody waits for these models any more")
        return found

    def close(self, *, good: bool) -> None:
        """Take the models back, once. `good`: the computation succeeded."""
        with self._lock:
            due = self._ready and not self._closed
            self._closed = True
        if due:
            self._finish(good=good)

    def _finish(self, *, good: bool) -> None:
        try:
            self._end(good)
        finally:
            self._turns.give_back(self._borrower)


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
