"""Code identity: a digest of all code that the nodes of a distribution may run."""

import importlib.util
import sysconfig
from importlib.metadata import Distribution as Installed
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePath
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement

from latentloom.engine.files.code_files import CodeFiles
from latentloom.engine.keys import digest
from latentloom.plugins.hooks import GROUP, ISOLATED_GROUP
from latentloom.plugins.sources import Reading, own_files


class Code(NamedTuple):
    """The digest of code, and the files that it covers."""

    identity: str
    files: CodeFiles


def site_stamp() -> list[int]:
    """Return what changes when a package is installed or removed: a plugin that lacks a module then gets it."""
    folders = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    return sorted(Path(folder).stat().st_mtime_ns for folder in folders if Path(folder).is_dir())


def tree_code(folders: list[Path]) -> Code:
    """Return the identity of the Python files in folders: their names and contents."""
    reading = Reading()
    found = [
        [name, folder.name, content] for folder in folders for name, content in reading.below(folder, suffix=".py")
    ]
    return Code(digest("tree", sorted(found)), reading.files())


def distribution_code(installed: Installed) -> Code:
    """Return a plugin's identity: name, version, its files, and the versions of its direct requirements.

    Files are identified by the hashes in RECORD, so that two environments with the same wheel agree. The packages of
    the entry points, and what they import from outside site-packages, are read from disk with their data. So the
    identity of an editable install, or of one without RECORD, changes with every edit.
    """
    reading = Reading()
    identity = digest(
        "distribution",
        installed.name,
        installed.version,
        _recorded(installed),
        _sources(installed, reading),
        _requirements(installed),
    )
    return Code(identity, reading.files())


def _recorded(installed: Installed) -> list[list[str]]:
    return sorted(
        [file.as_posix(), f"{file.hash.mode}={file.hash.value}"]
        for file in installed.files or ()
        if file.hash is not None and _portable(file)
    )


def _portable(file: PurePath) -> bool:
    """Whether a file is the same in every environment. Scripts and links of editable installs contain paths."""
    first = file.parts[0]
    return not (
        file.suffix in (".pyc", ".pth") or first.endswith(".dist-info") or first.startswith(("..", "__editable__"))
    )


def _sources(installed: Installed, reading: Reading) -> list[list[str]]:
    """Return the files on disk by module: those of the entry points' packages, and others that they use."""
    names = sorted(
        {point.module.partition(".")[0] for point in installed.entry_points if point.group in (GROUP, ISOLATED_GROUP)}
    )
    found: list[list[str]] = []
    for name in names:
        spec = importlib.util.find_spec(name)
        folders = [Path(place) for place in spec.submodule_search_locations or ()] if spec else []
        if folders:
            found += [[name, path, content] for folder in folders for path, content in reading.below(folder)]
        elif spec is not None and spec.origin:
            found.append([name, "", reading.content(Path(spec.origin))])
    return [*found, *([name, path, content] for name, path, content in own_files(names, reading))]


def _requirements(installed: Installed) -> list[list[str]]:
    found = []
    for text in installed.requires or ():
        try:
            name = Requirement(text).name
            found.append([name, distribution(name).version])
        except (InvalidRequirement, PackageNotFoundError):
            continue
    return sorted(found)
