"""Saves files atomically under a free name."""

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

_FIELD = re.compile(r"\{([A-Za-z][A-Za-z0-9_-]*)(?::0?(\d))?\}")
_UNSAFE = re.compile(r"[^\w .,+=@()\-]+")
MAX_FIELD = 120  # bytes
KINDS = 1000  # maximum number of stored counters
TRIES = 16  # taken names before a folder is read again
DIGITS = 5  # default width of a counter


class Counters:
    """The largest counter of each file name pattern in a folder. A folder is read once for all its files.

    If another process has used a counter meanwhile, the name is taken and the next one is tried.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._largest: OrderedDict[tuple[str, str], int] = OrderedDict()

    def take(self, folder: Path, name: str, largest: Callable[[], int]) -> int:
        """Return a counter that is unused in this process. `largest` finds the largest one of the existing files."""
        with self._lock:
            key = (str(folder), name)
            self._largest[key] = (self._largest[key] if key in self._largest else largest()) + 1
            self._largest.move_to_end(key)
            if len(self._largest) > KINDS:
                self._largest.popitem(last=False)
            return self._largest[key]

    def forget(self, folder: Path, name: str) -> None:
        """Drop a counter, so that the folder is read again."""
        with self._lock:
            self._largest.pop((str(folder), name), None)


class Naming:
    """The candidate names of a file in a folder. `{counter}` is the first free number; it is appended if missing."""

    def __init__(self, folder: Path, template: str, suffix: str, fields: Mapping[str, Any], counters: Counters) -> None:
        """Raises PathError if the name leaves the folder."""
        counted = any(match[1] == "counter" for match in _FIELD.finditer(template))
        self._folder = folder
        self._template = template if counted else f"{template}-{{counter}}"
        self._suffix = suffix
        self._fields = fields
        self._counters = counters
        self._parent = self._path(1).parent

    def candidates(self) -> Iterator[Path]:
        """Yield paths to try, endlessly, starting after the largest existing counter. Their folders exist."""
        self._parent.mkdir(parents=True, exist_ok=True)
        name = Path(fill(self._template, {**self._fields, "counter": "\0"})).name + self._suffix
        for n in itertools.count(1):
            if n % TRIES == 0:  # another process saves many files
                self._counters.forget(self._parent, name)
            path = self._path(self._counters.take(self._parent, name, lambda: self._largest(name)))
            if not os.path.lexists(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                yield path

    def aside(self) -> Path:
        """Return the folder for the partial file: the top one, which is swept, unless it is on another file system."""
        self._parent.mkdir(parents=True, exist_ok=True)
        return self._folder if self._folder.stat().st_dev == self._parent.stat().st_dev else self._parent

    def _path(self, counter: int) -> Path:
        return safe_join(self._folder, fill(self._template, {**self._fields, "counter": counter}) + self._suffix)

    def _largest(self, name: str) -> int:
        """Return the largest counter of the existing files. `name` has "\0" in the places of the counter."""
        widths = [int(match[2] or DIGITS) for match in _FIELD.finditer(self._template) if match[1] == "counter"]
        counted = CountedName(name.split("\0"), widths[len(widths) - name.count("\0") :])
        return counted.largest(os.listdir(self._parent))  # noqa: PTH208 - Path.iterdir takes ten times as long


class CountedName:
    """A file name pattern: fixed texts, with the same counter between them."""

    def __init__(self, texts: Sequence[str], widths: Sequence[int]) -> None:
        """`widths` are the minimum digits of each counter; there is one more text than counters."""
        self._texts = texts
        self._widths = widths
        fixed = sum(map(len, texts))
        digits = range(1, MAX_PART + 1) if widths else ()
        self._first = {fixed + sum(max(n, width) for width in widths): max(n, widths[0]) for n in digits}

    def largest(self, names: Sequence[str]) -> int:
        """Return the largest counter in names that match the pattern; 0 if none matches.

        Of the names with the right start and end, the longest ones have the largest counters, and the last of these in
        text order has the largest one. All names are checked only if that one does not match.
        """
        first, last = self._texts[0], self._texts[-1]
        alike = [name for name in names if name.startswith(first) and name.endswith(last)]
        longest = max(map(len, alike), default=0)
        likely = max((name for name in alike if len(name) == longest), default="")
        return self.counter_of(likely) or max(map(self.counter_of, alike), default=0)

    def counter_of(self, name: str) -> int:
        """Return the counter in a name, or 0 if it does not match the pattern.

        The length of the name determines the number of digits, so no search is needed.
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
        """Note that a sink's body starts. `saves`: whether it can save through its context."""

    def save(self, data: bytes, name_template: str, suffix: str, fields: Mapping[str, Any]) -> Path:
        """Write data under a free name and return its path."""


class Saver:
    """Writes files to one folder."""

    def __init__(self, folder: Path, counters: Counters | None = None) -> None:
        """`counters` are shared by all savers of this process."""
        self._folder = folder
        self._counters = counters or Counters()

    def begin(self, node: str, *, saves: bool) -> None:
        """See `Saves`. Nothing to do without a journal."""

    def save(self, data: bytes, name_template: str, suffix: str, fields: Mapping[str, Any]) -> Path:
        """Write data under the first free name and return its path. `{counter}` makes the name unique.

        The file appears atomically and never replaces another. Raises PathError if the name leaves the folder,
        FileError if the folder cannot be written.
        """
        naming = Naming(self._folder, name_template, suffix, fields, self._counters)
        try:
            return _place(data, naming)
        except OSError as error:
            raise not_saved(error, self._folder) from error


def not_saved(error: OSError, folder: Path) -> FileError:
    """Return the error for a file that could not be saved."""
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
    """Write data to a synced partial file that exists for the duration of a with-block."""
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


def fill(template: str, fields: Mapping[str, Any]) -> str:
    """Fill a template with fields. `{counter}` has five digits by default. A field's text cannot add a folder."""
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
    """Rename a complete file. Returns False if the name is taken."""
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
