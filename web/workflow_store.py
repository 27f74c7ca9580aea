"""Saved workflows with their versions, and drafts. Runs inside its caller's transactions."""

import sqlite3
from collections.abc import Callable, Collection
from typing import NamedTuple

from latentloom.engine.document.reading import MAX_NAME
from latentloom.engine.errors import LoomError

KEPT_VERSIONS = 50
LISTED_DRAFTS = 1000
_NAME = f"substr(json_extract(document, '$.name'), 1, {MAX_NAME})"
_DRAFT_NAME = f"CASE json_type(document, '$.name') WHEN 'text' THEN {_NAME} ELSE '' END"


Expected = Collection[int] | None
"""The numbers that a change may be based on, 0 where there is nothing yet; None: whatever is there."""


class UnknownDocument(LoomError):
    """No workflow or draft has that name."""

    code = "unknown_workflow"


class Conflict(LoomError):
    """Somebody else saved a newer version in the meantime."""

    code = "version_conflict"


class Saved(NamedTuple):
    """A version of a saved workflow; `document` is its canonical text."""

    name: str
    version: int
    document: str
    saved: float


class Draft(NamedTuple):
    """An unfinished document, as an editor left it: any JSON object. `name` is the one in it, if it has one."""

    id: str
    revision: int
    document: str
    saved: float
    name: str


class WorkflowStore:
    """What people keep on the server."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = clock

    # Workflows: a version without a document marks a removal, so that version numbers are never used twice

    def names(self) -> list[Saved]:
        """The newest version of every workflow, without its document."""
        rows = self._connection.execute(
            "SELECT name, version, '', saved FROM workflows AS w WHERE document IS NOT NULL AND version ="
            " (SELECT max(version) FROM workflows WHERE name = w.name) ORDER BY name"
        )
        return [Saved(*row) for row in rows]

    def workflow(self, name: str, version: int | None = None) -> Saved:
        """One version, or the newest. Raises UnknownDocument."""
        newest = self._newest(name)
        row = self._connection.execute(
            "SELECT name, version, document, saved FROM workflows WHERE name = ? AND version = ?",
            (name, newest if version is None else version),
        ).fetchone()
        if row is None or row["document"] is None:
            what = f"version {version} of '{name}'" if version is not None else f"'{name}'"
            raise UnknownDocument(f"there is no workflow {what}")
        return Saved(*row)

    def versions(self, name: str) -> list[Saved]:
        """Every kept version, the newest first, without the documents."""
        rows = self._connection.execute(
            "SELECT name, version, '', saved FROM workflows WHERE name = ? AND document IS NOT NULL"
            " ORDER BY version DESC",
            (name,),
        )
        return [Saved(*row) for row in rows]

    def save(self, name: str, document: str, expected: Expected) -> Saved:
        """Save a new version, if the newest one's number is expected.

        Raises Conflict.
        """
        self._expect(name, expected)
        version = self._newest(name) + 1
        self._connection.execute("INSERT INTO workflows VALUES (?, ?, ?, ?)", (name, version, document, self._clock()))
        self._connection.execute(
            "DELETE FROM workflows WHERE name = ? AND version <= ?", (name, version - KEPT_VERSIONS)
        )
        return self.workflow(name)

    def remove(self, name: str, expected: Expected) -> None:
        """Remove a workflow with its versions. Raises UnknownDocument, Conflict."""
        self.workflow(name)
        self._expect(name, expected)
        version = self._newest(name) + 1
        self._connection.execute("DELETE FROM workflows WHERE name = ?", (name,))
        self._connection.execute("INSERT INTO workflows VALUES (?, ?, NULL, ?)", (name, version, self._clock()))

    def _newest(self, name: str) -> int:
        found = self._connection.execute("SELECT max(version) FROM workflows WHERE name = ?", (name,)).fetchone()[0]
        return int(found or 0)

    def _expect(self, name: str, expected: Expected) -> None:
        rows = self.versions(name)
        current = rows[0].version if rows else 0
        if expected is not None and current not in expected:
            raise Conflict(
                f"the workflow '{name}' was saved by somebody else in the meantime",
                expected=_told("version", expected, "no such workflow"),
                got=_told("version", (current,), "no such workflow"),
                hint="load it again, or save under another name",
            )

    # Drafts

    def drafts(self) -> list[Draft]:
        """The newest drafts, without their documents."""
        statement = f"SELECT id, revision, '', saved, {_DRAFT_NAME} FROM drafts ORDER BY saved DESC, id LIMIT ?"
        rows = self._connection.execute(statement, (LISTED_DRAFTS,))
        return [Draft(*row) for row in rows]

    def draft(self, id: str) -> Draft:
        """One draft. Raises UnknownDocument."""
        row = self._connection.execute(
            f"SELECT id, revision, document, saved, {_DRAFT_NAME} FROM drafts WHERE id = ?", (id,)
        ).fetchone()
        if row is None:
            raise UnknownDocument(f"there is no draft '{id}'")
        return Draft(*row)

    def keep_draft(self, id: str, document: str, expected: Expected) -> Draft:
        """Keep a draft in place of the one before, if that one's revision is expected. Raises Conflict."""
        self._expect_draft(id, expected)
        self._connection.execute(
            "INSERT INTO drafts VALUES (?, 1, ?, ?) ON CONFLICT (id) DO UPDATE SET"
            " revision = revision + 1, document = excluded.document, saved = excluded.saved",
            (id, document, self._clock()),
        )
        return self.draft(id)

    def drop_draft(self, id: str, expected: Expected) -> None:
        """Remove a draft, if its revision is expected. Raises UnknownDocument, Conflict."""
        self.draft(id)
        self._expect_draft(id, expected)
        self._connection.execute("DELETE FROM drafts WHERE id = ?", (id,))

    def _expect_draft(self, id: str, expected: Expected) -> None:
        row = self._connection.execute("SELECT revision FROM drafts WHERE id = ?", (id,)).fetchone()
        current = row["revision"] if row else 0
        if expected is not None and current not in expected:
            raise Conflict(
                f"the draft '{id}' was changed by somebody else in the meantime",
                expected=_told("revision", expected, "no such draft"),
                got=_told("revision", (current,), "no such draft"),
                hint="keep it under another id",
            )


def _told(what: str, numbers: Collection[int], none: str) -> str:
    return " or ".join(f"{what} {number}" if number else none for number in numbers) or f"another {what}"
