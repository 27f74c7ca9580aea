"""Loads workflows by name, from a file, from a picture, or with an importer from another program's file."""

from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NamedTuple

from latentloom.engine.document.reading import from_json, read
from latentloom.engine.document.strict_json import Limits
from latentloom.engine.document.workflow import Workflow
from latentloom.engine.errors import LoomError, MissingFileError, nearest
from latentloom.engine.files.pictures import picture_suffix, read_making
from latentloom.engine.types.registry import Registry
from latentloom.plugins.comfyui.bridge.imported import COMFYUI, use_packs

_SHIPPED = files("latentloom.workflows")
_BLOCKS = _SHIPPED / "blocks"


def workflow_names() -> list[str]:
    """Return the names of the workflows that ship with Latentloom and run on their own."""
    return _names_in(_SHIPPED)


def block_names() -> list[str]:
    """Return the names of the shipped workflows that are parts of others: some of their inputs need an edge."""
    return _names_in(_BLOCKS)


def _names_in(folder: Traversable) -> list[str]:
    return sorted(item.name.removesuffix(".json") for item in folder.iterdir() if item.name.endswith(".json"))


def load_workflow(source: str | Path | Mapping[str, Any] | Workflow) -> Workflow:
    """Load a workflow by shipped name, from a JSON file, from a picture that contains one, or from parsed JSON.

    Raises MissingFileError, FileError or WorkflowError.
    """
    if isinstance(source, Workflow):
        return source
    if isinstance(source, Mapping):
        return from_json(dict(source))
    for folder in (_SHIPPED, _BLOCKS):
        if isinstance(source, str) and source in _names_in(folder):
            return read((folder / f"{source}.json").read_bytes())
    return _from_file(Path(source))


class Imported(NamedTuple):
    """A workflow and the report of its importer; None if no importer was used."""

    workflow: Workflow
    report: Any


def import_workflow(source: str | Path, registry: Registry) -> Imported:
    """Load a workflow by shipped name or from a file, which may be another program's if an importer reads it.

    Raises the errors of `load_workflow` for a file that no importer recognises.
    """
    try:
        return Imported(load_workflow(source), None)
    except MissingFileError:
        raise
    except LoomError:
        data = _bytes_of(Path(source))
        for name, extension in registry.extensions("importer").items():
            found = extension.load()(data)
            if found is not None:
                if name == COMFYUI:
                    use_packs(found[0], found[1], registry)
                return Imported(from_json(found[0]), found[1])
        raise


def _from_file(path: Path) -> Workflow:
    data = _bytes_of(path)
    return read(read_making(path)[0] if picture_suffix(data) else data)


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(Limits().size + 1)
    except (OSError, ValueError) as error:
        raise MissingFileError(
            f"there is no workflow '{path}'",
            expected=f"a file, or one of {', '.join(workflow_names())}",
            got=getattr(error, "strerror", None) or str(error),
            nearest=nearest(str(path), workflow_names()),
        ) from None
