"""Snapshots: what a plugin registered, stored with its code identity, so that its code need not be imported."""

import contextlib
import json
from pathlib import Path

from latentloom.engine.files.partial import partial_path
from latentloom.engine.keys import digest
from latentloom.engine.types.registry import Distribution, Registration
from latentloom.plugins.code import site_stamp
from latentloom.plugins.registration import Failure

SCHEMA = 2


class Snapshots:
    """One JSON file per distribution and plugin: what it registered, or why it failed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, distribution: Distribution) -> Registration | Failure | None:
        """Return what exactly this code registered, or why it failed; None if that is not known.

        A failure is forgotten when a package is installed or removed, which may be what the plugin lacks.
        """
        try:
            record = json.loads(self._path(distribution).read_text(encoding="utf-8"))
            if (record["schema"], record["code"]) != (SCHEMA, distribution.code):
                return None
            if record["check"] != digest(json.dumps(record["found"])):
                return None
            if "failure" in record["found"]:
                return Failure(*record["found"]["failure"]) if record["found"]["installed"] == site_stamp() else None
            return Registration.from_record(distribution, record["found"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, distribution: Distribution, found: Registration | Failure) -> None:
        """Store a registration or a failure. If the folder is not writable, nothing is stored."""
        if isinstance(found, Failure):
            data = {"failure": [found.error, found.missing, found.trace], "installed": site_stamp()}
        else:
            data = found.record()
        check = digest(json.dumps(json.loads(json.dumps(data))))
        record = {"schema": SCHEMA, "code": distribution.code, "check": check, "found": data}
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = partial_path(self._folder)
            partial.write_text(json.dumps(record), encoding="utf-8")
            partial.replace(self._path(distribution))

    def note(self, distribution: Distribution, fault: str) -> None:
        """Store the last fault of a plugin's `on_event`."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = partial_path(self._folder)
            partial.write_text(json.dumps({"code": distribution.code, "fault": fault}), encoding="utf-8")
            partial.replace(self._note_path(distribution))

    def noted(self, distribution: Distribution) -> str:
        """Return the last fault of `on_event` of exactly this code, or an empty text."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads(self._note_path(distribution).read_text(encoding="utf-8"))
            if record["code"] == distribution.code:
                return str(record["fault"])
        return ""

    def forget_failures(self) -> None:
        """Remove what is stored about plugins that failed, and the faults of `on_event`."""
        for path in self._folder.glob("*.fault"):
            with contextlib.suppress(OSError):
                path.unlink()
        for path in self._folder.glob("*.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                if "failure" in json.loads(path.read_text(encoding="utf-8"))["found"]:
                    path.unlink()

    def _path(self, distribution: Distribution) -> Path:
        return self._folder / f"{distribution.name}-{distribution.plugin}.json"

    def _note_path(self, distribution: Distribution) -> Path:
        return self._folder / f"{distribution.name}-{distribution.plugin}.fault"
