"""What a file system tells of a file without reading it: two equal stamps mean that nothing was written between."""

import hashlib
import os
import time
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
    """The stamp of a file; of a folder, that of its files. Raises OSError."""
    if not path.is_dir():
        return Stamp.of(path.stat()).text
    lines = [f"{item.relative_to(path).as_posix()} {Stamp.of(item.stat()).text}\n" for item in files_of(path)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def same_writing(one: str, other: str) -> bool:
    """Whether two stamps of a file differ in nothing but `ctime`. Those of folders tell no such thing."""
    if ":" not in one or ":" not in other:
        return one == other
    (*a, _, a_inode), (*b, _, b_inode) = one.split(":"), other.split(":")
    return (a, a_inode) == (b, b_inode)


def files_of(folder: Path) -> list[Path]:
    """The files of a model folder, in order. Hidden ones, and those in hidden folders, are no part of the model."""
    visible = (item for item in folder.rglob("*") if not _hidden(item.relative_to(folder)))
    return sorted(item for item in visible if item.is_file())


def _hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)
