"""Uses: what a step used besides its inputs. Stored with its result, and compared before the result is reused.

A cache key contains what is known before the step runs. Which sampler a node looks up by a name that it computes, or
which patches are on a model that it loads, is known only after it has run (as in the dependency files of compilers,
and in Shake).
"""

from collections.abc import Collection, Mapping
from typing import Any

from latentloom.engine.cache.cache import Item, Use
from latentloom.engine.keys import digest
from latentloom.engine.planning.step import Step
from latentloom.engine.types.context import RECOGNITION
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.spec import FILE_KINDS

FILE_NAME = "file name"


class Uses:
    """Finds the identities of what steps use."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def of(self, step: Step, lent: Collection[tuple[str, str]]) -> tuple[Use, ...]:
        """Return the uses for what a step got from its context. Code of the step's own distribution is in its key."""
        if not lent:
            return ()
        uses = (Use(kind, name, self._identity(kind, name)) for kind, name in sorted(lent))
        return tuple(use for use in uses if use.identity != step.type.distribution.code)

    def names(self, step: Step, inputs: Mapping[str, Any]) -> tuple[Use, ...]:
        """Return the names of a step's files. Keys contain only their content, but an expansion may use the names."""
        files = [port.name for port in step.spec.inputs if port.kind in FILE_KINDS]
        return tuple(Use(FILE_NAME, name, _names(inputs, name)) for name in files)

    def changed(self, uses: Collection[Use], inputs: Mapping[str, Any]) -> list[Use]:
        """Return the uses whose identity has changed."""
        if not uses:
            return []
        return [use for use in uses if use.identity != self._now(use, inputs)]

    def _now(self, use: Use, inputs: Mapping[str, Any]) -> str:
        return _names(inputs, use.name) if use.kind == FILE_NAME else self._identity(use.kind, use.name)

    def _identity(self, kind: str, name: str) -> str:
        """Return the code hash of an extension; "" if it is not registered."""
        if kind == RECOGNITION:
            return self._recognition()
        found = self._registry.extensions(kind).get(name)
        return found.distribution.code if found is not None else ""

    def _recognition(self) -> str:
        """Return a hash of the code of all model kinds of plugins, in the order in which they are tried."""
        kinds = self._registry.extensions("model_kind").items()
        return digest([[name, kind.distribution.code] for name, kind in kinds if not kind.distribution.builtin])


def _names(inputs: Mapping[str, Any], name: str) -> str:
    found = inputs.get(name)
    items = [found] if type(found) is Item else found or []
    return "\n".join(item.literal.name for item in items if item.literal is not None)
