"""Shows the progress of a run on stderr: bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, Self

from latentloom.cli.errors import plain, say
from latentloom.engine.events import (
    Event,
    NodeCached,
    NodeFailed,
    NodeFinished,
    NodeProgress,
    NodeStarted,
    NodeWarning,
    RunFinished,
    event_of,
)

if TYPE_CHECKING:
    from rich.progress import Progress, Task

LINE_SECONDS = 2.0  # minimum time between plain lines of a node
FLUSH_SECONDS = 0.1  # minimum time between redraws: a redraw for each line would cost more than cheap nodes


class Display(AbstractContextManager[Any], Protocol):
    """Shows events."""

    def __call__(self, event: Event) -> None:
        """Show one event."""


class Meter:
    """Measures the seconds per step of each node from the times of its progress events."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._begun: dict[str, tuple[int, float]] = {}
        self._last: dict[str, tuple[int, float]] = {}

    def __call__(self, event: Event) -> None:
        """Process an event, in the thread of the run."""
        if isinstance(event, NodeStarted):
            self._begun[event.node] = (0, self._clock())
        elif isinstance(event, NodeProgress) and event.node:
            now = (event.step, self._clock())
            last = self._last.get(event.node)
            if (last is None and event.total > 1) or (last is not None and event.step < last[0]):
                self._begun[event.node] = now  # the first step may include loading a model; a step back restarts
            self._last[event.node] = now

    def steps(self, node: str) -> int:
        """Return the current step of a node, 0 if it reports no progress."""
        return self._last.get(node, (0, 0.0))[0]

    def seconds(self, node: str) -> float | None:
        """Return the seconds per step so far; None until two times are known."""
        first, last = self._begun.get(node), self._last.get(node)
        if first is None or last is None or last[0] <= first[0]:
            return None
        return (last[1] - first[1]) / (last[0] - first[0])

    def slowest(self) -> str | None:
        """Return the node that spent most time in steps, usually the sampler; or None."""
        spent = {node: self._last[node][1] - self._begun[node][1] for node in self._last if node in self._begun}
        known = {node: seconds for node, seconds in spent.items() if self.seconds(node) is not None}
        return max(known, key=lambda node: known[node], default=None)


def pace(seconds: float | None) -> str:
    """Return seconds per step as text."""
    return "" if seconds is None else f"{seconds:.3g} s/step"


def line_of(event: Event) -> str | None:
    """Return the permanent line for an event, or None."""
    if isinstance(event, NodeFinished):
        return f"{event.node}: {event.type}, {event.seconds:.3g} s"
    if isinstance(event, NodeCached):
        return f"{event.node}: {event.type}, cached"
    if isinstance(event, NodeFailed):
        return f"{event.node}: {event.type}, failed"
    if isinstance(event, NodeWarning):
        return f"warning: {event.node}: {event.message}" if event.node else f"warning: {event.message}"
    return None


class Warnings:
    """Shows only warnings."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __call__(self, event: Event) -> None:
        """Show a warning."""
        if isinstance(event, NodeWarning):
            say(str(line_of(event)))


class Lines(Warnings):
    """Plain lines, for files and pipes."""

    def __init__(self, meter: Meter, clock: Callable[[], float] = time.monotonic) -> None:
        self._meter = meter
        self._clock = clock
        self._next: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Show one event. Progress of a node is shown at most every two seconds."""
        text = line_of(event)
        if isinstance(event, NodeProgress):
            now = self._clock()
            if now < self._next.setdefault(event.node, now + LINE_SECONDS):
                return
            self._next[event.node] = now + LINE_SECONDS
            text = f"{event.node or event.message}: {event.step}/{event.total} {pace(self._meter.seconds(event.node))}"
        if text is not None:
            say(text.rstrip())


class Bars:
    """A progress bar for each running node, and a line above the bars for each finished node."""

    def __init__(self, meter: Meter, clock: Callable[[], float] = time.monotonic) -> None:
        self._meter = meter
        self._clock = clock
        self._progress = _bars()
        self._tasks: dict[str, Task] = {}
        self._free: list[Task] = []  # reused, because rich redraws for each added or removed task
        self._lines: list[str] = []
        self._next = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._flush()
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        text = line_of(event)
        if text is not None:
            self._lines.append(plain(text))
        if isinstance(event, NodeStarted):
            self._tasks[event.node] = self._task(event.node)
        elif isinstance(event, NodeProgress):
            self._step(event)
        elif isinstance(event, NodeFinished | NodeFailed) and event.node in self._tasks:
            self._tasks[event.node].visible = False
            self._free.append(self._tasks.pop(event.node))
        if isinstance(event, RunFinished) or self._clock() >= self._next:
            self._flush()

    def _task(self, name: str) -> "Task":
        task = self._free.pop() if self._free else self._added()
        task.description, task.total, task.completed, task.fields["pace"] = plain(name), None, 0, ""
        task.start_time, task.finished_time, task.visible = self._progress.get_time(), None, True
        return task

    def _added(self) -> "Task":
        id = self._progress.add_task("", total=None, visible=False, pace="")
        return next(task for task in self._progress.tasks if task.id == id)

    def _step(self, event: NodeProgress) -> None:
        name = event.node or event.message
        if name not in self._tasks:
            self._tasks[name] = self._task(name)
        task = self._tasks[name]
        task.completed, task.total = event.step, event.total
        task.fields["pace"] = pace(self._meter.seconds(event.node))

    def _flush(self) -> None:
        if self._lines:
            self._progress.console.print("\n".join(self._lines), markup=False, highlight=False)
            self._lines.clear()
        self._next = self._clock() + FLUSH_SECONDS


def _bars() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}", markup=False),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def display(meter: Meter, *, json: bool) -> Display:
    """Return bars on a terminal, otherwise lines; only warnings with JSON output."""
    if sys.stderr.isatty():
        return Bars(meter)
    return Warnings() if json else Lines(meter)


def follow(records: Iterable[Mapping[str, Any]], meter: Meter, shown: Display) -> None:
    """Show the progress of a job on a server from the records of its event stream."""
    for record in records:
        event = event_of(record)
        if event is not None:
            meter(event)
            shown(event)
