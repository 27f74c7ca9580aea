"""Saved files: a free name is claimed and the whole file appears under it in one step."""

import contextlib
import itertools
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from latentloom.engine.errors import FileError
from latentloom.engine.failpoints import failpoint
from latentloom.engine.files.catalog import MAX_PART, safe_join
from latentloom.engine.files.partial import partial_path

_FIELD = re.compile(r"\{([a-z_]+)(?::0?(\d))?\}")
_UNSAFE = re.compile(r"[^\w .,+=@()\-]+")
MAX_FIELD = 120  # bytes
KINDS = 1000  # of names whose counters are remembered
TRIES = 16  # taken names before a folder is read again
DIGITS = 5  # of a counter that does not say how many


class Counters:
    """The largest counter of each kind of name in a folder. A folder is read once, however many files it gets.

    A counter that another process took in the meantime is found out when its name is tried.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._largest: OrderedDict[tuple[str, str], int] = OrderedDict()

    def take(self, folder: Path, name: str, largest: Callable[[], int]) -> int:
        """A counter that nobody of this process has; `largest` looks for that of the files that are there."""
        with self._lock:
            key = (str(folder), name)
            self._largest[key] = (self._largest[key] if key in self._largest else largest()) + 1
            self._largest.move_to_end(key)
            if len(self._largest) > KINDS:
                self._largest.popitem(last=False)
            return self._largest[key]

    def forget(self, folder: Path, name: str) -> None:
        """Have a folder read again."""
        with self._lock:
            self._largest.pop((str(folder), name), None)


class Naming:
    """The names that a file below a folder may get: `{counter}` makes room for the first free one."""

    def __init__(self, folder: Path, template: str, suffix: str, fields: Mapping[str, Any], counters: Counters) -> None:
        """Raises PathError for a name that leaves the folder."""
        counted = any(match[1] == "counter" for match in _FIELD.finditer(template))
        self._folder = folder
        self._template = template if counted else f"{template}-{{counter}}"
        self._suffix = suffix
        self._fields = fields
        self._counters = counters
        self._parent = self._path(1).parent

    def candidates(self) -> Iterator[Path]:
        """Paths to try, without end: first the one after the largest counter that is there. Their folders exist."""
        self._parent.mkdir(parents=True, exist_ok=True)
        name = Path(fill(self._template, {**self._fields, "counter": "\0"})).name + self._suffix
        for n in itertools.count(1):
            if n % TRIES == 0:  # another process is far ahead
                self._counters.forget(self._parent, name)
            path = self._path(self._counters.take(self._parent, name, lambda: self._largest(name)))
            if not os.path.lexists(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                yield path

    def aside(self) -> Path:
        """Where to write: at the top, which the next run sweeps, unless the file goes to another file system."""
        self._parent.mkdir(parents=True, exist_ok=True)
        return self._folder if self._folder.stat().st_dev == self._parent.stat().st_dev else self._parent

    def _path(self, counter: int) -> Path:
        return safe_join(self._folder, fill(self._template, {**self._fields, "counter": counter}) + self._suffix)

    def _largest(self, name: str) -> int:
        """The largest counter among the files that are there; `name` has "\0" where it stands."""
        widths = [int(match[2] or DIGITS) for match in _FIELD.finditer(self._template) if match[1] == "counter"]
        counted = CountedName(name.split("\0"), widths[len(widths) - name.count("\0") :])
        return counted.largest(os.listdir(self._parent))  # noqa: PTH208 - Path.iterdir takes ten times as long


class CountedName:
    """A file name in which one counter stands at several places: around them, its fixed texts."""

    def __init__(self, texts: Sequence[str], widths: Sequence[int]) -> None:
        """`widths` are the fewest digits of each place; there is one text more than places."""
        self._texts = texts
        self._widths = widths
        fixed = sum(map(len, texts))
        digits = range(1, MAX_PART + 1) if widths else ()
        self._first = {fixed + sum(max(n, width) for width in widths): max(n, widths[0]) for n in digits}

    def largest(self, names: Sequence[str]) -> int:
        """The largest counter that one of the names was made with, 0 if none was.

        Of names that begin and end right the longest hold the largest counters, and the last of these in the order of
        texts the very largest: only where that one was not made so are all of them looked at.
        """
        first, last = self._texts[0], self._texts[-1]
        alike = [name for name in names if name.startswith(first) and name.endswith(last)]
        longest = max(map(len, alike), default=0)
        likely = max((name for name in alike if len(name) == longest), default="")
        return self.counter_of(likely) or max(map(self.counter_of, alike), default=0)

    def counter_of(self, name: str) -> int:
        """The counter that a name was made with, 0 for another name.

        A name's length tells how many digits stand at the first place, so no name is searched.
        """
        begin = len(self._texts[0])
        digits = name[begin : begin + self._first.get(len(name), 0)]
        if not (digits.isascii() and digits.isdigit()):
            return 0
        counter = int(digits)
        return counter if name == self._name(counter) else 0

    def _name(self, counter: int) -> str:
        places = (f"{counter:0{width}d}" for width in self._widths)
        return "".join([self._texts[0], *(part for pair in zip(places, self._texts[1:], strict=True) for part in pair)])


class Saves(Protocol):
    """Saves the files of a run."""

    def begin(self, node: str, *, saves: bool) -> None:
        """A sink's body begins; `saves` tells whether it can save through its context."""

    def save(self, data: bytes, name_template: str, suffix: str, fields: Mapping[str, Any]) -> Path:
        """Write data under a free name and return its path."""


class Saver:
    """Writes files below one folder."""

    def __init__(self, folder: Path, counters: Counters | None = None) -> None:
        """`counters` are those of all who save in this process."""
        self._folder = folder
        self._counters = counters or Counters()

    def begin(self, node: str, *, saves: bool) -> None:
        """See `Saves`: a run without a journal has nothing to note."""

    def save(self, data: bytes, name_template: str, suffix: str, fields: Mapping[str, Any]) -> Path:
        """Write data under the first free name and return its path; `{counter}` makes room for one.

        The file is complete when it appears and never replaces another. Raises PathError for a name that
        leaves the folder, FileError when the folder cannot be written to.
        """
        naming = Naming(self._folder, name_template, suffix, fields, self._counters)
        try:
            return _place(data, naming)
        except OSError as error:
            raise not_saved(error, self._folder) from error


def not_saved(error: OSError, folder: Path) -> FileError:
    """What a person is told when a file could not be saved."""
    return FileError(
        f"the file could not be saved: {error.strerror or error}",
        got=str(error.filename or folder),
        hint="free some space or choose another folder with --out",
    )


def _place(data: bytes, naming: Naming) -> Path:
    with written_aside(data, naming) as partial:
        for path in naming.candidates():
            if rename_to_free(partial, path):
                failpoint("save.renamed")
                return path
    raise AssertionError("there is always another name")


@contextlib.contextmanager
def written_aside(data: bytes, naming: Naming) -> Iterator[Path]:
    """The data in a synced file with a name of its own, for the time of the block."""
    partial = partial_path(naming.aside())
    try:
        with partial.open("xb") as file:
            failpoint("save.claimed")
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        failpoint("save.written")
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder reach the disk, where the system can do that."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def fill(template: str, fields: Mapping[str, Any]) -> str:
    """The template with its fields; `{counter}` has five digits. A field's text cannot make a new folder."""
    known = {"date": f"{datetime.now():%Y-%m-%d}", **fields}

    def field(match: re.Match[str]) -> str:
        if match[1] not in known:
            return match[0]
        value = known[match[1]]
        if match[1] == "counter":
            return value if isinstance(value, str) else f"{value:0{match[2] or DIGITS}d}"
        text = _UNSAFE.sub("_", str(value)).strip(" .")
        return text.encode()[:MAX_FIELD].decode(errors="ignore") or "_"

    return _FIELD.sub(field, template)


def rename_to_free(partial: Path, path: Path) -> bool:
    """Give a complete file its name unless the name is taken."""
    try:
        os.link(partial, path)
        return True
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links: claim the name, then rename over the claim
        return _claim_and_rename(partial, path)


def _claim_and_rename(partial: Path, path: Path) -> bool:
    claim = path.with_name(f"{path.name}.claim")
    try:
        claim.touch(exist_ok=False)
    except FileExistsError:
        return False
    try:
        if path.exists():
            return False
        partial.replace(path)
        return True
    finally:
        claim.unlink(missing_ok=True)
