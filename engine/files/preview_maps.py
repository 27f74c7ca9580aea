"""What previews know of VAEs: one small JSON file per VAE, named by the sha256 of its file."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latentloom.engine.files.partial import partial_path

MOST = 100  # VAEs; the least recently used one is removed


class PreviewMaps:
    """Records by sha256, ordered by their last use. A damaged file counts as absent. Several processes may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.wanted: set[str] = set()
        """Kinds of latents that this process sampled and that need a map for their previews."""

    def use(self, sha256: str) -> bool:
        """Note that a VAE is in use. Returns whether there is a record of it."""
        path = self._path(sha256)
        if _read(path) is None:
            return False
        with contextlib.suppress(OSError):
            os.utime(path)
        return True

    def put(self, sha256: str, record: dict[str, Any]) -> None:
        """Keep the record of a VAE, written atomically. A folder that cannot be written to keeps none."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            path = partial_path(self._folder)
            path.write_text(json.dumps(record), encoding="utf-8")
            path.replace(self._path(sha256))
            for old in self._newest()[MOST:]:
                old.unlink(missing_ok=True)

    def newest(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield sha256 and record of each VAE, the one used last first."""
        for path in self._newest():
            record = _read(path)
            if record is not None:
                yield path.stem, record

    def _path(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.json"

    def _newest(self) -> list[Path]:
        found = []
        for path in self._folder.glob("*.json"):
            with contextlib.suppress(OSError):  # another process removed it
                found.append((-path.stat().st_mtime_ns, path))
        return [path for _, path in sorted(found)]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
