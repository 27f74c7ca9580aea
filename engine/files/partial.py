"""Partial files: written under a temporary name and renamed when complete."""

import itertools
import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

_counter = itertools.count()
_NAME = re.compile(r"\.partial-(?P<host>.+)-(?P<pid>\d+)-\d+\Z")


def partial_path(folder: Path) -> Path:
    """Return a new name in a folder for a file that this process writes."""
    return folder / f".partial-{platform.node() or 'host'}-{os.getpid()}-{next(_counter)}"


def sweep(folders: Iterable[Path]) -> int:
    """Remove the partial files of ended processes of this machine. Returns the number of files."""
    removed = 0
    for folder in folders:
        names = os.listdir(folder) if folder.is_dir() else ()  # noqa: PTH208 - fast for folders with many files
        for path in (folder / name for name in names if name.startswith(".partial-")):
            match = _NAME.match(path.name)
            if match and match["host"] == (platform.node() or "host") and not _alive(int(match["pid"])):
                path.unlink(missing_ok=True)
                removed += 1
    return removed


def sync_file(path: Path) -> None:
    """Sync the content of a file to disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to disk, if the system supports it."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _alive(pid: int) -> bool:
    if os.name == "nt":
        return True  # signal 0 would end the process there; old partial files are kept
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
