"""Saved workflows with their versions, and drafts. Uses the caller's transactions."""

import sqlite3
from collections.abc import Callable, Collection
from typing import NamedTuple

from latentloom.engine.document.reading import MAX_NAME
from latentloom.engine.errors import LoomError

KEPT_VERSIONS = 50
LISTED_DRAFTS = 1000
_NAME = f"substr(json_extract(document, '$.name'), 1, {MAX_NAME})"
_DRAFT_NAME = f"CASE json_type(document, '$.name') WHEN 'text' THEN {_NAME} ELSE '' END"


ADMINS = ""  # the owner of what admins keep

Expected = Collection[int] | None
"""The version numbers that a change may be based on; 0: none exists yet; None: any."""


class UnknownDocument(LoomError):
    """No workflow or draft has this name."""

    code = "unknown_workflow"


class Conflict(LoomError):
    """Another client has saved a newer version."""

    code = "version_conflict"


class Saved(NamedTuple):
    """A version of a saved workflow. `document` is its canonical text."""

    name: str
    version: int
    document: str
    saved: float


class Draft(NamedTuple):
    """An unfinished document of an editor: any JSON object. `name` is the name in the document, if any."""

    id: str
    revision: int
    document: str
    saved: float
    name: str


class WorkflowStore:
    """The workflows and drafts of one owner, or those of the admins.

    The admins' workflows are for everybody: an owner reads them as version 0, like those that ship.
    """

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float], owner: str = ADMINS) -> None:
        self._connection = connection
        self._clock = clock
        self._owner = owner

    # Workflows: a version without a document marks a removal, so that version numbers are never reused

    def names(self) -> list[Saved]:
        """Return the newest version of each workflow, without the document."""
        rows = self._connection.execute(
            "SELECT name, version, '', saved FROM workflows AS w WHERE owner = ? AND document IS NOT NULL AND version ="
            " (SELECT max(version) FROM workflows WHERE owner = w.owner AND name = w.name)",
            (self._owner,),
        )
        own = {row["name"]: Saved(*row) for row in rows}
        shared = [] if self._owner == ADMINS else self._of_admins().names()
        return sorted([*own.values(), *(_shared(saved) for saved in shared if saved.name not in own)])

    def workflow(self, name: str, version: int | None = None) -> Saved:
        """Return a version, by default the newest. Raises UnknownDocument."""
        if self._owner != ADMINS and (version == 0 or (version is None and not self.versions(name))):
            return _shared(self._of_admins().workflow(name))
        newest = self._newest(name)
        row = self._connection.execute(
            "SELECT name, version, document, saved FROM workflows WHERE owner = ? AND name = ? AND version = ?",
            (self._owner, name, newest if version is None else version),
        ).fetchone()
        if row is None or row["document"] is None:
            what = f"version {version} of '{name}'" if version is not None else f"'{name}'"
            raise UnknownDocument(f"there is no workflow {what}")
        return Saved(*row)

    def _of_admins(self) -> "WorkflowStore":
        return WorkflowStore(self._connection, self._clock)

    def versions(self, name: str) -> list[Saved]:
        """Return all stored versions, newest first, without the documents."""
        rows = self._connection.execute(
            "SELECT name, version, '', saved FROM workflows WHERE owner = ? AND name = ? AND document IS NOT NULL"
            " ORDER BY version DESC",
            (self._owner, name),
        )
        return [Saved(*row) for row in rows]

    def save(self, name: str, document: str, expected: Expected) -> Saved:
        """Save a new version if the number of the newest one is in `expected`.

        A repeated request, whose first answer may have been lost, gets the version that it made. Raises Conflict.
        """
        made = self._made_before(name, document, expected)
        if made is not None:
            return made
        self._expect(name, expected)
        version = self._newest(name) + 1
        self._connection.execute(
            "INSERT INTO workflows VALUES (?, ?, ?, ?, ?)", (self._owner, name, version, document, self._clock())
        )
        self._connection.execute(
            "DELETE FROM workflows WHERE owner = ? AND name = ? AND version <= ?",
            (self._owner, name, version - KEPT_VERSIONS),
        )
        return self.workflow(name)

    def _made_before(self, name: str, document: str, expected: Expected) -> Saved | None:
        """Return the newest version if it is this document, saved over a version in `expected`."""
        newest = self._newest(name)
        if newest < 2 or not expected or newest in expected or newest - 1 not in expected:
            return None
        row = self._connection.execute(
            "SELECT name, version, document, saved FROM workflows WHERE owner = ? AND name = ? AND version = ?",
            (self._owner, name, newest),
        ).fetchone()
        return Saved(*row) if row["document"] == document else None

    def remove(self, name: str, expected: Expected) -> None:
        """Remove a workflow with its versions. Raises UnknownDocument, Conflict."""
        if not self.versions(name):
            raise UnknownDocument(f"there is no workflow '{name}'")
        self._expect(name, expected)
        version = self._newest(name) + 1
        self._connection.execute("DELETE FROM workflows WHERE owner = ? AND name = ?", (self._owner, name))
        self._connection.execute(
            "INSERT INTO workflows VALUES (?, ?, ?, NULL, ?)", (self._owner, name, version, self._clock())
        )

    def _newest(self, name: str) -> int:
        statement = "SELECT max(version) FROM workflows WHERE owner = ? AND name = ?"
        return int(self._connection.execute(statement, (self._owner, name)).fetchone()[0] or 0)

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
        """Return the newest drafts, without their documents."""
        rows = self._connection.execute(
            f"SELECT id, revision, '', saved, {_DRAFT_NAME} FROM drafts WHERE owner = ?"
            " ORDER BY saved DESC, id LIMIT ?",
            (self._owner, LISTED_DRAFTS),
        )
        return [Draft(*row) for row in rows]

    def draft(self, id: str) -> Draft:
        """Return a draft. Raises UnknownDocument."""
        row = self._connection.execute(
            f"SELECT id, revision, document, saved, {_DRAFT_NAME} FROM drafts WHERE owner = ? AND id = ?",
            (self._owner, id),
        ).fetchone()
        if row is None:
            raise UnknownDocument(f"there is no draft '{id}'")
        return Draft(*row)

    def keep_draft(self, id: str, document: str, expected: Expected) -> Draft:
        """Replace a draft if its current revision is in `expected`. Raises Conflict."""
        self._expect_draft(id, expected)
        self._connection.execute(
            "INSERT INTO drafts VALUES (?, ?, 1, ?, ?) ON CONFLICT (owner, id) DO UPDATE SET"
            " revision = revision + 1, document = excluded.document, saved = excluded.saved",
            (self._owner, id, document, self._clock()),
        )
        return self.draft(id)

    def drop_draft(self, id: str, expected: Expected) -> None:
        """Remove a draft if its revision is in `expected`. Raises UnknownDocument, Conflict."""
        self.draft(id)
        self._expect_draft(id, expected)
        self._connection.execute("DELETE FROM drafts WHERE owner = ? AND id = ?", (self._owner, id))

    def _expect_draft(self, id: str, expected: Expected) -> None:
        statement = "SELECT revision FROM drafts WHERE owner = ? AND id = ?"
        row = self._connection.execute(statement, (self._owner, id)).fetchone()
        current = row["revision"] if row else 0
        if expected is not None and current not in expected:
            raise Conflict(
                f"the draft '{id}' was changed by somebody else in the meantime",
                expected=_told("revision", expected, "no such draft"),
                got=_told("revision", (current,), "no such draft"),
                hint="keep it under another id",
            )


def _shared(saved: Saved) -> Saved:
    """Return an admin's workflow as other owners see it."""
    return saved._replace(version=0)


def _told(what: str, numbers: Collection[int], none: str) -> str:
    return " or ".join(f"{what} {number}" if number else none for number in numbers) or f"another {what}"
