"""How much memory this process took, from the operating system."""

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Keep the garbage collector still while many small objects are made that stay: it would look at all of them
    again and again. Not for code that may leave large values behind in circles.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def peak_bytes() -> int:
    """The largest resident size that this process ever had; 0 where the system does not say."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_bytes() -> int:
    """The memory that this process holds now; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, AttributeError, ValueError):
        return 0


def machine_bytes() -> int:
    """The memory that this process may use: the machine's, or its container's; 0 where the system does not say."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):
        return 0
    return min([physical, *_group_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])


def _group_limits(membership: Path, root: Path) -> Iterator[int]:
    """The limits of the control groups that a process is in, and of those around them (Linux, version 2 and 1)."""
    with contextlib.suppress(OSError):
        for line in membership.read_text(encoding="ascii", errors="replace").splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers in ("", "memory"):
                base, name = (root / controllers, "memory.limit_in_bytes") if controllers else (root, "memory.max")
                for folder in (base / group.lstrip("/"), *(base / group.lstrip("/")).parents):
                    if folder.is_relative_to(base):
                        yield from _number(folder / name)


def _number(path: Path) -> Iterator[int]:
    with contextlib.suppress(OSError, ValueError):  # "max", or no such group in this container
        yield int(path.read_text(encoding="ascii"))
