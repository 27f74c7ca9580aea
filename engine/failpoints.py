"""Failpoints: named places in the code where a test can inject a failure: LATENTLOOM_FAILPOINT=name:action."""

import errno
import os
import signal

POINTS = (
    "cache.blob.opened",
    "cache.blob.written",
    "cache.blob.renamed",
    "cache.index.opened",
    "cache.index.written",
    "cache.index.committed",
    "cache.kept.written",
    "cache.kept.renamed",
    "save.claimed",
    "save.written",
    "save.renamed",
    "queue.written",
    "queue.committed",
    "effect.intended",
    "effect.placing",
    "effect.placed",
    "effect.done",
    "batch.fed",
)
ACTIONS = ("kill", "enospc", "readonly")


def failpoint(name: str) -> None:
    """Do nothing, unless the environment names this failpoint: then kill this process or raise an OSError."""
    wanted, _, action = os.environ.get("LATENTLOOM_FAILPOINT", "").partition(":")
    if wanted != name:
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    code = errno.ENOSPC if action == "enospc" else errno.EROFS
    raise OSError(code, os.strerror(code), name)
