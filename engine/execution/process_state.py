"""What all nodes of a process share beside values: the default dtype, the working folder, the environment, ...

A node that changes such a thing changes what later nodes compute, and no key would know. So after each call of code
that is not trusted everything is put back, and the node is named. What is not as usual when a run begins, because the
program that runs it wants so, belongs to the keys of that run.

Random generators are left alone: a node that is not deterministic would repeat itself if they were put back, and
built-in nodes draw from generators of their own.
"""

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

from latentloom.engine.execution.process_settings import ENVIRONMENT, MODULES, Setting, difference, settings_of


class ProcessState:
    """The settings of this process as they are to stay while runs go on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, None] = {}
        self._seen = 0  # modules that were imported when `_known` was looked at
        self._settings: dict[bool, list[Setting]] = {False: [], True: []}  # shared ones, and those of each thread
        self._runs = 0
        self._shared: list[Any] = []  # what the shared ones are to be
        self._own = threading.local()  # `kept`: the same for those that a thread has for itself; `deviation`

    @contextlib.contextmanager
    def run(self) -> Iterator[None]:
        """A run goes on in this thread. What is set when the first of several begins is what stays."""
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
        """Keep what is set, unless that is known already."""
        for own in (False, True):
            self._keep(own, usual=False)

    def put_back(self, *, shared: bool = True, imported: bool = False) -> list[str]:
        """Put back what was changed since the run began, and tell what that was.

        Without `shared`, only what this thread has for itself. `imported`: modules were imported, and what libraries
        do to the environment then is put back untold.
        """
        told: list[str] = []
        for own in (False, True) if shared else (True,):
            kept = self._keep(own, usual=True)
            now = [setting.get() for setting in self._settings[own]]
            if now != kept:
                told += self._restore(own, kept, now)
        return [text for text in told if not (imported and text.startswith(ENVIRONMENT))]

    def _keep(self, own: bool, *, usual: bool) -> list[Any]:
        """What settings are to be. Those of modules that were imported since are to be as usual, or as they are."""
        if len(sys.modules) != self._seen:
            self._look()
        kept: list[Any] = self._own.__dict__.setdefault("kept", []) if own else self._shared
        if len(kept) < len(self._settings[own]):
            with self._lock:  # the shared ones are kept once
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
            if left != kept[n]:  # it cannot be put back, so it belongs to the keys from now on
                kept[n] = left
                self._own.__dict__.pop("deviation", None)
        return told

    @property
    def deviation(self) -> dict[str, str]:
        """What is not as usual of the settings that numbers depend on."""
        found: dict[str, str] | None = self._own.__dict__.get("deviation")
        return self._deviation() if found is None else found

    def _deviation(self) -> dict[str, str]:
        self._look()
        found = [
            (setting, setting.get()) for own in (False, True) for setting in self._settings[own] if setting.numeric
        ]
        return {setting.name: str(value) for setting, value in found if value != setting.usual}

    def _look(self) -> None:
        """Take up the settings of modules that were imported since."""
        with self._lock:
            self._seen = len(sys.modules)
            for name in [name for name in MODULES if name not in self._known and name in sys.modules]:
                module = sys.modules[name]
                if not getattr(module.__spec__, "_initializing", False):
                    self._known[name] = None
                    for setting in settings_of(name, module):
                        self._settings[setting.own].append(setting)
