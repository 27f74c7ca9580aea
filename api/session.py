"""Sessions: an engine with the installed plugins, and its runs."""

import asyncio
import logging
import threading
import weakref
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from latentloom.api.device_turns import DeviceTurns
from latentloom.api.notebook import show_lists
from latentloom.api.result import Result, result_of
from latentloom.api.running import Running
from latentloom.api.workflow_files import load_workflow
from latentloom.engine.document.workflow import Target, Workflow
from latentloom.engine.engine import Engine, Job
from latentloom.engine.errors import LoomError, Problem
from latentloom.engine.events import Listener, RunEvent
from latentloom.engine.execution.outcome import Outcome
from latentloom.engine.files.save import Saves
from latentloom.engine.models.host_memory import collect_rarely, no_collection
from latentloom.engine.planning.explain import Explanation
from latentloom.engine.settings import Settings, load_settings
from latentloom.engine.types.registry import Registry
from latentloom.plugins.comfyui.bridge.packs import packs_of
from latentloom.plugins.discovery import Inspect, Record, discover
from latentloom.plugins.inspection import Inspector
from latentloom.plugins.isolation.isolating import Isolation
from latentloom.plugins.listeners import Listeners
from latentloom.plugins.snapshots import Snapshots

log = logging.getLogger("latentloom")
T = TypeVar("T")
Source = str | Path | Mapping[str, Any] | Workflow


class Session:
    """An engine with the installed plugins. Keep one for many runs: models and results stay in memory."""

    def __init__(
        self,
        settings: Settings | None = None,
        registry: Registry | None = None,
        *,
        metadata: bool = True,
        label: bool = True,
        has_device: bool = False,
        on_wait: Callable[[str], None] = log.warning,
        inspect: Inspect = "all",
    ) -> None:
        """`registry` replaces the installed plugins. `metadata=False` embeds no workflow and record in pictures.
        `label=False` leaves out the label that says that a model made them; the record says so.

        Runs take turns with other processes on an accelerator, unless this process already `has_device`. `on_wait` is
        called with a message if a run must wait for another process, or the session for the inspection of plugins.
        `inspect` says which plugins are inspected that were not inspected yet.
        """
        collect_rarely()
        show_lists()
        self.settings = settings or load_settings()
        self.plugins: tuple[Record, ...] = ()
        self._streams: weakref.WeakSet[Running] = weakref.WeakSet()
        self._listeners = Listeners(())
        if registry is None:
            snapshots = Snapshots(self.settings.data / "specs")
            found = discover(
                snapshots,
                self.settings.plugins,
                inspect=inspect,
                inspector=Inspector(self.settings.plugin_seconds, on_wait),
                packs=packs_of(self.settings),
                isolation=Isolation.of(self.settings),
            )
            registry, self.plugins = found.registry, found.records
            self._listeners = Listeners(found.hooks, snapshots.note)
        self.engine = Engine(self.settings, registry, metadata=metadata, label=label)
        self._turns = None if has_device else DeviceTurns(self.settings.data, on_wait)

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel all runs, wait until they end, and release models and files."""
        for running in list(self._streams):
            running.cancel()
        self.engine.close()
        self._listeners.close()

    def prepare(
        self,
        workflow: Source,
        inputs: Mapping[str, Any] | None = None,
        values: Mapping[Target, Any] | None = None,
        outputs: Collection[str] | None = None,
    ) -> Job:
        """Return a job that can run. Raises WorkflowError with all problems."""
        with no_collection():
            return self.engine.prepare(load_workflow(workflow), inputs, values, outputs)

    def run_job(
        self,
        job: Job,
        *,
        listen: Listener = lambda event: None,
        cancelled: threading.Event | None = None,
        cache: bool = True,
        previews: bool = False,
        out: Path | None = None,
        resume: str | None = None,
        saver: Saves | None = None,
    ) -> Outcome:
        """Run a prepared job. The outcome holds the error if a node failed.

        `previews`, `resume` and `saver` are those of `Engine.run`. Raises DeviceTaken if a server uses the accelerator
        that a node needs, and Cancelled if the run is cancelled while it waits for the accelerator.
        """
        cancelled = cancelled or threading.Event()

        def hear(event: RunEvent) -> None:
            listen(event)
            self._listeners(event)

        with self._turn(job, cancelled):
            return self.engine.run(
                job,
                listen=hear,
                cancelled=cancelled,
                use_cache=cache,
                previews=previews,
                out=out,
                resume=resume,
                saver=saver,
            )

    def _turn(self, job: Job, cancelled: threading.Event) -> AbstractContextManager[None]:
        """Hold the accelerator for a job that needs one. The CPU is shared without turns."""
        if self._turns is None or not job.checked.needs_device or self.engine.environment.device == "cpu":
            return nullcontext()
        return self._turns.of(self.engine.environment.device, cancelled)

    def run(
        self,
        workflow: Source,
        *,
        outputs: Collection[str] | None = None,
        out: str | Path | None = None,
        cache: bool = True,
        on_event: Listener = lambda event: None,
        **inputs: Any,
    ) -> Result:
        """Run a workflow with its named inputs. Raises WorkflowError, NodeError or another LoomError."""
        job = self.prepare(workflow, inputs, None, outputs)
        return result_of(self.run_job(job, listen=on_event, cache=cache, out=_folder(out)), job)

    def stream(
        self,
        workflow: Source,
        *,
        outputs: Collection[str] | None = None,
        out: str | Path | None = None,
        cache: bool = True,
        previews: bool = True,
        **inputs: Any,
    ) -> Running:
        """Start a run. Iterate over it for its events, including previews. Raises WorkflowError before the start.

        The run continues without iteration, until it ends, is cancelled or the session is closed.
        """
        job = self.prepare(workflow, inputs, None, outputs)

        def body(listen: Listener, cancelled: threading.Event) -> Outcome:
            return self.run_job(
                job, listen=listen, cancelled=cancelled, cache=cache, previews=previews, out=_folder(out)
            )

        running = Running(body, job)
        self._streams.add(running)
        return running

    async def arun(
        self,
        workflow: Source,
        *,
        outputs: Collection[str] | None = None,
        out: str | Path | None = None,
        cache: bool = True,
        on_event: Listener = lambda event: None,
        **inputs: Any,
    ) -> Result:
        """Run a workflow without blocking the event loop, in which `on_event` is called. Raises the errors of `run`.

        If the task is cancelled, the run stops at its next step, and the task ends after it. Finished results stay in
        the cache.
        """
        job = await asyncio.to_thread(self.prepare, workflow, inputs, None, outputs)
        loop, events = asyncio.get_running_loop(), asyncio.Queue[RunEvent | None]()
        tell = _from_thread(loop, events.put_nowait)

        def body(_: Listener, cancelled: threading.Event) -> Outcome:
            return self.run_job(job, listen=tell, cancelled=cancelled, cache=cache, out=_folder(out))

        running = Running(body, job, lambda: tell(None))
        self._streams.add(running)
        try:
            while (event := await events.get()) is not None:
                on_event(event)
        except BaseException:  # cancelled, or a fault of `on_event`
            running.cancel()
            while await events.get() is not None:
                pass
            raise
        return running.result()

    def validate(self, workflow: Source, **inputs: Any) -> list[Problem]:
        """Return all problems of a workflow; an empty list if it can run."""
        try:
            return self.engine.check(load_workflow(workflow), inputs)[1].problems
        except LoomError as error:
            return list(error.problems)

    def explain(self, workflow: Source, **inputs: Any) -> list[Explanation]:
        """Explain for each needed node whether its result is cached, or what changed. Raises WorkflowError."""
        return self.engine.explain(self.prepare(workflow, inputs))


def _from_thread(loop: asyncio.AbstractEventLoop, act: Callable[[T], None]) -> Callable[[T], None]:
    """Return a function that calls `act` in the event loop, or does nothing if the loop is closed."""

    def call(value: T) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(act, value)

    return call


def _folder(out: str | Path | None) -> Path | None:
    return None if out is None else Path(out)


def open_session(
    *, metadata: bool = True, label: bool = True, on_wait: Callable[[str], None] = log.warning, **settings: Any
) -> Session:
    """Open a session with settings by name: open_session(device="cpu", dtype="fp32"). Raises SettingsError."""
    return Session(load_settings(settings), metadata=metadata, label=label, on_wait=on_wait)


@cache
def _shared() -> Session:
    """Return the session that the functions below share, so that repeated calls of `run` keep the models."""
    return Session()


def run(workflow: Source, **inputs: Any) -> Result:
    """Call `Session.run` on the shared session of this process."""
    return _shared().run(workflow, **inputs)


async def arun(workflow: Source, **inputs: Any) -> Result:
    """Call `Session.arun` on the shared session of this process."""
    return await (await asyncio.to_thread(_shared)).arun(workflow, **inputs)


def stream(workflow: Source, **inputs: Any) -> Running:
    """Call `Session.stream` on the shared session of this process."""
    return _shared().stream(workflow, **inputs)


def validate(workflow: Source, **inputs: Any) -> list[Problem]:
    """Call `Session.validate` on the shared session of this process."""
    return _shared().validate(workflow, **inputs)


def explain(workflow: Source, **inputs: Any) -> list[Explanation]:
    """Call `Session.explain` on the shared session of this process."""
    return _shared().explain(workflow, **inputs)
