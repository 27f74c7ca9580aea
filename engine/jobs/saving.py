"""Saves a job's files in the worker. Each file is journalled before and after it gets its final name."""

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from latentloom.engine.failpoints import failpoint
from latentloom.engine.files.catalog import safe_join
from latentloom.engine.files.partial import sync_folder
from latentloom.engine.files.pictures import picture_size
from latentloom.engine.files.save import Counters, Naming, not_saved, rename_to_free, written_aside
from latentloom.engine.jobs.effects import Effect

MEDIA = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".txt": "text/plain",
    ".safetensors": "application/octet-stream",
}
About = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


class Ledger(Protocol):
    """The effect journal as a worker sees it. Each call returns when the journal is on disk."""

    def find(self, node: str, item: int) -> Effect | None:
        """Return the effect of an earlier attempt, or None."""

    def intend(self, node: str, item: int, path: str, sha256: str) -> None:
        """See `Effects.intend`."""

    def begin(self, node: str) -> None:
        """See `Effects.begin`."""

    def done(self, node: str, item: int, about: Mapping[str, Any]) -> None:
        """See `Effects.done`."""


class JournalledSaver:
    """Saves files to a folder, each file of a job once, even if the job needs several attempts."""

    def __init__(self, folder: Path, ledger: Ledger, about: About, counters: Counters | None = None) -> None:
        """`about(node, fields)` returns the searchable facts of a node's file. `counters` are shared in the process."""
        self._folder = folder
        self._ledger = ledger
        self._about = about
        self._counters = counters or Counters()
        self._items: dict[str, Iterator[int]] = defaultdict(itertools.count)

    def begin(self, node: str, *, saves: bool) -> None:
        """Note the start of a sink's body. A sink that cannot save through its context is never started twice."""
        if not saves:
            self._ledger.begin(node)

    def save(self, data: bytes, name_template: str, suffix: str, fields: Mapping[str, Any]) -> Path:
        """Save a file, unless an earlier attempt saved it, and return its final path. Raises FileError."""
        node = str(fields["node"])
        item = next(self._items[node])
        known = self._ledger.find(node, item)
        about = {**_facts(data, suffix, fields), **self._about(node, fields)}
        if known is not None and (known.state == "done" or self._appeared(known)):
            if known.state != "done":
                self._ledger.done(node, item, about)
            return safe_join(self._folder, known.path)
        try:
            return self._place(
                data, Naming(self._folder, name_template, suffix, fields, self._counters), node, item, about
            )
        except OSError as error:
            raise not_saved(error, self._folder) from error

    def _appeared(self, effect: Effect) -> bool:
        """Whether the intended file got its final name before the worker died. Names are never reused."""
        path = safe_join(self._folder, effect.path)
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == effect.sha256

    def _place(self, data: bytes, naming: Naming, node: str, item: int, about: Mapping[str, Any]) -> Path:
        sha256 = hashlib.sha256(data).hexdigest()
        with written_aside(data, naming) as partial:
            for path in naming.candidates():
                self._ledger.intend(node, item, path.relative_to(self._folder.resolve()).as_posix(), sha256)
                failpoint("effect.placing")
                if rename_to_free(partial, path):
                    sync_folder(path.parent)  # before it is recorded as done
                    failpoint("effect.placed")
                    self._ledger.done(node, item, about)
                    return path
        raise AssertionError("there is always another name")


def _facts(data: bytes, suffix: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    media = MEDIA.get(suffix, "application/octet-stream")
    width, height = picture_size(data) if media.startswith("image/") else (None, None)
    return {"media": media, "bytes": len(data), "width": width, "height": height, "seed": str(fields["seed"])}
