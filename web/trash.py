"""The trash of a folder: removed files stay in `.trash` for a day, so that a mistake can be undone."""

import contextlib
import itertools
import logging
import re
import shutil
import time
from pathlib import Path

from latentloom.web.logs import fields

log = logging.getLogger("latentloom.server")
TRASH = ".trash"
TRASH_SECONDS = 86400.0
_THROWN = re.compile(r"(\d+)-\d+-.+")  # time, counter, name


class Trash:
    """The trash of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / TRASH
        self._thrown = itertools.count()

    def take(self, path: Path) -> None:
        """Move a file to the trash. A failure is logged."""
        try:
            self._folder.mkdir(exist_ok=True)
            shutil.move(path, self._folder / f"{int(time.time())}-{next(self._thrown)}-{path.name}")
        except OSError as error:
            log.error("a file could not be moved to the trash", extra=fields(path=path, error=error))

    def empty(self, before: float) -> int:
        """Delete the files that were moved to the trash before a time. Returns their number."""
        with contextlib.suppress(OSError):
            found = [(path, match) for path in self._folder.iterdir() if (match := _THROWN.fullmatch(path.name))]
            old = [path for path, match in found if int(match[1]) < before]
            for path in old:
                path.unlink(missing_ok=True)
            return len(old)
        return 0
