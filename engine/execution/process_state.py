"""Process state that all nodes share: the default dtype, the working folder, the environment, ...

A node that changes such a setting changes what later nodes compute, but not their cache keys. So all settings are
restored after each call of untrusted code, and a warning names the node. If the calling program has changed a numeric
setting before a run begins, the setting is part of the cache keys of that run.

Random generators are not restored: a nondeterministic node would then repeat its results, and built-in nodes use
their own generators.
"""

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

from latentloom.engine.execution.process_settings import ENVIRONMENT, MODULES, Setting, difference, settings_of


class ProcessState:
    """The settings that this process must keep while runs are active."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, None] = {}
        self._seen = 0  # number of imported modules at the last look
        self._settings: dict[bool, list[Setting]] = {False: [], True: []}  # False: shared, True: per thread
        self._runs = 0
        self._shared: list[Any] = []  # the values that the shared settings must keep
        self._own = threading.local()  # `kept`: the same for per-thread settings; `deviation`

    @contextlib.contextmanager
    def run(self) -> Iterator[None]:
        """Mark a run in this thread. The shared settings at the start of the first of several runs are kept."""
        with self._lock:
            if not self._runs:
                self._shared = []
            self._runs += 1
        try:
            self._own.kept = []
            self.begin()
            self._own.deviation = self._deviation()
            yield
        finally:
            self._own.__dict__.clear()
            with self._lock:
                self._runs -= 1

    def begin(self) -> None:
        """Record the current settings that are not recorded yet."""
        for own in (False, True):
            self._keep(own, usual=False)

    def put_back(self, *, shared: bool = True, imported: bool = False) -> list[str]:
        """Restore the settings that changed since the run began, and return a description of each change.

        Without `shared`, only per-thread settings are restored. `imported` says that modules were imported meanwhile:
        changes of the environment are then restored but not reported, because libraries make them on import.
        """
        told: list[str] = []
        for own in (False, True) if shared else (True,):
            kept = self._keep(own, usual=True)
            now = [setting.get() for setting in self._settings[own]]
            if now != kept:
                told += self._restore(own, kept, now)
        return [text for text in told if not (imported and text.startswith(ENVIRONMENT))]

    def _keep(self, own: bool, *, usual: bool) -> list[Any]:
        """Return the values to keep. New modules' settings keep their usual value (`usual`) or their current one."""
        if len(sys.modules) != self._seen:
            self._look()
        kept: list[Any] = self._own.__dict__.setdefault("kept", []) if own else self._shared
        if len(kept) < len(self._settings[own]):
            with self._lock:  # the shared ones are recorded once
                new = self._settings[own][len(kept) :]
                kept += [setting.usual if usual and setting.numeric else setting.now() for setting in new]
        return kept

    def _restore(self, own: bool, kept: list[Any], now: list[Any]) -> list[str]:
        settings = self._settings[own]
        changed = [n for n in range(len(kept)) if now[n] != kept[n]]
        told = [f"{settings[n].name} ({difference(kept[n], now[n])})" for n in changed]
        for n in changed:
            with contextlib.suppress(Exception):
                settings[n].put(kept[n])
        for n in changed:
            left = settings[n].now()
            if left != kept[n]:  # it cannot be restored, so it is part of the cache keys from now on
                kept[n] = left
                self._own.__dict__.pop("deviation", None)
        return told

    @property
    def deviation(self) -> dict[str, str]:
        """The numeric settings that differ from their usual values."""
        found: dict[str, str] | None = self._own.__dict__.get("deviation")
        return self._deviation() if found is None else found

    def _deviation(self) -> dict[str, str]:
        self._look()
        found = [
            (setting, setting.get()) for own in (False, True) for setting in self._settings[own] if setting.numeric
        ]
        return {setting.name: str(value) for setting, value in found if value != setting.usual}

    def _look(self) -> None:
        """Add the settings of modules that were imported since the last look."""
        with self._lock:
            self._seen = len(sys.modules)
            for name in [name for name in MODULES if name not in self._known and name in sys.modules]:
                module = sys.modules[name]
                if not getattr(module.__spec__, "_initializing", False):
                    self._known[name] = None
                    for setting in settings_of(name, module):
                        self._settings[setting.own].append(setting)
