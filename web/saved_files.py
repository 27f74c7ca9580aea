"""The files saved by jobs. The server serves and removes a file only if it is unchanged since it was saved."""

import contextlib
import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from latentloom.engine.errors import LoomError
from latentloom.engine.files.catalog import safe_join
from latentloom.engine.files.stamps import SETTLED_NS
from latentloom.engine.jobs.outputs import Output
from latentloom.web.trash import Trash

REMEMBERED = 10_000


class SavedFiles:
    """The files of the database in the output folder, their thumbnails.

    A user may remove, replace or change a file at any time. A changed file is neither served nor removed in place of
    the saved one.
    """

    def __init__(self, output: Path, thumbnails: Path) -> None:
        self._output = output
        self._thumbnails = thumbnails
        self.trash = Trash(output)
        self._known: OrderedDict[tuple[str, tuple[int, ...]], str] = OrderedDict()
        self._lock = threading.Lock()

    def thumbnail(self, sha256: str) -> Path:
        """Return the path of the thumbnail for a sha256."""
        return self._thumbnails / sha256[:2] / f"{sha256}.webp"

    def intact(self, outputs: Iterable[Output]) -> Path | None:
        """Return the first file whose size and sha256 are unchanged, or None. Reads files."""
        return next((path for output in outputs if (path := self._intact(output)) is not None), None)

    def remove(self, outputs: Iterable[Output]) -> None:
        """Move files to the trash, where they stay for a day, and remove their thumbnails.

        A file that has changed since it was saved is not moved.
        """
        for output in outputs:
            path = self._intact(output)
            if path is not None:
                self.trash.take(path)
            with contextlib.suppress(OSError):
                self.thumbnail(output.sha256).unlink(missing_ok=True)

    def _intact(self, output: Output) -> Path | None:
        with contextlib.suppress(LoomError, OSError):
            path = safe_join(self._output, output.path)
            facts = path.stat()
            if facts.st_size == output.bytes and self._sha256(path, facts) == output.sha256:
                return path
        return None

    def _sha256(self, path: Path, facts: os.stat_result) -> str:
        """Return a file's sha256, cached while its inode, size and times are unchanged."""
        key = (str(path), (facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns))
        known = self._known.get(key)
        if known is not None:
            return known
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time_ns() - max(facts.st_mtime_ns, facts.st_ctime_ns) > SETTLED_NS:
            self._remember(key, found)
        return found

    def _remember(self, key: tuple[str, tuple[int, ...]], sha256: str) -> None:
        with self._lock:
            self._known[key] = sha256
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
