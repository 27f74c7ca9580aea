"""Memory figures of this process and machine, from the operating system."""

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

DEFAULTS = (700, 2000)  # Python's first threshold, by version
RARE = (10_000, 20, 20)
SHORT_SECONDS = 0.001


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Disable the garbage collector while many small long-lived objects are created, which it would scan repeatedly.

    Do not use it for code that may create reference cycles with large values.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def collect_rarely() -> None:
    """Raise the thresholds of the garbage collector, unless the program set its own.

    A run creates many small objects that live until its end; the default thresholds scan them repeatedly. Models that
    are evicted are collected explicitly.
    """
    if gc.get_threshold()[0] in DEFAULTS:
        gc.set_threshold(*RARE)


def peak_bytes() -> int:
    """Return the peak resident size of this process in bytes; 0 if unknown."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class PeakGrowth:
    """By how much the process's peak memory grew. It is not read for short calls, as that would cost as much."""

    def __init__(self) -> None:
        self._peak = peak_bytes()

    def after(self, seconds: float) -> int:
        """Return by how much the peak grew, in bytes, since it was last read, after a call of that many seconds."""
        if seconds < SHORT_SECONDS:
            return 0
        before, self._peak = self._peak, peak_bytes()
        return max(0, self._peak - before)


def resident_bytes() -> int:
    """Return the resident size of this process in bytes; 0 if unknown."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, AttributeError, ValueError):
        return 0


def machine_bytes() -> int:
    """Return the memory of the machine, or the limit of the container if it is lower, in bytes; 0 if unknown."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):
        return 0
    return min([physical, *_group_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])


def _group_limits(membership: Path, root: Path) -> Iterator[int]:
    """Yield the memory limits of a process's control groups and of their parents (Linux, version 2 and 1)."""
    with contextlib.suppress(OSError):
        for line in membership.read_text(encoding="ascii", errors="replace").splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers in ("", "memory"):
                base, name = (root / controllers, "memory.limit_in_bytes") if controllers else (root, "memory.max")
                for folder in (base / group.lstrip("/"), *(base / group.lstrip("/")).parents):
                    if folder.is_relative_to(base):
                        yield from _number(folder / name)


def _number(path: Path) -> Iterator[int]:
    with contextlib.suppress(OSError, ValueError):  # "max", or the group is not visible in this container
        yield int(path.read_text(encoding="ascii"))
