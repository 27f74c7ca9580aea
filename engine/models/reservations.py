"""Who computes on the device: one call of a node at a time, in the order of asking, and what is lent to it."""

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

POLL = 0.05  # seconds between two looks at a cancel, which is an event without listeners


class _Ticket(NamedTuple):
    borrower: Borrower
    granted: Future[None]


class Turns:
    """The device goes from one borrower to the next; whoever has it may take it again, and gives it back as often.

    The lock is held for moments only, never while a node, a model's code or the device works.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: Borrower | None = None
        self._depth = 0
        self._waiting: deque[_Ticket] = deque()

    @contextmanager
    def turn(self, borrower: Borrower) -> Iterator[None]:
        """The device for the time of a with-block."""
        self.take(borrower)
        try:
            yield
        finally:
            self.give_back(borrower)

    def take(self, borrower: Borrower) -> None:
        """Wait for the device. Raises Cancelled, and waits no longer, when the borrower's run is cancelled."""
        ticket = self._ask(borrower)
        try:
            while not _happened(ticket.granted):
                borrower.check()
        except BaseException:
            self._withdraw(ticket)
            raise

    async def take_async(self, borrower: Borrower) -> None:
        """See `take`; other coroutines go on in the meantime."""
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
        """A borrower gives back what it took once; nothing, if it was made to leave before."""
        with self._lock:
            if self._holder is borrower:
                self._depth -= 1
                self._grant()

    def leave(self, borrower: Borrower) -> None:
        """A borrower is gone: it neither has the device nor waits for it."""
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
        """With nobody at it, the device goes to the first who waits, for all that this one asked."""
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
    """Models that are lent to a node: `with` in a sync node, `async with` in an async one. Good for one use."""

    def __init__(self, turns: Turns, borrower: Borrower, begin: Callable[[], Any], end: Callable[[bool], None]) -> None:
        """`begin` gets the models ready, in the borrower's turn; `end(good)` takes them back."""
        self._turns, self._borrower = turns, borrower
        self._begin, self._end = begin, end
        self._lock = threading.Lock()
        self._ready = self._closed = False

    def __enter__(self) -> Any:
        if self._borrower.asynchronous and _on_a_loop():
            raise NodeError(
                "an async node waits for models with a plain `with`, and every other async node with it",
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
        except asyncio.CancelledError:  # models that are on their way are closed when they have come
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
        """Take the models back, once; `good`: the computation ended well."""
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
