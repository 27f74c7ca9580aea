"""The source files of a distribution, as they were when its code was hashed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from latentloom.engine.files.stamps import Stamp
from latentloom.engine.keys import digest


class CodeFile(NamedTuple):
    """One file: its stamp before it was read, and the digest of its content."""

    stamp: Stamp
    content: str


@dataclass(frozen=True, slots=True)
class CodeFiles:
    """The files of a distribution, and the folders that contain only its files."""

    files: Mapping[str, CodeFile] = field(default_factory=dict)
    folders: tuple[str, ...] = ()

    def changed(self, path: str) -> bool:
        """Whether a file of this distribution has changed or is new."""
        known = self.files.get(path)
        if known is None:
            return path.startswith(self.folders)
        try:
            return Stamp.of(Path(path).stat()) != known.stamp and content_digest(Path(path)) != known.content
        except OSError:
            return True


def content_digest(path: Path) -> str:
    """Return the digest of a file's content."""
    return digest("file", path.read_bytes())
