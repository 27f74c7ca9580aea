"""Saved files: a free name is claimed and the whole file appears under it in one step."""

import os
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from latentloom.engine.catalog import safe_join
from latentloom.engine.errors import FileError
from latentloom.engine.failpoints import failpoint
from latentloom.engine.partial import partial_path

_FIELD = re.compile(r"\{([a-z_]+)(?::0?(\d))?\}")
_UNSAFE = re.compile(r"[^\w .,+=@()\-]+")
MAX_FIELD = 120  # bytes


class Saver:
    """Writes files below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, data: bytes, name_template: str, suffix: str, fields: Mapping[str, Any]) -> Path:
        """Write data under the first free name and return its path; `{counter}` makes room for one.

        The file is complete when it appears and never replaces another. Raises PathError for a name that
        leaves the folder, FileError when the folder cannot be written to.
        """
        counted = any(match[1] == "counter" for match in _FIELD.finditer(name_template))
        template = name_template if counted else f"{name_template}-{{counter}}"
        first = self._path(template, suffix, {**fields, "counter": 1})
        try:
            first.parent.mkdir(parents=True, exist_ok=True)
            return self._place(data, template, suffix, fields, first.parent)
        except OSError as error:
            raise FileError(
                f"the file could not be saved: {error.strerror or error}",
                got=str(error.filename or first),
                hint="free some space or choose another folder with --out",
            ) from error

    def _place(self, data: bytes, template: str, suffix: str, fields: Mapping[str, Any], folder: Path) -> Path:
        partial = partial_path(self._aside(folder))
        try:
            with partial.open("xb") as file:
                failpoint("save.claimed")
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            failpoint("save.written")
            counter = self._next(template, suffix, fields, folder)
            while True:
                path = self._path(template, suffix, {**fields, "counter": counter})
                path.parent.mkdir(parents=True, exist_ok=True)
                if _rename_to_free(partial, path):
                    failpoint("save.renamed")
                    return path
                counter += 1
        finally:
            partial.unlink(missing_ok=True)

    def _aside(self, folder: Path) -> Path:
        """Where to write: at the top, which the next run sweeps, unless the file goes to another file system."""
        return self._folder if self._folder.stat().st_dev == folder.stat().st_dev else folder

    def _path(self, template: str, suffix: str, fields: Mapping[str, Any]) -> Path:
        return safe_join(self._folder, fill(template, fields) + suffix)

    def _next(self, template: str, suffix: str, fields: Mapping[str, Any], folder: Path) -> int:
        """One more than the largest counter among the files that are there."""
        name = Path(fill(template, {**fields, "counter": "\0"})).name + suffix
        pattern = re.compile(re.escape(name).replace(re.escape("\0"), r"(\d+)", 1).replace(re.escape("\0"), r"\d+"))
        found = [match for item in folder.iterdir() if (match := pattern.fullmatch(item.name))]
        return max((int(match[1]) for match in found if match.groups()), default=0) + 1


def fill(template: str, fields: Mapping[str, Any]) -> str:
    """The template with its fields; `{counter}` has five digits. A field's text cannot make a new folder."""
    known = {"date": f"{datetime.now():%Y-%m-%d}", **fields}

    def field(match: re.Match[str]) -> str:
        if match[1] not in known:
            return match[0]
        value = known[match[1]]
        if match[1] == "counter":
            return value if isinstance(value, str) else f"{value:0{match[2] or 5}d}"
        text = _UNSAFE.sub("_", str(value)).strip(" .")
        return text.encode()[:MAX_FIELD].decode(errors="ignore") or "_"

    return _FIELD.sub(field, template)


def _rename_to_free(partial: Path, path: Path) -> bool:
    """Give a complete file its name unless the name is taken."""
    try:
        os.link(partial, path)
        return True
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links: claim the name, then rename over the claim
        return _claim_and_rename(partial, path)


def _claim_and_rename(partial: Path, path: Path) -> bool:
    claim = path.with_name(f"{path.name}.claim")
    try:
        claim.touch(exist_ok=False)
    except FileExistsError:
        return False
    try:
        if path.exists():
            return False
        partial.replace(path)
        return True
    finally:
        claim.unlink(missing_ok=True)
