"""The files that code is imported from, as they were when the code's identity was taken."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from latentloom.engine.files.stamps import Stamp
from latentloom.engine.keys import digest


class CodeFile(NamedTuple):
    """One file: its stamp from before it was read, and the digest of its content."""

    stamp: Stamp
    content: str


@dataclass(frozen=True, slots=True)
class CodeFiles:
    """The files of one distribution, and the folders that hold nothing else."""

    files: Mapping[str, CodeFile] = field(default_factory=dict)
    folders: tuple[str, ...] = ()

    def changed(self, path: str) -> bool:
        """Whether a file of this distribution is another than it was, or was not there."""
        known = self.files.get(path)
        if known is None:
            return path.startswith(self.folders)
        try:
            return Stamp.of(Path(path).stat()) != known.stamp and content_digest(Path(path)) != known.content
        except OSError:
            return True


def content_digest(path: Path) -> str:
    """The digest of a file's content."""
    return digest("file", path.read_bytes())
