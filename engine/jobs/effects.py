"""The effect journal: intended and completed saves of a job's sinks, so that a resumed job saves each file once."""

import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from latentloom.engine.failpoints import failpoint
from latentloom.engine.jobs.faults import EffectUnknown

BODY = -1  # the item for the whole body of a sink that does not save through its context


class Effect(NamedTuple):
    """A saved file of a node: intended ("intent") or complete ("done"). `path` is relative to the output folder."""

    state: str
    path: str
    sha256: str


class Effects:
    """The effects of all jobs, and the table of saved files. Uses the caller's transactions."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._clock = clock

    def find(self, job: str, node: str, item: int) -> Effect | None:
        """Return an effect, or None if it is not in the journal."""
        row = self._connection.execute(
            "SELECT state, path, sha256 FROM effects WHERE job = ? AND node = ? AND item = ?", (job, node, item)
        ).fetchone()
        return None if row is None else Effect(*row)

    def intend(self, job: str, node: str, item: int, path: str, sha256: str) -> None:
        """Record that a file will be saved at this path. Replaces an earlier intent that was not completed."""
        self._connection.execute(
            "INSERT OR REPLACE INTO effects VALUES (?, ?, ?, 'intent', ?, ?)", (job, node, item, path, sha256)
        )
        failpoint("effect.intended")

    def begin(self, job: str, node: str) -> None:
        """Record the start of a sink whose effects cannot be observed. Raises EffectUnknown if it started before."""
        if self.find(job, node, BODY) is not None:
            raise EffectUnknown(
                "the worker died during or after this node, so its effect may have happened",
                node=node,
                hint="check whether it did; retry the job to run the node again",
            )
        self.intend(job, node, BODY, "", "")

    def done(self, job: str, node: str, item: int, about: Mapping[str, Any]) -> None:
        """Record that the file is complete at its path, and add it to the outputs."""
        effect = self.find(job, node, item)
        assert effect is not None, "an effect is meant before it is done"
        self._connection.execute(
            "UPDATE effects SET state = 'done' WHERE job = ? AND node = ? AND item = ?", (job, node, item)
        )
        self._connection.execute(  # an older file of this name was removed by the user: a path is one output
            "DELETE FROM outputs WHERE path = ? AND NOT (job = ? AND node = ? AND item = ?)",
            (effect.path, job, node, item),
        )
        self._connection.execute(
            "INSERT OR IGNORE INTO outputs (sha256, path, job, node, item, workflow, media, bytes, width, height,"
            " created, texts, models, choices, seed, outputs, tags, owner) SELECT ?, ?, id, ?, ?, name, ?, ?, ?, ?, ?,"
            " ?, ?, ?, ?, ?, tags, owner FROM jobs WHERE id = ?",
            (
                effect.sha256,
                effect.path,
                node,
                item,
                about["media"],
                about["bytes"],
                about["width"],
                about["height"],
                self._clock(),
                about["texts"],
                json.dumps(about["models"], ensure_ascii=False),
                json.dumps(about["choices"], ensure_ascii=False),
                about["seed"],
                json.dumps(about["outputs"], ensure_ascii=False),
                job,
            ),
        )
        failpoint("effect.done")
