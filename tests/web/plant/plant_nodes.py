"""Nodes for tests of the server: they write down that they ran, wait, misbehave, and save."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from latentloom.engine import Context, Image, node
from latentloom.plugins import hookimpl


def _note(journal: str, tag: str) -> None:
    with Path(journal).open("a", encoding="utf-8") as file:
        file.write(f"{tag}\n")


@node("Note", category="plant")
def note(journal: str, tag: str, after: str = "", seconds: float = 0.0) -> str:
    """Write a tag down, then take so long that the result is worth keeping."""
    _note(journal, tag)
    time.sleep(seconds)
    return tag


@node("Steps", category="plant")
def steps(ctx: Context, steps: int = 10, pause: float = 0.05, after: str = "", until: str = "") -> int:
    """Report steps and listen to cancels; with `until`, at least until that file is there."""
    step = 0
    while step < steps or (until and not Path(until).exists()):
        step += 1
        ctx.progress(min(step, steps), steps, preview=lambda: Image(np.full((1, 8, 8, 3), 0.5, np.float32)))
        time.sleep(pause)
    return steps


@node("Keep", category="plant")
def keep(ctx: Context, journal: str, steps: int = 6, dies_after: int = 3) -> int:
    """Keep how far it is at every step; the process dies once."""
    for step in range(int(ctx.kept() or b"0"), steps):
        _note(journal, f"step {step}")
        ctx.keep(str(step + 1).encode())
        if step == dies_after:
            os._exit(9)
    return steps


@node("Compute", category="plant", device=True)
def compute(ctx: Context, journal: str, tag: str, steps: int = 1, pause: float = 0.05) -> str:
    """Be a node that computes on the device."""
    _note(journal, f"{tag} begins")
    for step in range(steps):
        ctx.progress(step + 1, steps)
        time.sleep(pause)
    _note(journal, f"{tag} ends")
    return tag


@node("Stubborn", category="plant")
def stubborn(seconds: float = 60.0) -> int:
    """Listen to nobody."""
    time.sleep(seconds)
    return 0


@node("Die", category="plant", purity="nondeterministic")
def die(journal: str, times: int = 100, way: str = "segv", after: str = "") -> int:
    """Take the worker down, so many times."""
    _note(journal, "die")
    if len(Path(journal).read_text(encoding="utf-8").splitlines()) > times:
        return 0
    if way == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    os._exit(7)


@node("Greedy", category="plant")
def greedy() -> int:
    """Ask for more memory than there is."""
    return int(np.ones(2**55)[0])


@node("Curse", category="plant")
def curse(ctx: Context) -> int:
    """Warn and fail with half a surrogate pair."""
    ctx.warn("curse", "\ud800")
    raise ValueError("\udfff\0")


@node("Flood", category="plant", purity="nondeterministic")
def flood(ctx: Context, lines: int = 100_000) -> int:
    """Print and report without end."""
    for n in range(lines):
        print("x" * 200)
        ctx.progress(n + 1, lines)
        ctx.warn("flood", "again")
    return lines


@node("Save", category="plant", purity="sink")
def save(ctx: Context, text: str, name: str = "note") -> str:
    """Save a text."""
    return ctx.save("text", text, name)


@node("SavePicture", category="plant", purity="sink")
def save_picture(ctx: Context, level: float = 0.5, count: int = 1, size: int = 128) -> int:
    """Save pictures."""
    for n in range(count):
        ctx.save("image", np.full((size, size, 3), level, np.float32), "plant", item=n)
    ctx.log.debug("%d pictures", count)
    return count


@node("Picture", category="plant")
def picture(level: float = 0.5) -> Image:
    """Make a picture."""
    return Image(np.full((1, 8, 8, 3), level, np.float32))


@node("Mail", category="plant", purity="sink")
def mail(journal: str, way: str = "die") -> int:
    """Have an effect that nobody can take back, and perhaps take the worker down."""
    _note(journal, "mail")
    if way == "die":
        os._exit(7)
    return 0


@node("Exit", category="plant")
def leave() -> int:
    """End the process as a program does."""
    raise SystemExit(3)


@node("Long", category="plant")
def long(characters: int = 10) -> str:
    """Give a long text."""
    return "x" * characters


def read_plant(data: bytes):
    """Read a file that begins with PLANT; others have a report that no JSON holds, or raise."""
    reports = {b"NAN": float("nan"), b"SET": {1}, b"DEEP": _deep()}
    if data == b"EXIT":
        raise SystemExit(3)
    if data == b"STOP":
        raise KeyboardInterrupt
    if data in reports:
        return {"format": "latentloom/1", "nodes": {}}, reports[data]
    if not data.startswith(b"PLANT"):
        return None
    return {"format": "latentloom/1", "nodes": {"p": {"type": "plant/Picture", "version": 1, "inputs": {}}}}, "a leaf"


def _deep():
    found = []
    for _ in range(100_000):
        found = [found]
    return found


@hookimpl
def register(registry):
    registry.importer("plant", read_plant)
    registry.node(note, steps, compute, stubborn, die, greedy, curse, flood, save, save_picture, picture, mail)
    registry.node(leave, long, keep)
