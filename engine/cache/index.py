"""The index of the cache's disk tier (the ledger): rows in a SQLite file that several processes may share."""

import contextlib
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from latentloom.engine.cache.adoption import adopt, adopt_kept, changed_folders
from latentloom.engine.cache.breaker import Act, Breaker
from latentloom.engine.cache.known_keys import KnownKeys
from latentloom.engine.cache.schema import PAGE, TABLES, key_of, prepare, row_bytes
from latentloom.engine.failpoints import failpoint

T = TypeVar("T")
Texts = Literal["results", "fields"]
Table = Literal["results", "fields", "blobs", "kept"]
Notice = Callable[[str, str], None]
BATCH = 4096  # rows that may wait for a commit
BATCH_BYTES = 8 * 2**20  # bytes that may wait for a commit
PATIENCE = 30.0  # seconds to wait for other processes
USED_AGAIN = 3600.0  # seconds after which the time of a result's last use is updated
LOG_BYTES = 4 * 2**20  # SQLite's own default


class Entry(NamedTuple):
    """One entry of the ledger: a result, the fields of a key, a value's file, or a step's kept state."""

    table: Table
    key: str
    nbytes: int


class Index:
    """Records by table and key, and the sizes of all cache entries. Rows stay in memory until `commit`.

    No lock is held after a call. A damaged file is moved to quarantine/ and created again. A file that cannot be read
    or written is not accessed for a minute. A commit detects that another process emptied or removed the file.
    """

    def __init__(
        self,
        folder: Path,
        blobs: Path,
        notice: Notice,
        clock: Callable[[], float] = time.time,
        log_bytes: int = LOG_BYTES,
    ) -> None:
        """`notice(code, message)` is called once for each kind of fault, and again if it recurs after a recovery.

        `log_bytes`: the size limit of SQLite's write-ahead log.
        """
        self._folder = folder
        self._blobs = blobs
        self._notice = notice
        self._clock = clock
        self._log_bytes = log_bytes
        self._path = folder / "cache.db"
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # device and inode of the open file
        self._generation = ""
        self._emptied = False
        self._texts: dict[Texts, dict[str, str]] = {"results": {}, "fields": {}}
        self._sizes: dict[str, int] = {}
        self._waiting = self._bytes = 0  # rows and bytes that wait for a commit
        self._again: set[str] = set()
        self._told: set[str] = set()
        self._breaker = Breaker(clock)
        self._known = KnownKeys(clock)

    # Texts

    def text(self, table: Texts, key: str) -> str | None:
        """Return the record of a key, or None."""
        waiting = self._texts[table].get(key)
        if waiting is not None:
            return waiting
        if table == "results" and self._known.lacks(key):
            return None
        found = self._try(lambda c: self._row(c, table, key), None)
        if found is None:
            return None
        if table == "results" and self._clock() - found[1] > USED_AGAIN:
            self._again.add(key)
        return str(found[0])

    def _row(self, connection: sqlite3.Connection, table: Texts, key: str) -> Any:
        found = connection.execute(f"SELECT record, used FROM {table} WHERE key = ?", (key,)).fetchone()
        if table == "results":
            self._known.note(connection, found=found is not None)
        return found

    def put_text(self, table: Texts, key: str, text: str) -> None:
        """Store a record with the next commit."""
        self._texts[table][key] = text
        self._waiting += 1
        self._bytes += len(text)

    def used(self, digest: str, nbytes: int) -> None:
        """Note that a blob of `nbytes` exists and was used now."""
        self._bytes += nbytes if digest not in self._sizes else 0
        self._sizes[digest] = nbytes

    def waits(self, most_bytes: int) -> bool:
        """Whether a commit is due: BATCH rows or more than `most_bytes` bytes wait."""
        return self._waiting >= BATCH or self._bytes > most_bytes

    def commit(self) -> None:
        """Write the waiting rows. If that fails, they keep waiting, or are dropped if there are too many."""
        if any(self._texts.values()) or self._sizes or self._again:
            self._look()
            if not self._try(self._write, False, writes=True) and self.waits(BATCH_BYTES):
                self._forget()

    def _write(self, connection: sqlite3.Connection) -> bool:
        now = self._clock()
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            failpoint("cache.index.opened")
            if self._cleared(connection):
                self._forget()  # the rows belong to removed entries; the existing files are counted
                adopt(connection, self._blobs, changed_folders(connection, self._blobs))
            for table, rows in self._texts.items():
                texts = ((key, text, row_bytes(text), now) for key, text in rows.items())
                connection.executemany(_UPSERT_TEXT.format(table), texts)
            blobs = ((digest, nbytes, now) for digest, nbytes in self._sizes.items())
            connection.executemany(_UPSERT_BLOB, blobs)
            connection.executemany("UPDATE results SET used = ? WHERE key = ?", ((now, key) for key in self._again))
            failpoint("cache.index.written")
        failpoint("cache.index.committed")
        self._known.add(self._texts["results"])
        self._forget()
        return True

    def _forget(self) -> None:
        self._texts, self._sizes, self._again = {"results": {}, "fields": {}}, {}, set()
        self._waiting = self._bytes = 0

    # Kept state

    def keep(self, key: str, nbytes: int) -> bool:
        """Count the kept state of a key at once. Returns False if the file cannot be written now."""

        def write(connection: sqlite3.Connection) -> bool:
            connection.execute(_UPSERT_KEPT, (key, nbytes, self._clock()))
            return True

        return self._try(write, False, writes=True)

    # The ledger

    def total(self) -> int:
        """Return the total bytes of all entries. The total is maintained by triggers."""
        found = self._try(lambda c: c.execute("SELECT sum(bytes) FROM totals").fetchone(), None)
        return int(found[0] or 0) if found else 0

    def counts(self) -> dict[str, int]:
        """Return the number of entries by table."""
        return dict(self._rows("SELECT name, count FROM totals"))

    def oldest(self, count: int, *, kept: bool) -> list[Entry]:
        """Return the least recently used entries, oldest first.

        Kept state whose step has a result comes before all others. With `kept`, all other kept state comes last.
        """
        rows = self._rows(_FINISHED, count) + self._rows(_OLDEST, count)
        if kept and len(rows) < count:
            rows += self._rows(_UNFINISHED, count)
        return [Entry(*row) for row in rows]

    def _rows(self, statement: str, *values: int) -> list[Any]:
        nothing: list[Any] = []
        return self._try(lambda c: c.execute(statement, values).fetchall(), nothing)

    def drop(self, entries: Iterable[Entry]) -> bool:
        """Remove entries. Returns False if the file cannot be written now."""

        def write(connection: sqlite3.Connection) -> bool:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                for entry in entries:
                    connection.execute(f"DELETE FROM {entry.table} WHERE {key_of(entry.table)} = ?", (entry.key,))
            return True

        return self._try(write, False, writes=True)

    def shrink(self, *, now: bool) -> None:
        """Return unused pages to the file system. The log is truncated `now`, or if it is large."""

        def write(connection: sqlite3.Connection) -> None:
            connection.executescript("PRAGMA incremental_vacuum")  # execute would free one page only
            if now or self._path.with_name("cache.db-wal").stat().st_size > 2 * self._log_bytes:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

        self._try(write, None, writes=True)

    def clear(self) -> None:
        """Remove all entries. Other processes detect it. Raises OSError or sqlite3.Error."""
        self._forget()
        self._look()
        connection = self._open()
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            for table in (*TABLES, "shards"):
                connection.execute(f"DELETE FROM {table}")
            self._generation = _new_generation(connection)
        self._emptied = True
        self.shrink(now=True)

    def emptied(self) -> bool:
        """Whether the cache was emptied or the file removed since the last call."""
        self._known.forget()
        if self._connection is not None:
            self._look()
            if self._try(self._cleared, False):
                self._forget()
                self._try(self._count_files, None, writes=True)
        found, self._emptied = self._emptied, False
        return found

    def _count_files(self, connection: sqlite3.Connection) -> None:
        folders = changed_folders(connection, self._blobs)
        adopt_kept(connection, self._folder / "kept")
        if folders:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                adopt(connection, self._blobs, folders)

    def _cleared(self, connection: sqlite3.Connection) -> bool:
        now = _generation(connection)
        cleared = now != self._generation
        self._generation = now
        self._emptied |= cleared
        return cleared

    # The file

    def close(self) -> None:
        """Close the file. Waiting rows are lost."""
        self._forget()
        self._let_go()

    def _let_go(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _look(self) -> None:
        """Close the file if the path no longer refers to it, because the folder was removed."""
        with contextlib.suppress(OSError):
            if self._connection is None or _identity(self._path) == self._file:
                return
        if self._connection is not None:
            self._let_go()
            self._forget()
            self._emptied = True

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            connection = sqlite3.connect(self._path, timeout=PATIENCE, check_same_thread=False, isolation_level=None)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection, self._file = connection, _identity(self._path)
        return self._connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect in a new file only
        _enter_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {self._log_bytes}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {self._log_bytes // PAGE}")
        prepare(connection)
        self._generation = _generation(connection)
        with contextlib.suppress(sqlite3.OperationalError):  # the folder is read-only
            self._count_files(connection)

    # Faults

    @property
    def writable(self) -> bool:
        """Whether writes are attempted: no failure within the last minute."""
        return self._breaker.allows("write")

    def _try(self, act: Callable[[sqlite3.Connection], T], otherwise: T, *, writes: bool = False) -> T:
        if not self._breaker.allows("write" if writes else "read"):
            return otherwise
        try:
            found = act(self._open())
        except (sqlite3.OperationalError, OSError) as error:
            self.stop(error, "write" if writes else "read")
        except sqlite3.DatabaseError as error:
            if type(error) is sqlite3.DatabaseError:  # not a database, or damaged
                self._set_aside(error)
            else:
                self.stop(error, "write" if writes else "read")
        else:
            if writes and self._breaker.worked():
                self._told.discard("cache_not_written")  # report the next fault again
            return found
        return otherwise

    def stop(self, error: Exception, act: Act = "write") -> None:
        """Pause access to the folder: it is full, read-only or locked by another process."""
        self._breaker.failed(act)
        where = f"the cache at {self._folder} cannot be written to ({error})"
        self.tell("cache_not_written", f"{where}; the run continues without it")

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
        self.tell("cache_corrupt", f"the cache's index was damaged; it is in {place} and results are computed again")

    def tell(self, code: str, message: str) -> None:
        """Report a kind of fault once."""
        if code not in self._told:
            self._told.add(code)
            self._notice(code, message)


_UPSERT_TEXT = (
    "INSERT INTO {} VALUES (?, ?, ?, ?) ON CONFLICT (key)"
    " DO UPDATE SET record = excluded.record, bytes = excluded.bytes, used = excluded.used"
)
_UPSERT_BLOB = (
    "INSERT INTO blobs VALUES (?, ?, ?) ON CONFLICT (digest) DO UPDATE SET bytes = excluded.bytes, used = excluded.used"
)
_UPSERT_KEPT = _UPSERT_BLOB.replace("blobs", "kept").replace("digest", "key")
_OLDEST = (
    "SELECT name, key, bytes FROM (SELECT 'results' AS name, key, bytes, used FROM results"
    " UNION ALL SELECT 'fields', key, bytes, used FROM fields"
    " UNION ALL SELECT 'blobs', digest, bytes, used FROM blobs ORDER BY used LIMIT ?)"
)
_HAS_RESULT = "EXISTS (SELECT 1 FROM results WHERE results.key = kept.key)"
_FINISHED = f"SELECT 'kept', key, bytes FROM kept WHERE {_HAS_RESULT} LIMIT ?"
_UNFINISHED = f"SELECT 'kept', key, bytes FROM kept WHERE NOT {_HAS_RESULT} ORDER BY used LIMIT ?"


def _identity(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_dev, facts.st_ino


def _generation(connection: sqlite3.Connection) -> str:
    """Return an id that changes whenever the cache is emptied."""
    return str(connection.execute("SELECT value FROM facts WHERE name = 'generation'").fetchone()[0])


def _new_generation(connection: sqlite3.Connection) -> str:
    connection.execute("UPDATE facts SET value = ? WHERE name = 'generation'", (uuid.uuid4().hex,))
    return _generation(connection)


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging. SQLite does not wait if several processes switch a new file at the same time."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(0.005)
