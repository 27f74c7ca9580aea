"""How much memory this process took, from the operating system."""

import contextlib
import gc
import sys
from collections.abc import Iterator


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
