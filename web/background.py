"""Background tasks that run as long as the server and are restarted after any failure."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

log = logging.getLogger("latentloom.server")
PAUSE_SECONDS = 1.0
Work = Callable[[], Awaitable[None]]


def begun(tasks: Mapping[str, Work], failed: Callable[[str], None]) -> list[asyncio.Task[None]]:
    """Start a named task for each background work."""
    return [asyncio.create_task(kept(name, work, failed), name=name) for name, work in tasks.items()]


async def kept(name: str, work: Work, failed: Callable[[str], None]) -> None:
    """Do work until it returns or this task is cancelled. Exceptions are logged, and the work is restarted.

    `failed` is called each time.
    """
    pause, last, times = 0.0, "", 0
    while True:
        try:
            await asyncio.sleep(pause)
            return await work()
        except BaseException as error:
            if not stray(error):
                raise
            text = f"{type(error).__name__}: {error}"
            times = times + 1 if text == last else 1
            last = text
            if times & (times - 1) == 0:  # the 1st, 2nd, 4th, ... of the same error: no flood in the log
                log.error("background work of the server starts again: %s (%d times)", name, times, exc_info=True)
            failed(name)
            pause = PAUSE_SECONDS


def stray(error: BaseException) -> bool:
    """Whether an exception is a fault, not a request to end this task or process.

    A CancelledError is a fault if this task was not cancelled: it comes from something that the task awaited.
    """
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and not task.cancelling()
    return not isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)
