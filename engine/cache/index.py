"""The index of the cache's disk tier: rows in one SQLite file that several processes may share."""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, TypeVar

from latentloom.engine.failpoints import failpoint

T = TypeVar("T")
Table = Literal["results", "fields"]
Notice = Callable[[str, str], None]
BATCH = 4096  # rows that may wait for a commit
PATIENCE = 30.0  # seconds to wait for other processes
_SCHEMA = """
CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fields (key TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blobs (digest TEXT PRIMARY KEY, bytes INTEGER NOT NULL, used REAL NOT NULL) WITHOUT ROWID;
"""


class Index:
    """Texts by table and key, and the sizes of blobs. Rows wait in memory until `commit`: no lock outlives a call.

    A file that is damaged is set aside and started anew; one that cannot be written to is left alone from then on.
    """

    def __init__(self, folder: Path, blobs: Path, notice: Notice, clock: Callable[[], float] = time.time) -> None:
        """`notice(code, message)` hears of each kind of fault once."""
        self._folder = folder
        self._blobs = blobs
        self._notice = notice
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._texts: dict[Table, dict[str, str]] = {"results": {}, "fields": {}}
        self._sizes: dict[str, int] = {}
        self._told: set[str] = set()
        self.writable = True

    def text(self, table: Table, key: str) -> str | None:
        """The text of a key, or None."""
        waiting = self._texts[table].get(key)
        if waiting is not None:
            return waiting
        statement = f"SELECT record FROM {table} WHERE key = ?"
        found = self._try(lambda c: c.execute(statement, (key,)).fetchone(), None)
        return str(found[0]) if found else None

    def put_text(self, table: Table, key: str, text: str) -> None:
        """Keep a text."""
        if self.writable:
            self._texts[table][key] = text
            if sum(map(len, self._texts.values())) >= BATCH:
                self.commit()

    def used(self, digest: str, nbytes: int) -> None:
        """Note that a blob of nbytes is there and was used now."""
        if self.writable:
            self._sizes[digest] = nbytes

    def commit(self) -> None:
        """Write what waits."""
        texts, sizes, now = self._texts, self._sizes, self._clock()
        if not self.writable or not (any(texts.values()) or sizes):
            return
        self._texts, self._sizes = {"results": {}, "fields": {}}, {}

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                failpoint("cache.index.opened")
                for table, rows in texts.items():
                    connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", rows.items())
                rows_of_blobs = ((digest, nbytes, now) for digest, nbytes in sizes.items())
                connection.executemany("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?)", rows_of_blobs)
                failpoint("cache.index.written")
            failpoint("cache.index.committed")

        self._try(write, None)

    def blob_bytes(self) -> int:
        """Bytes of all blobs."""
        self.commit()
        found = self._try(lambda c: c.execute("SELECT coalesce(sum(bytes), 0) FROM blobs").fetchone(), None)
        return int(found[0]) if found else 0

    def counts(self) -> tuple[int, int]:
        """How many results and blobs there are."""
        self.commit()
        statement = "SELECT (SELECT count(*) FROM results), (SELECT count(*) FROM blobs)"
        found = self._try(lambda c: c.execute(statement).fetchone(), None)
        return (int(found[0]), int(found[1])) if found else (0, 0)

    def oldest(self) -> list[tuple[str, int]]:
        """Digest and bytes of every blob, the one that was used longest ago first."""
        return self._try(lambda c: c.execute("SELECT digest, bytes FROM blobs ORDER BY used").fetchall(), [])

    def drop(self, digests: Iterable[str]) -> None:
        """Forget blobs."""
        rows = [(digest,) for digest in digests]

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany("DELETE FROM blobs WHERE digest = ?", rows)

        self._try(write, None)

    def adopt(self) -> None:
        """Count the blobs that are in the folder, whoever wrote them."""

        def write(connection: sqlite3.Connection) -> None:
            facts = ((path.stem, path.stat()) for path in self._blobs.glob("??/*.safetensors"))
            rows = [(digest, stat.st_size, stat.st_mtime) for digest, stat in facts]
            with connection:
                connection.executemany("INSERT OR IGNORE INTO blobs VALUES (?, ?, ?)", rows)

        self._try(write, None)

    def close(self) -> None:
        """Let go of the file; what waits is lost."""
        self._texts, self._sizes = {"results": {}, "fields": {}}, {}
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    # The file

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = self._folder / "cache.db"
            fresh = not path.exists()
            connection = sqlite3.connect(path, timeout=PATIENCE, check_same_thread=False)
            _enter_wal(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_SCHEMA)
            self._connection = connection
            if fresh:
                self.adopt()
        return self._connection

    def _try(self, act: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        try:
            return act(self._open())
        except (sqlite3.OperationalError, OSError) as error:
            self.stop(error)
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
        return otherwise

    def stop(self, error: Exception) -> None:
        """Write no more: the folder is full or read-only."""
        self.writable = False
        where = f"the cache at {self._folder} cannot be written to ({error})"
        self.tell("cache_not_written", f"{where}; the run goes on without it")

    def _set_aside(self, error: Exception) -> None:
        self.close()
        place = self._folder / "quarantine"
        try:
            place.mkdir(exist_ok=True)
            for path in self._folder.glob("cache.db*"):
                path.replace(place / path.name)
        except OSError:
            self.stop(error)
            return
        self.tell("cache_corrupt", f"the cache's index was damaged; it is in {place} and results are made again")

    def tell(self, code: str, message: str) -> None:
        """Give notice of a kind of fault, once."""
        if code not in self._told:
            self._told.add(code)
            self._notice(code, message)


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging. SQLite itself does not wait where several processes switch a new file at once."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(0.005)
