"""Workflows by name, by file, or out of a picture."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from latentloom.engine.document.reading import from_json, read
from latentloom.engine.document.strict_json import Limits
from latentloom.engine.document.workflow import Workflow
from latentloom.engine.errors import MissingFileError, nearest
from latentloom.engine.files.pictures import picture_suffix, read_making


def workflow_names() -> list[str]:
    """The names of the workflows that ship with Latentloom."""
    return sorted(
        item.name.removesuffix(".json")
        for item in files("latentloom.workflows").iterdir()
        if item.name.endswith(".json")
    )


def load_workflow(source: str | Path | Mapping[str, Any] | Workflow) -> Workflow:
    """A workflow by shipped name, from a JSON file, from a picture that carries one, or from parsed JSON.

    Raises MissingFileError, FileError or WorkflowError.
    """
    if isinstance(source, Workflow):
        return source
    if isinstance(source, Mapping):
        return from_json(dict(source))
    if isinstance(source, str) and source in workflow_names():
        return read((files("latentloom.workflows") / f"{source}.json").read_bytes())
    return _from_file(Path(source))


def _from_file(path: Path) -> Workflow:
    try:
        with path.open("rb") as file:
            data = file.read(Limits().size + 1)
    except (OSError, ValueError) as error:
        raise MissingFileError(
            f"there is no workflow '{path}'",
            expected=f"a file, or one of {', '.join(workflow_names())}",
            got=getattr(error, "strerror", None) or str(error),
            nearest=nearest(str(path), workflow_names()),
        ) from None
    return read(read_making(path)[0] if picture_suffix(data) else data)
