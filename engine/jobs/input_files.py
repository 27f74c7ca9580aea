"""Which input pictures are named by jobs, batches, saved workflows and drafts."""

import json
import re
import sqlite3

from latentloom.engine.jobs.states import OPEN

_BY_HASH = re.compile(r"(?:by-owner/[^/\"]+/)?by-hash/[0-9a-f]{2}/[0-9a-f]{64}\.\w{1,5}")


def jobs_using(connection: sqlite3.Connection, name: str, owner: str | None) -> list[str]:
    """Return the ids of the waiting and running jobs whose documents contain the name of a file.

    With `owner`, only the jobs of that owner.
    """
    states = ", ".join(f"'{state}'" for state in OPEN)
    text = json.dumps(name, ensure_ascii=False)
    rows = connection.execute(
        f"SELECT id FROM jobs WHERE state IN ({states}) AND (instr(document, ?) OR instr(document, ?))"
        " AND owner = coalesce(?, owner)",
        (text, f"{text[:-1]}@sha256:", owner),
    )
    return [row[0] for row in rows]


def batches_using(connection: sqlite3.Connection, name: str, owner: str | None) -> list[str]:
    """Return the ids of the batches with a waiting run whose document or inputs contain the name of a file.

    With `owner`, only the batches of that owner.
    """
    text = json.dumps(name, ensure_ascii=False)
    texts = (text, f"{text[:-1]}@sha256:")
    rows = connection.execute(
        "SELECT id FROM batches WHERE owner = coalesce(?, owner) AND EXISTS (SELECT 1 FROM cells WHERE batch = seq"
        " AND cells.state = 'waiting' AND (instr(inputs, ?) OR instr(inputs, ?) OR instr(document, ?)"
        " OR instr(document, ?)))",
        (owner, *texts, *texts),
    )
    return [row[0] for row in rows]


def named_by_hash(connection: sqlite3.Connection) -> set[str]:
    """Return the names of all files that were stored under their hash and occur in a stored document."""
    found: set[str] = set()
    documents = [(table, "document") for table in ("jobs", "batches", "workflows", "drafts")]
    for table, column in (*documents, ("cells", "inputs")):
        for (text,) in connection.execute(f"SELECT {column} FROM {table} WHERE instr({column}, 'by-hash/')"):
            found.update(_BY_HASH.findall(text))
    return found
