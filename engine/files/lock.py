"""File locks of a process. The operating system releases them when the process dies, for any reason."""

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from latentloom.engine.errors import Cancelled

LOOK_SECONDS = 0.2


class Lock:
    """An exclusively locked file. Its text contains information about the process that holds it."""

    def __init__(self, path: Path) -> None:
        """Raises BlockingIOError if another process holds it."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(self._file)
        except OSError:
            os.close(self._file)
            raise BlockingIOError(f"{path} is held") from None
        os.ftruncate(self._file, 0)

    def write(self, text: str) -> None:
        """Replace the text."""
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)  # Windows has no pwrite
        os.write(self._file, text.encode())

    def close(self) -> None:
        """Release the lock."""
        os.close(self._file)


def text_of_holder(path: Path) -> str | None:
    """Return the text of the process that holds a lock; None if it is not held or has no text yet."""
    try:
        text = path.read_text(encoding="utf-8")
        if text:
            Lock(path).close()
    except BlockingIOError:
        return text
    except OSError:
        pass
    return None


@contextmanager
def device_turn(folder: Path, device: str, wait: Callable[[], None], stop: threading.Event) -> Iterator[None]:
    """Hold a device's lock for the duration of a with-block. `wait` is called once if another process holds it.

    Raises Cancelled if `stop` is set while waiting.
    """
    path, told = folder / f"device-{re.sub(r'[^a-z0-9]', '-', device)}.lock", False
    while True:
        try:
            lock = Lock(path)
            break
        except BlockingIOError:
            pass
        if not told:
            told = True
            wait()
        if stop.wait(LOOK_SECONDS):
            raise waited_in_vain(device)
    try:
        yield
    finally:
        lock.close()


def waited_in_vain(device: str) -> Cancelled:
    """Return the error for a run that is cancelled while it waits for its device."""
    return Cancelled(f"the run was cancelled while it waited for {device}")


def _lock(file: int) -> None:
    if os.name == "nt":
        import msvcrt

        os.lseek(file, 2**30, os.SEEK_SET)  # beyond the text, which others may read
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
