"""Stamps: file metadata. If two stamps of a file are equal, it was not modified between them."""

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

SETTLED_NS = 2 * 10**9  # file times may be as coarse as two seconds
TICK_NS = 2 * 10**7  # ctime's clock has at least this resolution


class Stamp(NamedTuple):
    """Size, times and inode of a file. Every write changes `ctime`, even if `mtime` is reset afterwards."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, facts: os.stat_result) -> "Stamp":
        """Return the stamp from a result of `stat` or `fstat`."""
        return cls(facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)

    @property
    def text(self) -> str:
        """The stamp as stored in the memo of hashes."""
        return ":".join(map(str, self))

    @property
    def settled(self) -> bool:
        """Whether any later write would change the stamp, judged from this one look.

        `mtime` may have a resolution of two seconds. It may also be in the future, set by an archive or another clock;
        then `ctime` decides, which only the system's clock sets. On Windows `ctime` is the creation time and not used.
        """
        now = time.time_ns()
        ahead = os.name == "posix" and self.mtime_ns > now and self.ctime_ns not in (self.mtime_ns, 0)
        return now - self.ctime_ns >= TICK_NS if ahead else now - self.mtime_ns >= SETTLED_NS


def settled_stamp(path: Path) -> Stamp:
    """Return a file's stamp after the clock tick of its last write has passed. Raises OSError."""
    found = Stamp.of(path.stat())
    if 0 <= time.time_ns() - found.ctime_ns < TICK_NS:
        time.sleep(TICK_NS / 1e9)
        found = Stamp.of(path.stat())
    return found


def stamp(path: Path) -> str:
    """Return the stamp of a file; for a folder, one digest without `ctime` and one of `ctime`. Raises OSError."""
    if not path.is_dir():
        return Stamp.of(path.stat()).text
    stamps = [(item.relative_to(path).as_posix(), Stamp.of(item.stat())) for item in files_of(path)]
    written = [f"{name} {found._replace(ctime_ns=0).text}\n" for name, found in stamps]
    return ":".join(_digest(lines) for lines in (written, [f"{found.ctime_ns}\n" for _, found in stamps]))


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def same_writing(one: str, other: str) -> bool:
    """Whether two stamps of a file or folder differ in `ctime` only."""
    return _without_ctime(one) == _without_ctime(other)


def _without_ctime(stamp: str) -> list[str]:
    size, *more = stamp.split(":")
    return [size] if len(more) == 1 else [size, *more[:1], *more[2:]]  # a folder's, a file's


def files_of(folder: Path) -> list[Path]:
    """Return the files of a model folder, sorted. Hidden files and folders are not part of the model."""
    visible = (item for item in folder.rglob("*") if not _hidden(item.relative_to(folder)))
    return sorted(item for item in visible if item.is_file())


def _hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)
