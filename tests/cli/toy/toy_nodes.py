"""Small nodes for the tests of the command line: no model, no picture library."""

import ctypes
import sys
import threading
import time
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from latentloom.engine import Context, Image, InputFile, Seed, node
from latentloom.plugins import hookimpl


@node("Text", category="text")
def text(text: str = "hello", loud: bool = False) -> str:
    """Give a text, louder if wanted."""
    return text.upper() if loud else text


@node("Words", category="text", deprecated="use toy/Text")
def words(text: str = "hello") -> str:
    """Give a text."""
    return text


@node("Numbers", category="numbers")
def numbers(
    count: Annotated[int, Field(ge=0, le=100, description="How many.")] = 3,
    ratio: Annotated[float, Field(ge=0, le=1)] = 0.5,
    mode: Literal["up", "down"] = "up",
    seed: Seed = 0,
) -> str:
    """Give the inputs as text."""
    return f"{count} {ratio} {mode} {seed}"


@node("Join", category="text")
def join(names: list[str], glue: str | None = None, width: int | None = None) -> str:
    """Put texts together."""
    return (glue or "+").join(names).rjust(width or 0)


@node("Hold", category="text")
def hold(seconds: float = 600.0) -> str:
    """Say so on stderr, then be C code that keeps the interpreter to itself."""
    print("begun", file=sys.stderr, flush=True)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ctypes.PyDLL(None).sleep(int(seconds))
    return ""


@node("Steps", category="text")
def steps(ctx: Context, text: str = "a", steps: int = 3, pause: float = 0.0) -> str:
    """Say so on stderr, then report steps, pausing before each."""
    print("begun", file=sys.stderr, flush=True)
    for n in range(steps):
        threading.Event().wait(pause)
        ctx.progress(n + 1, steps)
    return text


@node("Fail", category="text")
def fail(text: str = "") -> str:
    """Raise."""
    raise ValueError(f"no luck with {text!r}")


@node("Shout", category="text", purity="sink")
def shout(text: str) -> str:
    """Print to stdout, as a careless plugin does."""
    print(text)
    return text


@node("Read", category="files")
def read(file: InputFile) -> str:
    """Give the sha256 of a file."""
    return file.sha256


@node("Paint", category="image")
def paint(seed: Seed = 0, width: int = 8, height: int = 4) -> Image:
    """Draw noise."""
    return Image(np.random.default_rng(seed).random((1, height, width, 3), dtype=np.float32))


@node("Drift", category="image")
def drift(width: int = 8) -> Image:
    """Draw other noise every time, though it claims to be pure."""
    return Image(np.random.default_rng().random((1, 4, width, 3), dtype=np.float32))


@node("Save", category="image", purity="sink")
def save(ctx: Context, image: Image) -> None:
    """Save every picture."""
    for n, pixels in enumerate(image.numpy()):
        ctx.save("image", pixels, "{name}", item=n)


@hookimpl
def register(registry):
    """Hand the nodes over."""
    registry.node(text, numbers, join, hold, steps, fail, shout, read, paint, drift, save, words)
