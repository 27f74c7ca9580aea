"""The model kind "known_network": networks that have a name and do not run here yet, which are refused by it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.header import read_header, weights_facts
from latentloom.nodes.families.network_titles import runs_here


class KnownNetwork:
    """A network that is told apart and not loaded. Any other kind that knows its files comes first."""

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Its name, and that it is refused; None for a file that has no name here."""
        header = read_header(path) if path.is_file() else None
        if header is None or not header.title:
            return None
        part = runs_here(header.title)
        about = f"part of {header.title}" if part else f"{header.title} (does not run yet)"
        return {"about": about, "refused": header.title, **weights_facts(header)}

    def load(self, paths: Sequence[Path], *_: Any) -> Any:
        """Raise FileError."""
        raise refused(paths[0].name, read_header(paths[0]).title)


def refused(name: str, title: str) -> FileError:
    """What a person is told who wants to load such a file; of a family that runs, it is one that lacks something."""
    part = runs_here(title)
    return FileError(
        f"'{name}' is {f'only a part of {title}' if part else f'{title}, which Latentloom does not run yet'}",
        expected="a network of a family that docs/models.md names",
        got=title,
    )
