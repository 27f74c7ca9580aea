"""The files of loaded models: opened by content, and verified before a result that depends on them is kept."""

from collections.abc import Callable, Iterable
from pathlib import Path

from latentloom.engine.errors import FileError, LoomError
from latentloom.engine.files.bus_errors import bus_errors
from latentloom.engine.files.model_files import FileIdentity
from latentloom.engine.files.opened import Opened, changed
from latentloom.engine.models.weights import HostModel


class OpenedFiles:
    """Opens files by sha256 and detects whether their content has changed since."""

    def __init__(self, path_of: Callable[[str], Path]) -> None:
        """`path_of` finds a file by sha256. It raises a LoomError if there is none."""
        self._path_of = path_of

    def open(self, files: Iterable[FileIdentity]) -> tuple[Opened, ...]:
        """Open the files with these contents. Raises a LoomError."""
        bus_errors().guard()
        return tuple(self._open(file) for file in files)

    def _open(self, file: FileIdentity) -> Opened:
        try:
            opened = Opened(self._path_of(file.sha256), file.sha256)
        except OSError as error:
            raise FileError(f"'{file.name}' cannot be read", got=error.strerror or str(error)) from None
        if self._path_of(file.sha256) != opened.path:  # it changed after it was hashed
            raise changed(file.name)
        return opened

    def intact(self, model: HostModel) -> bool:
        """Whether the files of a model are unchanged since they were opened, and no read beyond their end occurred."""
        return all(self._is_intact(file) and not file.suspect for file in model.files)

    def check(self, models: Iterable[HostModel]) -> None:
        """Raise ChangedFileError if a file of one of these models was modified."""
        for model in models:
            for file in model.files:
                if not self._is_intact(file):
                    raise changed(file.path.name)

    def _is_intact(self, file: Opened) -> bool:
        if file.written:
            return False
        if not file.touched:
            return True
        try:  # metadata changed (permissions, a link, a reset mtime): compare the content
            if self._path_of(file.sha256) != file.path:
                return False
        except LoomError:
            return False
        file.renew()
        return True
