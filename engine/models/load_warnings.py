"""Warnings about a model: collected while it is loaded and patched, and reported by the node that loads it.

A model that stays loaded keeps its warnings, so that each run that uses it reports them once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple


class LoadWarning(NamedTuple):
    """A warning with its code."""

    code: str
    message: str


_gathering: ContextVar[list[LoadWarning] | None] = ContextVar("load_warnings", default=None)


def warn_of_model(code: str, message: str) -> None:
    """Add a warning about the model that is being loaded or patched. Ignored outside `gathered_warnings`."""
    found = _gathering.get()
    if found is not None:
        found.append(LoadWarning(code, message))


@contextmanager
def gathered_warnings() -> Iterator[list[LoadWarning]]:
    """Collect the warnings of `warn_of_model` in a with-block."""
    found: list[LoadWarning] = []
    token = _gathering.set(found)
    try:
        yield found
    finally:
        _gathering.reset(token)
