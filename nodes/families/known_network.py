"""The model kind "known_network": networks that are recognised but not supported, and refused by name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentloom.engine.errors import FileError
from latentloom.nodes.families.folder import SHARD
from latentloom.nodes.families.header import read_header, weights_facts
from latentloom.nodes.families.network_titles import runs_here


class KnownNetwork:
    """A network that is told apart and not loaded. Any other kind that knows its files comes first."""

    def recognise(self, path: Path) -> Mapping[str, Any] | None:
        """Return the network's name and that it is refused; None for an unknown network."""
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
    """Return the error for loading such a file. For a supported family it says that the file is incomplete."""
    part, shard = runs_here(title), SHARD.fullmatch(name)
    if part and shard:
        return FileError(
            f"'{name}' is one of the {int(shard['count'])} files of a {title}",
            expected="all of them",
            got=f"file {int(shard['number'])}",
            hint="put all of its files and its config.json into a folder of their own, and name the folder",
        )
    return FileError(
        f"'{name}' is {f'only a part of {title}' if part else f'{title}, which Latentloom does not run yet'}",
        expected="a network of a family that docs/models.md names",
        got=title,
    )
