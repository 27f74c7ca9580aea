"""Checks imported modules: code that was edited after it was hashed must not run under the old hash."""

import sys
from collections.abc import Collection, Iterable
from typing import Any

from latentloom.engine.errors import ChangedCodeError
from latentloom.engine.types.registry import Distribution, Registry


class Imports:
    """Checks each module once, after its import. An edit after the import has no effect on the running code."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._count = 0
        self._seen: set[str] = set()
        self._changed: dict[str, Distribution] = {}  # by code

    def check(self, codes: Iterable[str], elsewhere: Collection[str] = ()) -> None:
        """Raise ChangedCodeError if modules were imported from files that no longer match one of these code hashes.

        `elsewhere` are files that another process has imported since the last check.
        """
        if len(sys.modules) != self._count:
            self._look()
        if elsewhere:
            self._compare(elsewhere)
        for code in codes if self._changed else ():
            if code in self._changed:
                raise _error(self._changed[code])

    def _look(self) -> None:
        modules = dict(sys.modules)
        self._count = len(modules)
        new = modules.keys() - self._seen
        self._seen |= new
        files = [file for name in new if isinstance(file := _file(modules[name]), str)]
        self._compare(files)

    def _compare(self, files: Collection[str]) -> None:
        for distribution in self._registry.distributions.values():
            if any(distribution.files.changed(file) for file in files):
                self._changed[distribution.code] = distribution


def _file(module: Any) -> Any:
    """Return a module's file. Reads `__dict__`, because attribute access on a lazy module would import others."""
    return getattr(module, "__dict__", {}).get("__file__")


def _error(distribution: Distribution) -> ChangedCodeError:
    return ChangedCodeError(
        f"the code of {distribution} was changed after this program started",
        expected="the files found when plugins were discovered",
        got="other files, some of which are already imported",
        hint="restart the program or the server",
    )
