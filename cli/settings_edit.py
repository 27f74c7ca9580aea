"""Edits the settings file: replaces one key and keeps everything else as the user wrote it."""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from latentloom.engine.errors import SettingsError
from latentloom.engine.files.partial import partial_path
from latentloom.engine.settings import PREFIX, load_settings, settings_file

_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)


def with_model_folder(folder: Path) -> tuple[Path, bool]:
    """Add a folder to `models`. Returns the settings file and whether it changed. Raises SettingsError."""
    variable = f"{PREFIX}MODELS"
    if os.environ.get(variable) is not None:
        raise SettingsError(f"{variable} is set and overrides the settings file", hint=f"add {folder} there")
    known = load_settings().models  # raises if the file is not a valid settings file
    path = settings_file()
    if folder in [item.expanduser().resolve() for item in known]:
        return path, False
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    _replace(path, with_list(text, "models", [str(item) for item in (*known, folder)]))
    return path, True


def with_list(text: str, key: str, values: Sequence[str]) -> str:
    """Return TOML text with a top-level list set. Raises SettingsError if the text cannot be edited safely."""
    array = f"[{', '.join(json.dumps(value, ensure_ascii=False) for value in values)}]"
    wanted = {**tomllib.loads(text), key: list(values)}
    for made in _candidates(text, key, array):
        if _parsed(made) == wanted:
            return made
    raise SettingsError(f"the settings file cannot be edited; set {key} = {array} in it yourself")


def _candidates(text: str, key: str, array: str) -> Iterator[str]:
    """Yield texts with the array in each place that may be the key's. The caller parses them to find the right one."""
    for match in re.finditer(rf"^[ \t]*[\"']?{key}[\"']?[ \t]*=[ \t]*(?=\[)", text, re.MULTILINE):
        for end in re.finditer(r"\]", text[match.end() :]):
            yield f"{text[: match.end()]}{array}{text[match.end() + end.end() :]}"
    table = _TABLE.search(text)
    head, tail = (text[: table.start()], text[table.start() :]) if table else (text, "")
    yield f"{head}{'' if not head or head.endswith(chr(10)) else chr(10)}{key} = {array}\n{tail}"


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _replace(path: Path, text: str) -> None:
    """Write a file atomically and keep its permissions."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        real = path.resolve()  # a symbolic link is kept
        partial = partial_path(real.parent)
        try:
            partial.write_text(text, encoding="utf-8")
            if real.exists():
                partial.chmod(real.stat().st_mode & 0o777)
            partial.replace(real)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(f"the settings file cannot be written: {error.strerror}", got=str(path)) from None
