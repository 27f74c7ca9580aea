"""Synchronises the ledger with the value files: a process may end before it records a file that it wrote."""

import contextlib
import os
import sqlite3
from pathlib import Path

SUFFIX = ".safetensors"


def changed_folders(connection: sqlite3.Connection, blobs: Path) -> dict[str, int | None]:
    """Return the folders in `blobs` that changed since they were last recorded, with their current mtime (ns)."""
    known = dict(connection.execute("SELECT name, changed FROM shards"))
    there: dict[str, int] = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(blobs) as folders:
        there = {folder.name: folder.stat().st_mtime_ns for folder in folders if len(folder.name) == 2}
    return {name: there.get(name) for name in known.keys() | there.keys() if known.get(name) != there.get(name)}


def adopt(connection: sqlite3.Connection, blobs: Path, folders: dict[str, int | None]) -> None:
    """Update the ledger to the files in folders. If another process records the same file too, the rows are equal."""
    for name, changed in folders.items():
        files = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(blobs / name) as found:
            files = {item.name.removesuffix(SUFFIX): item.stat() for item in found if _is_value(item.name)}
        rows = {row[0] for row in connection.execute(_OF_FOLDER, (name, name + "g"))}
        new = ((digest, stat.st_size, stat.st_mtime) for digest, stat in files.items() if digest not in rows)
        connection.executemany("INSERT OR IGNORE INTO blobs VALUES (?, ?, ?)", new)
        connection.executemany("DELETE FROM blobs WHERE digest = ?", ((digest,) for digest in rows - files.keys()))
        connection.execute("DELETE FROM shards WHERE name = ?", (name,))
        if changed is not None:
            connection.execute("INSERT INTO shards VALUES (?, ?)", (name, changed))


def adopt_kept(connection: sqlite3.Connection, folder: Path) -> None:
    """Count the files of kept state that have no row, because the index was made anew."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as found:
        files = {item.name: item.stat() for item in found if not item.name.startswith(".")}
        rows = {row[0] for row in connection.execute("SELECT key FROM kept")}
        new = ((key, stat.st_size, stat.st_mtime) for key, stat in files.items() if key not in rows)
        connection.executemany("INSERT OR IGNORE INTO kept VALUES (?, ?, ?)", new)


_OF_FOLDER = "SELECT digest FROM blobs WHERE digest >= ? AND digest < ?"  # "g" sorts after hexadecimal digits


def _is_value(name: str) -> bool:
    return name.endswith(SUFFIX) and not name.startswith(".")
