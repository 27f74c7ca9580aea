"""sha256 of files, memoised by path and stamp, so that a large model is read once."""

import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from latentloom.engine.files.stamps import SETTLED_NS, Stamp, files_of, settled_stamp

CHUNK = 8 * 2**20
Progress = Callable[[int, int], None]  # bytes read, total bytes
Memo = Callable[[Path], tuple[str, str] | None]  # the stored stamp and sha256 of a path


class Hashes:
    """A memo of file hashes in a SQLite file. A damaged memo is deleted; the files are then hashed again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: dict[tuple[Path, Stamp], int] = {}  # when an unsettled stamp was first seen

    def sha256(self, path: Path, report: Progress | None = None) -> str:
        """Return the sha256 of a file, or of the names and hashes of a folder's files."""
        if path.is_dir():
            files = files_of(path)
            known = self.known(files)  # one query for all of them
            return _of_folder(path, {item: known.get(item) or self.sha256(item, report) for item in files})
        found = _held(Stamp.of(path.stat()), self._memo(path))
        if found is not None:
            return found
        stamp = settled_stamp(path)
        settled = self._settled(path, stamp)
        found = _read(path, report)
        if settled and Stamp.of(path.stat()) == stamp:
            self._query(
                "INSERT OR REPLACE INTO hashes (path, stamp, sha256) VALUES (?, ?, ?)", str(path), stamp.text, found
            )
        return found

    def known(self, paths: Iterable[Path]) -> dict[Path, str]:
        """Return the memoised sha256 of files and folders. Reads the memo once and no other file."""
        rows = {path: (stamp, sha256) for path, stamp, sha256 in self._query("SELECT path, stamp, sha256 FROM hashes")}
        answers = {path: _known(path, lambda item: rows.get(str(item))) for path in paths}
        return {path: sha256 for path, sha256 in answers.items() if sha256 is not None}

    def memoised(self, path: Path) -> str | None:
        """Return the memoised sha256 of a file or folder, or None. Reads no large file."""
        return _known(path, self._memo)

    def knows(self, path: Path) -> bool:
        """Whether the hash of a file, or of all files in a folder, is memoised."""
        return self.memoised(path) is not None

    def _settled(self, path: Path, stamp: Stamp) -> bool:
        """Whether the stamp identifies the content read now: by its time or, if the file's clock is ahead of ours,
        because the same stamp was first seen long enough ago.
        """
        if stamp.settled:
            self._seen.pop((path, stamp), None)
            return True
        now = time.monotonic_ns()
        return now - self._seen.setdefault((path, stamp), now) >= SETTLED_NS

    def _memo(self, path: Path) -> tuple[str, str] | None:
        rows = self._query("SELECT path, stamp, sha256 FROM hashes WHERE path = ?", str(path))
        return (rows[0][1], rows[0][2]) if rows else None

    def _query(self, statement: str, *values: str) -> list[tuple[str, str, str]]:
        try:
            return self._run(statement, values)
        except (OSError, sqlite3.OperationalError):
            return []  # locked, full or read-only
        except sqlite3.DatabaseError:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
        return []

    def _run(self, statement: str, values: tuple[str, ...]) -> list[tuple[str, str, str]]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=10)
        try:
            with connection:
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS hashes"
                    " (path TEXT PRIMARY KEY, stamp TEXT NOT NULL, sha256 TEXT NOT NULL)"
                )
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()


def _held(stamp: Stamp, memo: tuple[str, str] | None) -> str | None:
    return memo[1] if memo is not None and memo[0] == stamp.text else None


def _known(path: Path, memo: Memo) -> str | None:
    """Return the sha256 of a file or folder from a memo, or None."""
    try:
        if not path.is_dir():
            return _held(Stamp.of(path.stat()), memo(path))
        found = {item: _known(item, memo) for item in files_of(path)}
    except OSError:  # removed meanwhile
        return None
    known = {item: sha256 for item, sha256 in found.items() if sha256 is not None}
    return _of_folder(path, known) if len(known) == len(found) else None


def _of_folder(folder: Path, hashes: dict[Path, str]) -> str:
    lines = [f"{sha256}  {item.relative_to(folder).as_posix()}\n" for item, sha256 in hashes.items()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _read(path: Path, report: Progress | None) -> str:
    state, done, size = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            state.update(chunk)
            done += len(chunk)
            if report is not None:
                report(done, size)
    return state.hexdigest()
