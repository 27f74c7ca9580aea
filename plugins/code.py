"""Code identity: a digest of all the code that a distribution's nodes may run."""

import importlib.util
from importlib.metadata import Distribution as Installed
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePath

from packaging.requirements import InvalidRequirement, Requirement

from latentloom.engine.keys import digest
from latentloom.plugins.hooks import GROUP
from latentloom.plugins.sources import files_below, own_files


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

    Files count by the hashes in RECORD, so that two environments with the same wheel agree. The packages that its entry
    points name count by what is on disk, with their data, and so does what they import from outside of site-packages:
    an editable install, or one without RECORD, changes with every edit.
    """
    return digest(
        "distribution",
        installed.name,
        installed.version,
        _recorded(installed),
        _sources(installed),
        _requirements(installed),
    )


def _recorded(installed: Installed) -> list[list[str]]:
    return sorted(
        [file.as_posix(), f"{file.hash.mode}={file.hash.value}"]
        for file in installed.files or ()
        if file.hash is not None and _portable(file)
    )


def _portable(file: PurePath) -> bool:
    """Whether a file is the same in every environment: scripts and links of editable installs hold paths."""
    first = file.parts[0]
    return not (
        file.suffix in (".pyc", ".pth") or first.endswith(".dist-info") or first.startswith(("..", "__editable__"))
    )


def _sources(installed: Installed) -> list[list[str]]:
    """What is on disk, by module: all files of the entry points' packages, and what they use from elsewhere."""
    names = sorted({point.module.partition(".")[0] for point in installed.entry_points if point.group == GROUP})
    found: list[list[str]] = []
    for name in names:
        spec = importlib.util.find_spec(name)
        folders = [Path(place) for place in spec.submodule_search_locations or ()] if spec else []
        if folders:
            found += [[name, path, content] for folder in folders for path, content in files_below(folder)]
        elif spec is not None and spec.origin:
            found.append([name, "", digest("file", Path(spec.origin).read_bytes())])
    return [*found, *([name, path, content] for name, path, content in own_files(names))]


def _requirements(installed: Installed) -> list[list[str]]:
    found = []
    for text in installed.requires or ():
        try:
            name = Requirement(text).name
            found.append([name, distribution(name).version])
        except (InvalidRequirement, PackageNotFoundError):
            continue
    return sorted(found)
