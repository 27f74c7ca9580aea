"""The queue's database: a SQLite file that one server uses, its schema, and its transactions."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from latentloom.engine.failpoints import failpoint
from latentloom.engine.jobs.faults import DatabaseError

VERSION = 7
_SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE jobs (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL,
  priority INTEGER NOT NULL,
  position REAL NOT NULL,
  owner TEXT NOT NULL,
  name TEXT NOT NULL,
  document TEXT NOT NULL,
  outputs TEXT,
  tags TEXT NOT NULL,
  idempotency_key TEXT,
  request TEXT NOT NULL,
  device INTEGER NOT NULL,
  retry_of TEXT,
  webhook TEXT,
  webhook_due REAL,
  webhook_tries INTEGER NOT NULL DEFAULT 0,
  created REAL NOT NULL,
  started REAL,
  finished REAL,
  attempt INTEGER NOT NULL DEFAULT 0,
  deaths INTEGER NOT NULL DEFAULT 0,
  ends INTEGER NOT NULL DEFAULT 0,
  result TEXT NOT NULL DEFAULT '{}',
  problems TEXT NOT NULL DEFAULT '[]'
);
CREATE INDEX jobs_by_place ON jobs (state, priority DESC, position);
CREATE INDEX jobs_by_owner ON jobs (owner, state);
CREATE INDEX jobs_by_webhook ON jobs (webhook_due) WHERE webhook_due IS NOT NULL;
CREATE UNIQUE INDEX jobs_by_key ON jobs (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE TABLE attempts (token INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, worker TEXT NOT NULL);
CREATE INDEX attempts_by_job ON attempts (job);
CREATE TABLE events (number INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, record TEXT NOT NULL);
CREATE INDEX events_by_job ON events (job, number);
CREATE TABLE effects (
  job TEXT NOT NULL, node TEXT NOT NULL, item INTEGER NOT NULL,
  state TEXT NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL,
  PRIMARY KEY (job, node, item)
) WITHOUT ROWID;
CREATE TABLE outputs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  sha256 TEXT NOT NULL, path TEXT NOT NULL, job TEXT NOT NULL, node TEXT NOT NULL, item INTEGER NOT NULL,
  workflow TEXT NOT NULL, media TEXT NOT NULL, bytes INTEGER NOT NULL, width INTEGER, height INTEGER,
  created REAL NOT NULL, texts TEXT NOT NULL, models TEXT NOT NULL, seed TEXT, tags TEXT NOT NULL,
  UNIQUE (job, node, item)
);
CREATE INDEX outputs_by_hash ON outputs (sha256);
CREATE TABLE workflows (
  name TEXT NOT NULL, version INTEGER NOT NULL, document TEXT, saved REAL NOT NULL, PRIMARY KEY (name, version)
) WITHOUT ROWID;
CREATE TABLE drafts (id TEXT PRIMARY KEY, revision INTEGER NOT NULL, document TEXT NOT NULL, saved REAL NOT NULL)
  WITHOUT ROWID;
"""
_WAL_RESET_MENDED = ((3, 51, 3), (3, 50, 7), (3, 44, 6))  # and later releases with the same minor number
_STEPS = {  # migrations from a version to the next; a new database runs all of them
    1: """
DELETE FROM outputs WHERE id NOT IN (SELECT max(id) FROM outputs GROUP BY path);
CREATE UNIQUE INDEX outputs_by_path ON outputs (path);
INSERT INTO settings VALUES ('stream', lower(hex(randomblob(8))));
CREATE TABLE replies (
  owner TEXT NOT NULL, idempotency_key TEXT NOT NULL, request TEXT NOT NULL, answer TEXT NOT NULL,
  made REAL NOT NULL, PRIMARY KEY (owner, idempotency_key)
) WITHOUT ROWID;
CREATE INDEX replies_by_age ON replies (made);
""",
    2: "ALTER TABLE outputs ADD COLUMN outputs TEXT NOT NULL DEFAULT '[]'",
    3: """
CREATE TABLE turns (owner TEXT PRIMARY KEY, turn INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX jobs_by_turn ON jobs (state, device, owner, priority DESC, position);
ALTER TABLE events ADD COLUMN owner TEXT;
UPDATE events SET owner = CASE job WHEN '' THEN '' ELSE (SELECT owner FROM jobs WHERE id = events.job) END;
CREATE INDEX events_by_owner ON events (owner, number);
ALTER TABLE outputs ADD COLUMN owner TEXT NOT NULL DEFAULT 'local';
UPDATE outputs SET owner = coalesce((SELECT owner FROM jobs WHERE id = outputs.job), 'local');
CREATE INDEX outputs_by_owner ON outputs (owner, id);
CREATE TABLE owned_workflows (
  owner TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, document TEXT, saved REAL NOT NULL,
  PRIMARY KEY (owner, name, version)
) WITHOUT ROWID;
INSERT INTO owned_workflows SELECT '', name, version, document, saved FROM workflows;
DROP TABLE workflows;
ALTER TABLE owned_workflows RENAME TO workflows;
CREATE TABLE owned_drafts (
  owner TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL, document TEXT NOT NULL, saved REAL NOT NULL,
  PRIMARY KEY (owner, id)
) WITHOUT ROWID;
INSERT INTO owned_drafts SELECT '', id, revision, document, saved FROM drafts;
DROP TABLE drafts;
ALTER TABLE owned_drafts RENAME TO drafts
""",
    4: """
CREATE TABLE batches (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE, state TEXT NOT NULL, document TEXT NOT NULL, name TEXT NOT NULL, outputs TEXT,
  owner TEXT NOT NULL, device INTEGER NOT NULL, columns INTEGER NOT NULL, priority INTEGER NOT NULL,
  tags TEXT NOT NULL, webhook TEXT, webhook_due REAL, webhook_tries INTEGER NOT NULL DEFAULT 0,
  created REAL NOT NULL, finished REAL, total INTEGER NOT NULL
);
CREATE INDEX batches_by_state ON batches (state);
CREATE INDEX batches_by_webhook ON batches (webhook_due) WHERE webhook_due IS NOT NULL;
CREATE TABLE cells (
  batch INTEGER NOT NULL, place INTEGER NOT NULL, turn INTEGER NOT NULL, inputs TEXT NOT NULL, state TEXT NOT NULL,
  job TEXT, seconds REAL, problems TEXT NOT NULL DEFAULT '[]', PRIMARY KEY (batch, place)
) WITHOUT ROWID;
CREATE INDEX cells_by_turn ON cells (batch, state, turn);
CREATE INDEX cells_by_job ON cells (job) WHERE state = 'open';
""",
    5: """
ALTER TABLE outputs ADD COLUMN choices TEXT NOT NULL DEFAULT '[]';
UPDATE outputs SET choices = coalesce((
  SELECT json_group_array(DISTINCT found.value)
  FROM jobs, json_tree(CASE WHEN json_valid(jobs.document) THEN jobs.document ELSE '{}' END) AS found
  WHERE jobs.id = outputs.job AND found.key IN ('sampler', 'schedule') AND found.type = 'text'
), '[]')
""",
    6: "ALTER TABLE jobs ADD COLUMN models TEXT NOT NULL DEFAULT '[]'",
}


def sqlite_faults(version: Sequence[int] = sqlite3.sqlite_version_info) -> tuple[str, ...]:
    """Return the known bugs of a SQLite version that affect this program, as sentences."""
    version = tuple(version)
    newest = max(_WAL_RESET_MENDED)
    mended = version >= newest or any(version[:2] == one[:2] and version >= one for one in _WAL_RESET_MENDED)
    if mended or version < (3, 7):
        return ()
    name = ".".join(map(str, version))
    return (
        f"SQLite {name} has the WAL-reset bug (sqlite.org/wal.html#walresetbug): in rare cases it damages a database"
        " that several processes write, as they do the cache's index",
    )


def connect(path: Path, *, readonly: bool = False) -> sqlite3.Connection:
    """Return a connection without implicit transactions. Raises DatabaseError if the schema is newer."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    connection.row_factory = sqlite3.Row
    if readonly:
        connection.execute("PRAGMA query_only = ON")
        return connection
    path.chmod(0o600)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 2000")
    _bring_up(connection, path)
    return connection


def _bring_up(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise DatabaseError(
            f"the queue at {path} was written by a newer version of Latentloom",
            expected=f"schema {VERSION} or older",
            got=f"schema {version}",
            hint="update Latentloom, or choose another data folder",
        )
    with transaction(connection, durable=True):
        if version == 0:
            _script(connection, _SCHEMA)
        for step in range(max(version, 1), VERSION):
            _script(connection, _STEPS[step])
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _script(connection: sqlite3.Connection, text: str) -> None:
    """Execute several statements. `executescript` would commit the transaction first."""
    for statement in text.split(";"):
        if statement.strip():
            connection.execute(statement)


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, *, durable: bool) -> Iterator[None]:
    """Run a block as one transaction. With `durable`, it survives a power failure as soon as the block has ended."""
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        failpoint("queue.written")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    failpoint("queue.committed")
