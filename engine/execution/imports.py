"""What was imported: code that was edited after its identity had been taken must not run under that identity."""

import sys
from collections.abc import Iterable
from typing import Any

from latentloom.engine.errors import ChangedCodeError
from latentloom.engine.types.registry import Distribution, Registry


class Imports:
    """Looks at each module once, after it was imported. Code that was imported before an edit stays what it is."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._count = 0
        self._seen: set[str] = set()
        self._changed: dict[str, Distribution] = {}  # by code

    def check(self, codes: Iterable[str]) -> None:
        """Raise ChangedCodeError if one of these codes is no longer that of the modules that were imported."""
        if len(sys.modules) != self._count:
            self._look()
        for code in codes if self._changed else ():
            if code in self._changed:
                raise _error(self._changed[code])

    def _look(self) -> None:
        modules = dict(sys.modules)
        self._count = len(modules)
        new = modules.keys() - self._seen
        self._seen |= new
        files = [file for name in new if isinstance(file := _file(modules[name]), str)]
        for distribution in self._registry.distributions.values():
            if any(distribution.files.changed(file) for file in files):
                self._changed[distribution.code] = distribution


def _file(module: Any) -> Any:
    """Where a module comes from; one that imports others when it is asked for an attribute is not asked."""
    return getattr(module, "__dict__", {}).get("__file__")


def _error(distribution: Distribution) -> ChangedCodeError:
    return ChangedCodeError(
        f"the code of {distribution} was changed after this program had started",
        expected="the files that were there when plugins were looked for",
        got="others, some of which were imported since",
        hint="start the program again, or the server",
    )
