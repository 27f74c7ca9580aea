"""Code identity: a digest of all the code that a distribution's nodes may run."""

import importlib.util
from importlib.metadata import Distribution as Installed
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from latentloom.engine.keys import digest
from latentloom.plugins.hooks import GROUP


def tree_code(folders: list[Path]) -> str:
    """The identity of the Python files below folders: their names and contents."""
    files = sorted(
        (path.relative_to(folder).as_posix(), folder.name, path.read_bytes())
        for folder in folders
        for path in folder.rglob("*.py")
    )
    return digest("tree", [list(file) for file in files])


def distribution_code(installed: Installed) -> str:
    """A plugin's identity: name, version, its files, and the versions of its direct requirements.

    Files count by the hashes in RECORD; the packages that its entry points name count by what is on disk, so that
    an editable install, or one without RECORD, changes with every edit.
    """
    return digest(
        "distribution",
        installed.name,
        installed.version,
        _recorded(installed),
        _packages(installed),
        _requirements(installed),
    )


def _recorded(installed: Installed) -> list[list[str]]:
    return sorted(
        [file.as_posix(), f"{file.hash.mode}={file.hash.value}"]
        for file in installed.files or ()
        if file.hash is not None and file.suffix != ".pyc" and ".dist-info/" not in file.as_posix()
    )


def _packages(installed: Installed) -> list[list[str]]:
    """The top-level packages or modules of the entry points, by content; nothing is imported."""
    names = sorted({point.module.partition(".")[0] for point in installed.entry_points if point.group == GROUP})
    found = []
    for name in names:
        spec = importlib.util.find_spec(name)
        folders = [Path(place) for place in spec.submodule_search_locations or ()] if spec else []
        if folders:
            found.append([name, tree_code(folders)])
        elif spec is not None and spec.origin:
            found.append([name, digest("module", Path(spec.origin).read_bytes())])
    return found


def _requirements(installed: Installed) -> list[list[str]]:
    found = []
    for text in installed.requires or ():
        try:
            name = Requirement(text).name
            found.append([name, distribution(name).version])
        except (InvalidRequirement, PackageNotFoundError):
            continue
    return sorted(found)
