"""What notebooks show: the pictures and facts of a result, and the progress of a run with previews.

Needs IPython only to update what is shown while a run continues, and for lists.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from html import escape
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from latentloom.engine.events import (
    NodeCached,
    NodeFailed,
    NodeFinished,
    NodePreview,
    NodeProgress,
    NodeStarted,
    RunEvent,
)
from latentloom.engine.files.picture_html import MOST, picture_html, pictures_html

if TYPE_CHECKING:
    from PIL import Image as Pil

UPDATE_SECONDS = 0.2
MOST_ITEMS = 100  # of a list
Show = Callable[[str], None]


class Shown(Protocol):
    """A run with its events."""

    def __iter__(self) -> Iterator[RunEvent]:
        """Yield the events until the run ends."""

    def cancel(self) -> None:
        """Stop the run at its next step."""

    def _repr_html_(self) -> str:
        """Return the result, or raise the error of the run."""


class Pictures(list["Pil.Image"]):
    """PIL images that a notebook shows side by side."""

    def _repr_html_(self) -> str:
        return pictures_html(self)


def result_html(
    pictures: "Iterable[Pil.Image]", outputs: dict[str, Any], files: Iterable[object], seconds: float
) -> str:
    """Return pictures, then the outputs that are texts or numbers, the paths of files and the time."""
    plain = {name: value for name, value in outputs.items() if isinstance(value, bool | int | float | str)}
    lines = [f"{name}: {value}" for name, value in plain.items()] + [str(file) for file in islice(files, MOST)]
    text = "".join(f"<div>{escape(line)}</div>" for line in (*lines, f"{seconds:.3g} s"))
    return f"{pictures_html(pictures)}<small>{text}</small>"


class Progress:
    """The progress of a run as HTML: what is done, a bar for each running node, and the newest preview."""

    def __init__(self) -> None:
        self._done = 0
        self._bars: dict[str, tuple[int, int]] = {}
        self._preview = ""

    def __call__(self, event: RunEvent) -> None:
        """Process an event."""
        if isinstance(event, NodeStarted):
            self._bars[event.node] = (0, 0)
        elif isinstance(event, NodeProgress):
            self._bars[event.node or event.message] = (event.step, event.total)
        elif isinstance(event, NodePreview):
            self._preview = "".join(picture_html(picture) for picture in event.image.pictures()[:1])
        elif isinstance(event, NodeCached | NodeFinished | NodeFailed):
            self._bars.pop(event.node, None)
            self._done += 1

    def html(self) -> str:
        """Return the progress so far."""
        bars = "".join(self._bar(name, *steps) for name, steps in self._bars.items())
        return f"<div>{self._done} nodes done</div>{bars}<div>{self._preview}</div>"

    def _bar(self, name: str, step: int, total: int) -> str:
        known = f' value="{step}" max="{total}"' if total else ""
        count = f" {step} of {total}" if total else ""
        return f"<div><progress{known}></progress> {escape(name)}{count}</div>"


def follow(running: Shown, show: Show, clock: Callable[[], float] = time.monotonic) -> None:
    """Show the progress of a run until it ends, then its result. An interrupt cancels the run.

    Raises the error of the node that failed, or Cancelled.
    """
    progress, due = Progress(), 0.0
    try:
        for event in running:
            progress(event)
            if clock() >= due:
                show(progress.html())
                due = clock() + UPDATE_SECONDS
    except KeyboardInterrupt:
        running.cancel()
        raise
    show(progress.html())
    show(running._repr_html_())


def display_running(running: Shown) -> None:
    """Show a run in the notebook whose cell is executed."""
    tools = import_module("IPython.display")
    handle = tools.display(tools.HTML(""), display_id=True)
    follow(running, lambda html: handle.update(tools.HTML(html)))


# Lists


def list_html(items: "list[Any] | tuple[Any, ...]") -> str | None:
    """Return a list of results, images or runs as HTML; None for any other list."""
    if isinstance(items, Pictures):
        return items._repr_html_()
    own = [getattr(item, "_repr_html_", None) for item in items[:MOST_ITEMS] if _is_own(item)]
    if not items or len(own) != len(items[:MOST_ITEMS]):
        return None
    left = len(items) - len(own)
    return "".join(act() for act in own if act is not None) + (f"<div>and {left} more</div>" if left else "")


def _is_own(item: Any) -> bool:
    return type(item).__module__.startswith("latentloom.") and hasattr(item, "_repr_html_")


def show_lists() -> None:
    """Let the notebook that this program runs in, if any, show lists by `list_html`."""
    if "IPython" not in sys.modules:
        return
    with contextlib.suppress(AttributeError):  # no shell, or one without formatters
        formatter = import_module("IPython").get_ipython().display_formatter.formatters["text/html"]
        for kind in (list, tuple):
            formatter.for_type(kind, list_html)
