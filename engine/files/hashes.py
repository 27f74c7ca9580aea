"""sha256 of files, memoised by (path, size, mtime, inode), so that a large model is read once."""

import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

CHUNK = 8 * 2**20
SETTLED_NS = 2 * 10**9  # file times may be as coarse as two seconds
Progress = Callable[[int, int], None]  # bytes read, bytes in all


class Hashes:
    """A memo of file hashes in one SQLite file. A broken memo is started anew; it only costs time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def sha256(self, path: Path, report: Progress | None = None) -> str:
        """The file's sha256, or a folder's: that of its files' names and hashes."""
        if path.is_dir():
            files = sorted(item for item in path.rglob("*") if item.is_file() and not item.name.startswith("."))
            lines = [f"{self.sha256(item, report)}  {item.relative_to(path).as_posix()}\n" for item in files]
            return hashlib.sha256("".join(lines).encode()).hexdigest()
        stamp = _stamp(path)
        known = self._query("SELECT sha256 FROM hashes WHERE path = ? AND stamp = ?", str(path), stamp)
        if known:
            return str(known[0][0])
        found = _read(path, report)
        if _stamp(path) != stamp or time.time_ns() - path.stat().st_mtime_ns < SETTLED_NS:
            return found  # it may be written again without its time changing
        self._query("INSERT OR REPLACE INTO hashes (path, stamp, sha256) VALUES (?, ?, ?)", str(path), stamp, found)
        return found

    def knows(self, path: Path) -> bool:
        """Whether the hash of a file, or of a file in a folder, is memoised: asking for it is cheap."""
        one = next((item for item in path.rglob("*.safetensors")), path) if path.is_dir() else path
        return bool(self._query("SELECT sha256 FROM hashes WHERE path = ? AND stamp = ?", str(one), _stamp(one)))

    def _query(self, statement: str, *values: str) -> list[tuple[str]]:
        try:
            return self._run(statement, values)
        except (OSError, sqlite3.OperationalError):
            return []  # locked, full or read-only
        except sqlite3.DatabaseError:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
        return []

    def _run(self, statement: str, values: tuple[str, ...]) -> list[tuple[str]]:
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


def _stamp(path: Path) -> str:
    facts = path.stat()
    return f"{facts.st_size}:{facts.st_mtime_ns}:{facts.st_ino}"


def _read(path: Path, report: Progress | None) -> str:
    state, done, size = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            state.update(chunk)
            done += len(chunk)
            if report is not None:
                report(done, size)
    return state.hexdigest()
