"""Work that goes on for as long as the server lives: whatever ends it, it is begun again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

log = logging.getLogger("latentloom.server")
PAUSE_SECONDS = 1.0
Work = Callable[[], Awaitable[None]]


def begun(tasks: Mapping[str, Work], failed: Callable[[str], None]) -> list[asyncio.Task[None]]:
    """Start one task for each piece of background work, named after it."""
    return [asyncio.create_task(kept(name, work, failed), name=name) for name, work in tasks.items()]


async def kept(name: str, work: Work, failed: Callable[[str], None]) -> None:
    """Do work until it returns or this task is cancelled; what it raises is logged, and it begins again.

    `failed` hears of each time.
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
            if times & (times - 1) == 0:  # the 1st, 2nd, 4th, ... of a row of the same: no flood while a disk is full
                log.error("background work of the server starts again: %s (%d times)", name, times, exc_info=True)
            failed(name)
            pause = PAUSE_SECONDS


def stray(error: BaseException) -> bool:
    """Whether it is a fault, and not the wish that this task or this process should end.

    A CancelledError that nobody sent to this task came out of something that it waited for.
    """
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and not task.cancelling()
    return not isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)
