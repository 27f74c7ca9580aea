"""What there is to tell of a model that loads: gathered while its kind and patches work, told by the node that asked.

A model that stays loaded keeps its warnings, so that each run that uses it tells them, once.
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
    """Tell something of a model that is being loaded or patched; nobody hears it outside a run."""
    found = _gathering.get()
    if found is not None:
        found.append(LoadWarning(code, message))


@contextmanager
def gathered_warnings() -> Iterator[list[LoadWarning]]:
    """What `warn_of_model` is told in a with-block."""
    found: list[LoadWarning] = []
    token = _gathering.set(found)
    try:
        yield found
    finally:
        _gathering.reset(token)
