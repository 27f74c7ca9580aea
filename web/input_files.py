"""The pictures that workflows use, in the input folder: removal, and retention of those that were uploaded."""

import contextlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from pathlib import Path

from latentloom.engine.files.catalog import safe_join
from latentloom.web.http_errors import NotFound
from latentloom.web.trash import Trash

log = logging.getLogger("latentloom.server")
REMEMBERED = 10_000
STORED_SECONDS = 3600.0  # a client has this long between an upload and the job that uses it


class InputFiles:
    """The input folder of a server."""

    def __init__(self, folder: Path, keep_seconds: float | None, clock: Callable[[], float] = time.time) -> None:
        """`keep_seconds`: how long uploaded pictures are kept that nothing names; None: without a limit."""
        self._folder = folder
        self._keep = keep_seconds
        self._clock = clock
        self._stored: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()
        self.trash = Trash(folder)

    def stored(self, name: str) -> None:
        """Note that a client has just stored this file, perhaps again. Called in any thread."""
        with self._lock:
            self._stored[name] = self._clock()
            self._stored.move_to_end(name)
            while len(self._stored) > REMEMBERED:
                self._stored.popitem(last=False)

    def remove(self, name: str) -> None:
        """Move a file to the trash. Raises NotFound, PathError."""
        path = safe_join(self._folder, name)
        if not path.is_file():
            raise NotFound(f"there is no picture '{name}' in the input folder")
        self.trash.take(path)

    def old(self) -> list[str]:
        """Return the names of the uploaded files that are older than the limit."""
        if self._keep is None:
            return []
        limit = self._clock() - self._keep
        places = ("by-hash/??/*", "by-owner/*/by-hash/??/*")
        found = (path for place in places for path in self._folder.glob(place))
        return [self._name(path) for path in found if _modified(path) < limit]

    def remove_unnamed(self, old: Collection[str], named: Collection[str]) -> int:
        """Move those old files to the trash that no document names. Returns their number."""
        recent = self._clock() - STORED_SECONDS
        gone = [name for name in old if name not in named and self._stored.get(name, 0.0) < recent]
        for name in gone:
            with contextlib.suppress(NotFound):
                self.remove(name)
        if gone:
            log.info("%d uploaded pictures were removed", len(gone))
        return len(gone)

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()


def _modified(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return float("inf")
