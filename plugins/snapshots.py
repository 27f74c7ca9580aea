"""Snapshots: what a plugin registered, stored with its code identity, so that its code need not be imported."""

import contextlib
import json
from pathlib import Path

from latentloom.engine.files.partial import partial_path
from latentloom.engine.keys import digest
from latentloom.engine.types.registry import Distribution, Registration

SCHEMA = 1


class Snapshots:
    """One JSON file per distribution and plugin."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, distribution: Distribution) -> Registration | None:
        """Return the registration of exactly this code, or None."""
        try:
            record = json.loads(self._path(distribution).read_text(encoding="utf-8"))
            if (record["schema"], record["code"]) != (SCHEMA, distribution.code):
                return None
            if record["check"] != digest(json.dumps(record["registration"])):
                return None
            return Registration.from_record(distribution, record["registration"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, registration: Registration) -> None:
        """Store a registration. If the folder is not writable, nothing is stored."""
        distribution = registration.distribution
        data = registration.record()
        check = digest(json.dumps(json.loads(json.dumps(data))))
        record = {"schema": SCHEMA, "code": distribution.code, "check": check, "registration": data}
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = partial_path(self._folder)
            partial.write_text(json.dumps(record), encoding="utf-8")
            partial.replace(self._path(distribution))

    def _path(self, distribution: Distribution) -> Path:
        return self._folder / f"{distribution.name}-{distribution.plugin}.json"
