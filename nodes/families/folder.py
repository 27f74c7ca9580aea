"""Folders that hold one model: their configurations and their weight files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.header import Header, read_header
from latentloom.nodes.families.module_loading import Weights
from latentloom.nodes.families.packing.layout import Layout

SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d+)-of-(?P<count>\d+)\.safetensors")


def read_json(path: Path) -> Any:
    """Read a configuration. Raises FileError if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"'{path.parent.name}/{path.name}' of the model cannot be read: {error}") from None


def said_class(path: Path) -> str:
    """Return the class name in a folder's config.json, as diffusers or transformers write it; "" without one."""
    try:
        found = read_json(path / "config.json") if path.is_dir() else {}
    except FileError:
        return ""
    if not isinstance(found, dict):
        return ""
    named = found.get("_class_name") or next(iter(found.get("architectures") or ()), "")
    return named if isinstance(named, str) else ""


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a part: the plain file, else a variant of it, or all of its shards.

    Raises FileError if there are none or a shard is missing.
    """
    groups: dict[str, list[Path]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        match = SHARD.fullmatch(file.name)
        groups.setdefault(match["stem"] if match else file.name.removesuffix(".safetensors"), []).append(file)
    if not groups:
        raise FileError(f"'{folder.parent.name}/{folder.name}' has no safetensors weights", got=_contents(folder))
    chosen = groups[min(groups, key=lambda stem: (len(stem), stem))]
    _check_whole(folder, chosen)
    return chosen


def _check_whole(folder: Path, files: list[Path]) -> None:
    match = SHARD.fullmatch(files[0].name)
    count = int(match["count"]) if match else 1
    if match and len(files) != count:
        raise FileError(
            f"'{folder.parent.name}/{folder.name}' has only some of its weight files",
            expected=f"{count} files, {match['stem']}-...-of-{match['count']}.safetensors",
            got=", ".join(file.name for file in files),
            hint="download the other files too: a model in several files needs all of them",
        )


def _contents(folder: Path) -> str:
    return ", ".join(sorted(file.name for file in folder.glob("*"))) or "an empty folder"


def folder_weights(folder: Path) -> Weights:
    """Return the weights of a part, from all of its files. Raises FileError."""
    files = weight_files(folder)
    for file in files:
        read_header(file)
    return Weights(*files)


def folder_header(folder: Path) -> Header:
    """Return the header of a part's weights, merged from all of its files. Raises FileError."""
    headers = [read_header(file) for file in weight_files(folder)]
    shapes: Mapping[str, tuple[int, ...]] = {name: shape for header in headers for name, shape in header.shapes.items()}
    dtypes = {name: dtype for header in headers for name, dtype in header.dtypes.items()}
    nbytes = sum(header.nbytes for header in headers)
    layout = Layout(
        {name: packing for header in headers for name, packing in header.layout.packings.items()},
        frozenset().union(*(header.layout.beside for header in headers)),
    )
    return Header(headers[0].path, shapes, headers[0].metadata, nbytes, dtypes, layout)
