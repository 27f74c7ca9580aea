"""The tables of the cache's ledger. Triggers maintain the totals."""

import sqlite3
from collections.abc import Iterator

VERSION = 3
PAGE = 4096  # SQLite's default
TABLES = ("results", "fields", "blobs", "kept")
FILES = ("blobs", "kept")  # tables whose entries are files, by their names


def row_bytes(text: str) -> int:
    """Return an upper bound (measured) of a record's bytes on disk: key, indexes, and overflow pages of long rows."""
    nbytes = len(text.encode()) + 300
    return nbytes if nbytes < PAGE // 4 else -(-nbytes // PAGE) * PAGE + 200


def prepare(connection: sqlite3.Connection) -> None:
    """Create the tables in a new file, or bring an older file up to this schema.

    In a file of schema 1, the old tables are dropped: results are computed again. Schema 2 had no kept state.
    """
    if _version(connection) == VERSION:
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        known = _version(connection)
        if known == VERSION:  # another process has done it
            return
        columns = [row[1] for row in connection.execute("PRAGMA table_info(results)")]
        for table in TABLES[:3] if columns == ["key", "record"] else ():
            connection.execute(f"DROP TABLE {table}")
        for statement in _table("kept") if known == 2 else _statements():
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _statements() -> Iterator[str]:
    yield "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
    yield "INSERT INTO facts VALUES ('generation', lower(hex(randomblob(16))))"
    yield "CREATE TABLE shards (name TEXT PRIMARY KEY, changed INTEGER NOT NULL) WITHOUT ROWID"
    yield "CREATE TABLE totals (name TEXT PRIMARY KEY, count INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID"
    for name in TABLES:
        yield from _table(name)


def _table(name: str) -> Iterator[str]:
    text = "" if name in FILES else "record TEXT NOT NULL, "
    columns = f"{key_of(name)} TEXT PRIMARY KEY, {text}bytes INTEGER NOT NULL, used REAL NOT NULL"
    yield f"CREATE TABLE {name} ({columns}) {'WITHOUT ROWID' if not text else ''}"  # wasteful for long rows
    yield f"CREATE INDEX {name}_by_use ON {name} (used)"
    yield f"INSERT INTO totals VALUES ('{name}', 0, 0)"
    change = f"UPDATE totals SET count = count {{}} 1, bytes = bytes {{}} WHERE name = '{name}'; END"
    yield f"CREATE TRIGGER {name}_come AFTER INSERT ON {name} BEGIN {change.format('+', '+ new.bytes')}"
    yield f"CREATE TRIGGER {name}_go AFTER DELETE ON {name} BEGIN {change.format('-', '- old.bytes')}"
    change = f"UPDATE totals SET bytes = bytes + new.bytes - old.bytes WHERE name = '{name}'; END"
    yield f"CREATE TRIGGER {name}_change AFTER UPDATE OF bytes ON {name} BEGIN {change}"


def key_of(table: str) -> str:
    """Return the name of a table's key column."""
    return "digest" if table == "blobs" else "key"
