"""A model's files, held open for as long as weights may be read from them, so that a write into them is noticed."""

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
    """What a descriptor tells of the file that was opened, wherever its name leads by now."""

    stamp: Stamp
    links: int


class Opened:
    """A model file, or the weights of a model folder, as they were when they were opened.

    Another file under the same name, put there by a rename, does not matter: the opened one stays as it is.
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
        """Whether somebody wrote into a file: its size or its time of writing is another."""
        return any(_text(was) != _text(_state(file)) for file, was in zip(self._files, self._states, strict=True))

    @property
    def suspect(self) -> bool:
        """Whether something that was read from a mapped file since may be zeros instead, of this one or another."""
        return self._bus_errors != bus_errors().count

    @property
    def touched(self) -> bool:
        """Whether something else of a file changed, which a write with its time set back would change too.

        A name that was taken from the file, by a rename over it, is no such change.
        """
        return any(_touched(was, _state(file)) for file, was in zip(self._files, self._states, strict=True))

    def renew(self) -> None:
        """Take the files as they are now for unchanged: their content was compared."""
        self._states = [_state(file) for file in self._files]

    def close(self) -> None:
        """Let go of the files."""
        self._end()


def changed(name: str) -> ChangedFileError:
    """What a person is told when a file changed while it was in use."""
    return ChangedFileError(
        f"'{name}' was written over while it was in use",
        expected="a file that stays as it is during a run",
        got="another content, size or time",
        hint="nothing of this run's step was kept; replace models by rename: write the new file beside the old one, "
        "then `mv` it over",
    )


def cut_short(type: str) -> ChangedFileError:
    """What a person is told when a mapped file, nobody knows which, became shorter while a node ran."""
    return ChangedFileError(
        f"a file was cut short while {type} read it",
        expected="a file that stays as it is during a run",
        got="a read beyond its end",
        hint="nothing of this run's step was kept; replace files by rename: write the new file beside the old one, "
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
