"""Turns on an accelerator: one process per data folder at a time uses it, for all runs of its session."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from latentloom.engine.files.lock import LOOK_SECONDS, device_turn, waited_in_vain
from latentloom.engine.jobs.serving import DeviceTaken, serving_in


class DeviceTurns:
    """The turns of one session. A device is held while at least one of its runs needs it."""

    def __init__(self, data: Path, tell: Callable[[str], None]) -> None:
        """`tell` is called with a message if the session must wait for another process."""
        self._data = data
        self._tell = tell
        self._mutex = threading.Lock()
        self._runs = 0
        self._held = ExitStack()

    @contextmanager
    def of(self, device: str, stop: threading.Event) -> Iterator[None]:
        """Hold a device for the duration of a with-block, after waiting for other processes.

        Raises DeviceTaken if a server uses it, and Cancelled if `stop` is set while waiting.
        """
        while not self._mutex.acquire(timeout=LOOK_SECONDS):  # another run of the same process holds it while it waits
            if stop.is_set():
                raise waited_in_vain(device)
        try:
            if self._runs == 0:
                self._held.enter_context(device_turn(self._data, device, lambda: self._wait(device), stop))
            self._runs += 1
        finally:
            self._mutex.release()
        try:
            yield
        finally:
            with self._mutex:
                self._runs -= 1
                if self._runs == 0:
                    self._held.pop_all().close()

    def _wait(self, device: str) -> None:
        serving = serving_in(self._data)
        if serving is not None and device in serving.devices:
            raise DeviceTaken(
                f"the server at {serving.address} uses {device}",
                hint="send it the job (`loom submit`, latentloom.api.Client), stop it, or choose another device",
            )
        self._tell(f"another process uses {device}: waiting until it is free")
