"""Nodes that leave children behind, and stop by themselves, for tests of a worker's life."""

import os
import signal
import subprocess
import time
from pathlib import Path

from latentloom.engine import Context, Model, node
from latentloom.engine.errors import Cancelled
from latentloom.plugins import hookimpl


def _note(journal: str, text: str) -> None:
    with Path(journal).open("a", encoding="utf-8") as file:
        file.write(f"{text}\n")


@node("Orphan", category="wild", purity="nondeterministic")
def orphan(journal: str, way: str = "fork", times: int = 1) -> int:
    """Leave a child behind that lives for ever, and die, so many times."""
    if len(Path(journal).read_text(encoding="utf-8").splitlines() if Path(journal).exists() else ()) >= times:
        return 0
    if way == "fork":
        child = os.fork()
        while child == 0:
            time.sleep(1000)
    else:
        child = subprocess.Popen(["sleep", "100000"]).pid
    _note(journal, str(child))
    os.kill(os.getpid(), signal.SIGSEGV)
    return 0


@node("GiveUp", category="wild", purity="nondeterministic")
def give_up(journal: str) -> int:
    """Raise what a cancelled run raises."""
    _note(journal, "gave up")
    raise Cancelled("no")


_shortages = 0


@node("RunShort", category="wild", purity="nondeterministic", device=True)
def run_short(ctx: Context, model: Model, times: int) -> int:
    """Run out of memory so many times over a loaded model, in all of this process's runs together."""
    global _shortages
    with ctx.load(model):
        _shortages += 1
        if _shortages % (times + 1):
            raise MemoryError("too large")
    return 0


@node("Occupy", category="wild", purity="nondeterministic")
def occupy(ctx: Context, until: str) -> int:
    """Be at work until a file is there; needs no device."""
    while not Path(until).exists():
        ctx.progress(0, 1)
        time.sleep(0.02)
    return 0


@node("OccupyDevice", category="wild", purity="nondeterministic", device=True)
def occupy_device(ctx: Context, until: str) -> int:
    """The same on the device."""
    return occupy(ctx, until)


@hookimpl
def register(registry):
    registry.node(orphan, give_up, run_short, occupy, occupy_device)
