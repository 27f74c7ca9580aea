"""Search of saved files by text, model, seed, tag, workflow or job, newest first."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

_WORDS = "(texts || ' ' || models || ' ' || choices || ' ' || tags || ' ' || workflow || ' ' || coalesce(seed, ''))"


class Output(NamedTuple):
    """One saved file. `path` is relative to the output folder, `outputs` are the named outputs that it belongs to."""

    id: int
    sha256: str
    path: str
    job: str
    node: str
    item: int
    workflow: str
    media: str
    bytes: int
    width: int | None
    height: int | None
    created: float
    texts: str
    models: tuple[str, ...]
    seed: str | None
    tags: tuple[str, ...]
    outputs: tuple[str, ...]


class Outputs:
    """The saved files of one owner's jobs, or of all jobs. Uses the caller's transactions."""

    def __init__(self, connection: sqlite3.Connection, owner: str | None = None) -> None:
        """`owner`: no other owner's files exist for this object; None: all files."""
        self._connection = connection
        self._owner = owner

    def search(
        self,
        *,
        text: str | None = None,
        model: str | None = None,
        seed: str | None = None,
        tag: str | None = None,
        workflow: str | None = None,
        job: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[Output]:
        """Return the files that match all conditions, newest first.

        Each word of `text` must occur in the prompts, models, samplers and schedules, tags,
        seed or name of the workflow.

        `before` is the id of the last file of the previous page.
        """
        wheres, values = ["1"], list[Any]()
        for word in (text or "").split():
            wheres.append(f"{_WORDS} LIKE ? ESCAPE '\\'")
            values.append(f"%{_escaped(word)}%")
        if model is not None:
            wheres.append("models LIKE ? ESCAPE '\\'")
            values.append(f"%{_escaped(model)}%")
        if tag is not None:
            wheres.append("EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?)")
            values.append(tag)
        for column, wanted in (("seed", seed), ("workflow", workflow), ("job", job)):
            if wanted is not None:
                wheres.append(f"{column} = ?")
                values.append(wanted)
        if before is not None:
            wheres.append("id < ?")
            values.append(before)
        return self._rows(f"{' AND '.join(wheres)} ORDER BY id DESC LIMIT ?", (*values, limit))

    def by_hash(self, *sha256: str) -> list[Output]:
        """Return all saved files with one of these contents, newest first."""
        return self._rows("sha256 IN (SELECT value FROM json_each(?)) ORDER BY id DESC", (json.dumps(sha256),))

    def tag(self, sha256: Sequence[str], *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> list[Output]:
        """Add tags to the files with these contents and take tags off. Return the files, newest first."""
        for output in self.by_hash(*sha256):
            tags = [tag for tag in dict.fromkeys((*output.tags, *add)) if tag not in remove]
            row = (json.dumps(tags, ensure_ascii=False), output.id)
            self._connection.execute("UPDATE outputs SET tags = ? WHERE id = ?", row)
        return self.by_hash(*sha256)

    def at(self, path: str) -> list[Output]:
        """Return the file that was saved at a path below the output folder; none if there is no such file."""
        return self._rows("path = ?", (path,))

    def of_job(self, job: str) -> list[Output]:
        """Return a job's files in the order in which they were saved."""
        return self._rows("job = ? ORDER BY id", (job,))

    def forget(self, ids: Sequence[int]) -> None:
        """Remove rows. The caller removes the files."""
        self._connection.executemany("DELETE FROM outputs WHERE id = ?", ((id,) for id in ids))

    def total_bytes(self) -> int:
        """Return the total bytes of all files in the table."""
        return int(self._connection.execute("SELECT coalesce(sum(bytes), 0) FROM outputs").fetchone()[0])

    def oldest(self, limit: int) -> list[Output]:
        """Return the oldest saved files."""
        return self._rows("1 ORDER BY id LIMIT ?", (limit,))

    def _rows(self, rest: str, values: Sequence[Any]) -> list[Output]:
        own, owners = ("", ()) if self._owner is None else ("owner = ? AND ", (self._owner,))
        statement = f"SELECT {', '.join(Output._fields)} FROM outputs WHERE {own}{rest}"
        rows = self._connection.execute(statement, (*owners, *values))
        return [_output(row) for row in rows]


def _output(row: sqlite3.Row) -> Output:
    data = dict(row)
    return Output(**{**data, **{name: tuple(json.loads(data[name])) for name in ("models", "tags", "outputs")}})


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
