"""Passes the events of runs to the `on_event` hooks of plugins, beside the runs: each hook has a thread and a queue."""

import contextlib
import importlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pluggy

from latentloom.engine.events import Event
from latentloom.engine.types.registry import Distribution
from latentloom.plugins.hooks import GROUP, Hooks

log = logging.getLogger("latentloom.plugins")
ROOM = 256  # events that may wait for a hook; further ones are dropped
CLOSE_SECONDS = 2.0  # for the hooks to receive the last events


class Hook(NamedTuple):
    """A plugin that implements `on_event`."""

    module: str
    distribution: Distribution


Tell = Callable[[Distribution, str], None]


class Listeners:
    """The `on_event` hooks of plugins. Whatever they do, a run does not wait for them and does not see it."""

    def __init__(self, hooks: Sequence[Hook], tell: Tell = lambda _distribution, _fault: None) -> None:
        """`tell` is called with each new kind of fault of a plugin's hook, in the hook's thread."""
        self._listeners = [_Listener(hook, tell) for hook in hooks]

    def __call__(self, event: Event) -> None:
        """Pass an event to all hooks. Does not wait."""
        for listener in self._listeners:
            listener.put(event)

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Wait until the hooks have received all events, but not longer than some seconds."""
        end = time.monotonic() + seconds
        for listener in self._listeners:
            listener.finish()
        for listener in self._listeners:
            listener.join(max(0.0, end - time.monotonic()))


class _Listener:
    """One hook, whose module is imported in its thread at the first event."""

    def __init__(self, hook: Hook, tell: Tell) -> None:
        self._hook = hook
        self._tell = tell
        self._events: queue.Queue[Event | None] = queue.Queue(ROOM)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._ending = False
        self._dropped = 0
        self._told: set[str] = set()

    def put(self, event: Event) -> None:
        with self._starting:
            if self._thread is None and not self._ending:
                name = f"latentloom-{self._hook.distribution.plugin}-events"
                self._thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._thread.start()
        try:
            self._events.put_nowait(event)
        except queue.Full:
            self._dropped += 1

    def finish(self) -> None:
        with self._starting:
            self._ending = True
        with contextlib.suppress(queue.Full):  # then the thread finds `_ending` when the queue is empty
            self._events.put_nowait(None)

    def join(self, seconds: float) -> None:
        if self._thread is not None:
            self._thread.join(seconds)
            if self._thread.is_alive():
                self._fault("its on_event is too slow: it had not received all events when the program ended")

    def _work(self) -> None:
        functions = self._functions()
        while not (self._ending and self._events.empty()) and (event := self._events.get()) is not None:
            if self._dropped:
                self._fault(f"its on_event is too slow: events were dropped when more than {ROOM} waited")
            for function in functions:
                try:
                    function(event=event)
                except BaseException as error:  # even SystemExit ends nothing
                    self._fault(f"its on_event failed: {type(error).__name__}: {error}")

    def _functions(self) -> list[Any]:
        manager = pluggy.PluginManager(GROUP)
        manager.add_hookspecs(Hooks)
        try:
            manager.register(importlib.import_module(self._hook.module))
        except BaseException as error:
            self._fault(f"it could not be imported for on_event: {type(error).__name__}: {error}")
            return []
        return [found.function for found in manager.hook.on_event.get_hookimpls()]

    def _fault(self, text: str) -> None:
        """Log a fault and pass it on, once for each text."""
        if text in self._told or len(self._told) >= ROOM:
            return
        self._told.add(text)
        log.warning("the plugin '%s': %s", self._hook.distribution.plugin, text)
        self._tell(self._hook.distribution, text)
