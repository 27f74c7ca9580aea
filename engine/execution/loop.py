"""The event loop for async nodes. It runs in its own thread."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

PATIENCE = 5.0  # seconds that cancelled bodies get for cleanup


class Loop:
    """An event loop in a thread that starts with the first body."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self, body: Coroutine[Any, Any, Any], then: Callable[[Future[Any]], None]) -> None:
        """Run a body. `then` is called in the loop's thread when the body has ended."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="latentloom-async", daemon=True)
            self._thread.start()
        asyncio.run_coroutine_threadsafe(body, self._loop).add_done_callback(then)

    def close(self) -> None:
        """Cancel all bodies, wait up to PATIENCE seconds for their cleanup, and end the thread."""
        if self._loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(_end_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None


async def _end_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=PATIENCE)
