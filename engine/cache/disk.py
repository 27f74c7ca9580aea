"""The cache's disk tier: results in an index, values in safetensors files named by their digest. Never pickle.

The kept state of unfinished steps is in files named by their keys.
"""

import contextlib
import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from latentloom.engine.cache.cache import Item, Result, Use
from latentloom.engine.cache.index import BATCH_BYTES, LOG_BYTES, Entry, Index, Notice
from latentloom.engine.cache.kept import KeptFiles
from latentloom.engine.errors import FileError
from latentloom.engine.failpoints import failpoint
from latentloom.engine.files.partial import partial_path, sweep
from latentloom.engine.keys import Fields, literal_digest
from latentloom.engine.types.port_types import PortType
from latentloom.engine.types.spec import INLINE_KINDS

COSTLY_SECONDS = 0.25  # computing time that a crash may lose: uncommitted results took less than this together
FREE_FLOOR = 256 * 2**20  # bytes that the cache keeps free on its disk
SLACK = 0.05  # share of the limit that may wait for a commit, and that is freed in advance
LEAST_LOG = 2**18  # bytes: a smaller log is checkpointed too often
TRIMMED = 1024  # entries that are removed in one transaction
KEPT_DAMAGED = 16  # maximum number of files in quarantine/
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class DiskStore:
    """A folder of results that processes may share. `notice(code, message)` is called once for each kind of fault."""

    def __init__(
        self,
        folder: Path,
        limit_bytes: int,
        notice: Notice = lambda code, message: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._blobs = folder / "blobs"
        self._limit = limit_bytes
        self._most = min(int(limit_bytes * SLACK), BATCH_BYTES)  # bytes that may wait
        self.notice = notice
        log_bytes = min(max(self._most, LEAST_LOG), LOG_BYTES)
        self._index = Index(folder, self._blobs, lambda code, message: self.notice(code, message), clock, log_bytes)
        self._kept = KeptFiles(folder / "kept")
        self._unsaved_seconds = 0.0
        self._swept = False

    # Results

    def result(self, key: str) -> Result | None:
        """See `Store.result`."""
        text = self._index.text("results", key)
        if text is None:
            return None
        try:
            check, record = text[:16], text[16:]
            if check != _check(key, record):
                raise ValueError("the record differs from the stored one")
            return _result_from(json.loads(record))
        except Exception:  # any damaged record is a miss
            self._index.tell("cache_corrupt", "a stored result was damaged; it is computed again")
            return None

    def put_result(self, key: str, result: Result, *, at_once: bool) -> None:
        """See `Store.put_result`. Cheap results are committed in batches, expensive ones at once."""
        record = _encode(_record_of(result))
        self._index.put_text("results", key, _check(key, record) + record)
        self._unsaved_seconds += result.seconds
        if at_once or self._unsaved_seconds >= COSTLY_SECONDS or self._index.waits(self._most):
            self.flush()

    def fields(self, place: str) -> dict[str, Any] | None:
        """See `Store.fields`."""
        text = self._index.text("fields", place)
        try:
            return dict(json.loads(text)) if text else None
        except (ValueError, TypeError, RecursionError):
            return None

    def put_fields(self, place: str, fields: Fields) -> None:
        """See `Store.put_fields`."""
        self._index.put_text("fields", place, _encode(fields.record()))
        if self._index.waits(self._most):
            self.flush()

    # Values

    def blob(self, digest: str, port_type: PortType) -> Any | None:
        """See `Store.blob`. A file whose content does not match its name is moved to quarantine/."""
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        with contextlib.suppress(Exception):  # a plugin's codec may raise anything on a damaged file
            value = port_type.decode(data)
            if port_type.digest(value) == digest:
                self._index.used(digest, len(data))
                return value
        self._quarantine(path)
        return None

    def put_blob(self, digest: str, port_type: PortType, value: Any) -> None:
        """See `Store.put_blob`."""
        if not self._index.writable:
            return
        path = self._path(digest)
        try:
            nbytes = _size(path) or self._put_file(path, port_type.encode(value))
        except OSError as error:
            self._index.stop(error)
            return
        self._index.used(digest, nbytes)
        if self._index.waits(self._most):
            self.flush()

    def _put_file(self, path: Path, data: bytes) -> int:
        """Write a value's file. Retry once, in case another process emptied the cache meanwhile."""
        if not self._swept:
            sweep(self._blobs.glob("??"))
            self._swept = True
        try:
            return _written(path, data)
        except FileNotFoundError:
            return _written(path, data)

    def _path(self, digest: str) -> Path:
        return self._blobs / digest[:2] / f"{digest}.safetensors"

    def _quarantine(self, path: Path) -> None:
        place = self._folder / "quarantine"
        with contextlib.suppress(OSError):
            place.mkdir(exist_ok=True)
            path.replace(place / path.name)
            kept = sorted(place.iterdir(), key=lambda item: item.stat().st_mtime_ns)
            for old in kept[:-KEPT_DAMAGED]:
                old.unlink(missing_ok=True)
        self._index.tell("cache_corrupt", f"a cached value was damaged; it was moved to {place} and is computed again")

    # Kept state

    def kept(self, key: str) -> bytes | None:
        """See `Store.kept`."""
        return self._kept.read(key)

    def keep(self, key: str, data: bytes) -> bool:
        """See `Store.keep`. It is counted before it is written, so that no kill leaves a file that nobody counts."""
        if not self._index.writable or not self._index.keep(key, len(data)):
            return False
        try:
            self._kept.write(key, data)
        except OSError as error:
            self._index.stop(error)
            return False
        return True

    def drop_kept(self, key: str) -> None:
        """See `Store.drop_kept`. While the folder cannot be written, the result may not be stored: keep the state."""
        if self._index.writable:
            self._index.drop([Entry("kept", key, 0)])
            self._kept.remove(key)

    # Housekeeping

    def flush(self) -> None:
        """See `Store.flush`."""
        self._unsaved_seconds = 0.0
        self._index.commit()
        self._trim(self._limit, slack=int(self._limit * SLACK))

    def emptied(self) -> bool:
        """See `Store.emptied`."""
        return self._index.emptied()

    def close(self) -> None:
        """Close the files without a flush."""
        self._index.close()

    def info(self) -> dict[str, int]:
        """Return the number of entries, and the total bytes of results, key fields, values and kept states."""
        self._index.commit()
        counts = self._index.counts()
        quarantine = self._folder / "quarantine"
        return {
            "results": counts.get("results", 0),
            "values": counts.get("blobs", 0),
            "kept": counts.get("kept", 0),
            "bytes": self._index.total(),
            "limit_bytes": self._limit,
            "quarantined": sum(1 for _ in quarantine.iterdir()) if quarantine.is_dir() else 0,
        }

    def prune(self, limit_bytes: int) -> int:
        """Remove the least recently used results and values until the rest fits. Returns the freed bytes."""
        self._index.commit()
        return self._trim(limit_bytes)

    def _trim(self, limit_bytes: int, slack: int = 0) -> int:
        """Remove old entries down to the limit. Up to `slack` bytes more are removed, so that it is done less often.

        Then make room on the disk, but not by the kept state of unfinished steps.
        """
        freed = self._remove(self._index.total() - limit_bytes, slack, kept=True)
        with contextlib.suppress(OSError):
            freed += self._remove(FREE_FLOOR - shutil.disk_usage(self._folder).free, slack, kept=False)
        if freed:
            self._index.shrink(now=not slack)
        return freed

    def _remove(self, excess: int, slack: int, *, kept: bool) -> int:
        freed = 0
        while freed < excess and (gone := self._first(excess - freed, slack, kept=kept)):
            for entry in gone:
                self._unlink(entry)
            if not self._index.drop(gone):
                break
            freed += sum(entry.nbytes for entry in gone)
        return freed

    def _unlink(self, entry: Entry) -> None:
        if entry.table == "blobs":
            with contextlib.suppress(OSError):
                self._path(entry.key).unlink(missing_ok=True)
        elif entry.table == "kept":
            self._kept.remove(entry.key)

    def _first(self, nbytes: int, slack: int, *, kept: bool) -> list[Entry]:
        """Return the least recently used entries: at least `nbytes` bytes and up to `slack` bytes more."""
        gone, size = [], 0
        for entry in self._index.oldest(TRIMMED, kept=kept):
            if size >= nbytes and size + entry.nbytes > nbytes + slack:
                break
            gone.append(entry)
            size += entry.nbytes
        return gone

    def clear(self) -> None:
        """Remove all entries. Other processes detect it. Raises FileError."""
        try:
            self._index.clear()
        except (OSError, sqlite3.Error) as error:
            raise FileError(f"the cache cannot be cleared: {error}", got=str(self._folder)) from error
        for path in (self._blobs, self._folder / "kept", self._folder / "quarantine"):
            shutil.rmtree(path, ignore_errors=True)


def _size(path: Path) -> int:
    """Return the size of a file in bytes; 0 if it does not exist."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _written(path: Path, data: bytes) -> int:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = partial_path(path.parent)
    try:
        with partial.open("xb") as file:
            failpoint("cache.blob.opened")
            file.write(data)
        failpoint("cache.blob.written")
        partial.replace(path)
        failpoint("cache.blob.renamed")
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    return len(data)


def _check(key: str, record: str) -> str:
    """Return a checksum of key and record: 16 hexadecimal digits."""
    return blake2b(f"{key} {record}".encode(), digest_size=8).hexdigest()


def _record_of(result: Result) -> dict[str, Any]:
    outputs = {
        name: value if type(value) is Item else {"list": value} for name, value in result.outputs.items()
    }  # an Item is a tuple, which JSON writes as a list
    more = {"uses": result.uses, "expansion": result.expansion}
    told = {"outputs": outputs, "seconds": round(result.seconds, 6), "peak": result.peak_bytes}
    return told | {name: value for name, value in more.items() if value}


def _result_from(record: Mapping[str, Any]) -> Result:
    outputs = {
        name: _item(value) if type(value) is list else tuple(_item(item) for item in value["list"])
        for name, value in record["outputs"].items()
    }
    uses = tuple(Use(*map(str, use)) for use in record.get("uses", ()))
    return Result(outputs, float(record["seconds"]), int(record["peak"]), uses, record.get("expansion"))


def _item(value: Iterable[Any]) -> Item:
    kind, digest, literal = value
    if kind in INLINE_KINDS and literal_digest(kind, literal) != digest:
        raise ValueError("a literal that is not what its digest says")
    return Item(kind, digest, literal)
