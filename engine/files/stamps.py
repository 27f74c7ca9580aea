"""What a file system tells of a file without reading it: two equal stamps mean that nothing was written between."""

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

SETTLED_NS = 2 * 10**9  # file times may be as coarse as two seconds
TICK_NS = 2 * 10**7  # what the system stamps ctime with moves at least this often


class Stamp(NamedTuple):
    """Size, times and inode of one file. `ctime` moves with every write, whatever sets `mtime` back afterwards."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, facts: os.stat_result) -> "Stamp":
        """The stamp in a `stat` or `fstat`."""
        return cls(facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)

    @property
    def text(self) -> str:
        """The stamp as the memo of hashes keeps it."""
        return ":".join(map(str, self))

    @property
    def settled(self) -> bool:
        """Whether a write from now on would give another stamp, as far as one look can tell.

        `mtime` may be as coarse as two seconds. It may also be ahead, of an archive's or another clock's making; then
        `ctime` tells, which only the system's own clock sets. On Windows that is the time of creation.
        """
        now = time.time_ns()
        ahead = os.name == "posix" and self.mtime_ns > now and self.ctime_ns not in (self.mtime_ns, 0)
        return now - self.ctime_ns >= TICK_NS if ahead else now - self.mtime_ns >= SETTLED_NS


def settled_stamp(path: Path) -> Stamp:
    """A file's stamp, taken once the clock's tick that it was written in is over. Raises OSError."""
    found = Stamp.of(path.stat())
    if 0 <= time.time_ns() - found.ctime_ns < TICK_NS:
        time.sleep(TICK_NS / 1e9)
        found = Stamp.of(path.stat())
    return found


def stamp(path: Path) -> str:
    """The stamp of a file; of a folder, one of its files' `ctime`s and one of all else. Raises OSError."""
    if not path.is_dir():
        return Stamp.of(path.stat()).text
    stamps = [(item.relative_to(path).as_posix(), Stamp.of(item.stat())) for item in files_of(path)]
    written = [f"{name} {found._replace(ctime_ns=0).text}\n" for name, found in stamps]
    return ":".join(_digest(lines) for lines in (written, [f"{found.ctime_ns}\n" for _, found in stamps]))


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def same_writing(one: str, other: str) -> bool:
    """Whether two stamps of a file or folder differ in nothing but `ctime`."""
    return _without_ctime(one) == _without_ctime(other)


def _without_ctime(stamp: str) -> list[str]:
    size, *more = stamp.split(":")
    return [size] if len(more) == 1 else [size, *more[:1], *more[2:]]  # of a folder, and of a file


def files_of(folder: Path) -> list[Path]:
    """The files of a model folder, in order. Hidden ones, and those in hidden folders, are no part of the model."""
    visible = (item for item in folder.rglob("*") if not _hidden(item.relative_to(folder)))
    return sorted(item for item in visible if item.is_file())


def _hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)
