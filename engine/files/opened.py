"""A model's files, kept open while weights may be read from them, so that a modification is detected."""

import os
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from latentloom.engine.errors import ChangedFileError
from latentloom.engine.files.bus_errors import bus_errors
from latentloom.engine.files.stamps import Stamp, files_of

WEIGHTS = ".safetensors"


class _State(NamedTuple):
    """The state of an opened file from its descriptor, independent of its name."""

    stamp: Stamp
    links: int


class Opened:
    """A model file, or the weights of a model folder, with their state when they were opened.

    Another file that is renamed to the same name has no effect on the opened file.
    """

    def __init__(self, path: Path, sha256: str) -> None:
        """Raises OSError."""
        self.path = path
        self.sha256 = sha256
        self._bus_errors = bus_errors().count
        self._files = _open([item for item in files_of(path) if item.suffix == WEIGHTS] if path.is_dir() else [path])
        self._states = [_state(file) for file in self._files]
        self._end = weakref.finalize(self, _close, self._files)

    @property
    def written(self) -> bool:
        """Whether a file was modified: its size or mtime has changed."""
        return any(_text(was) != _text(_state(file)) for file, was in zip(self._files, self._states, strict=True))

    @property
    def suspect(self) -> bool:
        """Whether zeros may have been read instead of content since the opening, from this or another mapped file."""
        return self._bus_errors != bus_errors().count

    @property
    def touched(self) -> bool:
        """Whether the ctime of a file has changed, as it does after a write whose mtime was reset.

        A removed link, caused by a rename over the file, does not count.
        """
        return any(_touched(was, _state(file)) for file, was in zip(self._files, self._states, strict=True))

    def renew(self) -> None:
        """Accept the current state as unchanged, after the content was compared."""
        self._states = [_state(file) for file in self._files]

    def close(self) -> None:
        """Close the files."""
        self._end()


def changed(name: str) -> ChangedFileError:
    """Return the error for a file that changed while it was in use."""
    return ChangedFileError(
        f"'{name}' was overwritten while it was in use",
        expected="a file that does not change during a run",
        got="a different content, size or modification time",
        hint="the result of this step was discarded; replace models by rename: write the new file next to the old one, "
        "then `mv` it over",
    )


def cut_short(type: str) -> ChangedFileError:
    """Return the error for an unknown mapped file that was truncated while a node ran."""
    return ChangedFileError(
        f"a file was truncated while {type} read it",
        expected="a file that does not change during a run",
        got="a read beyond its end",
        hint="the result of this step was discarded; replace files by rename: write the new file next to the old one, "
        "then `mv` it over",
    )


def _open(paths: Iterable[Path]) -> list[int]:
    files: list[int] = []
    try:
        for path in paths:
            files.append(os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)))
    except OSError:
        _close(files)
        raise
    return files


def _close(files: Iterable[int]) -> None:
    for file in files:
        os.close(file)


def _state(file: int) -> _State:
    facts = os.fstat(file)
    return _State(Stamp.of(facts), facts.st_nlink)


def _text(state: _State) -> tuple[int, int]:
    return state.stamp.size, state.stamp.mtime_ns


def _touched(was: _State, now: _State) -> bool:
    return was.stamp.ctime_ns != now.stamp.ctime_ns and now.links >= was.links
