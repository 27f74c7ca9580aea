"""The kept state of one call: how far a long node has got, so that a run that was ended can be taken up again."""

import json
from collections.abc import Collection
from typing import Any

from latentloom.engine.cache.cache import Cache, Result, Use
from latentloom.engine.execution.run_values import durable
from latentloom.engine.planning.identity import Inputs
from latentloom.engine.planning.step import Step
from latentloom.engine.planning.uses import Uses
from latentloom.engine.types.context import State


class KeptState:
    """State by the cache key of a step, with what the step has used so far: other code must not go on from it.

    Without a key, nothing is kept.
    """

    def __init__(self, cache: Cache, uses: Uses, step: Step, inputs: Inputs, key: str | None) -> None:
        self._cache, self._uses, self._step, self._inputs, self._key = cache, uses, step, inputs, key
        self.there = False
        """Whether the call has kept or found any state."""

    def keep(self, data: bytes, used: Collection[tuple[str, str]]) -> bool:
        """Keep a state in place of the one before. Returns whether it is stored."""
        head = json.dumps(self._uses.of(self._step, used)).encode()
        stored = self._key is not None and self._cache.keep(self._key, head + b"\n" + data)
        self.there |= stored
        return stored

    def kept(self) -> bytes | None:
        """Return the state that was kept last, or None."""
        found = None if self._key is None else self._cache.kept(self._key)
        if found is None:
            return None
        self.there = True
        head, _, data = found.partition(b"\n")
        return None if self._uses.changed([_use(item) for item in json.loads(head)], self._inputs) else data


def put_result(cache: Cache, step: Step, key: str, made: Result, state: State | None) -> None:
    """Store the result of a step. Then its kept state is dropped, if there is any."""
    unfinished = state is not None and state.there
    cache.put_result(key, made, durable=durable(made), at_once=step.spec.purity == "sink" or unfinished)
    if unfinished:
        cache.drop_kept(key)


def _use(item: Any) -> Use:
    return Use(*map(str, item))
