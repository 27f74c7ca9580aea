"""The files of loaded models: opened by content, and compared again before anything made from them is kept."""

from collections.abc import Callable, Iterable
from pathlib import Path

from latentloom.engine.errors import FileError, LoomError
from latentloom.engine.files.bus_errors import bus_errors
from latentloom.engine.files.model_files import FileIdentity
from latentloom.engine.files.opened import Opened, changed
from latentloom.engine.models.weights import HostModel


class OpenedFiles:
    """Opens what content names, and tells whether it still is that content."""

    def __init__(self, path_of: Callable[[str], Path]) -> None:
        """`path_of` finds a file by sha256, and raises a LoomError when no file has it."""
        self._path_of = path_of

    def open(self, files: Iterable[FileIdentity]) -> tuple[Opened, ...]:
        """The files with those contents. Raises a LoomError."""
        bus_errors().guard()
        return tuple(self._open(file) for file in files)

    def _open(self, file: FileIdentity) -> Opened:
        try:
            opened = Opened(self._path_of(file.sha256), file.sha256)
        except OSError as error:
            raise FileError(f"'{file.name}' cannot be read", got=error.strerror or str(error)) from None
        if self._path_of(file.sha256) != opened.path:  # it was hashed before it was opened
            raise changed(file.name)
        return opened

    def intact(self, model: HostModel) -> bool:
        """Whether nobody wrote into the files of a model since they were opened, and all that was read is theirs."""
        return all(self._is_intact(file) and not file.suspect for file in model.files)

    def check(self, models: Iterable[HostModel]) -> None:
        """Raise ChangedFileError if somebody wrote into a file of one of these models."""
        for model in models:
            for file in model.files:
                if not self._is_intact(file):
                    raise changed(file.path.name)

    def _is_intact(self, file: Opened) -> bool:
        if file.written:
            return False
        if not file.touched:
            return True
        try:  # rights, a further name, or a write whose time was set back: the content tells
            if self._path_of(file.sha256) != file.path:
                return False
        except LoomError:
            return False
        file.renew()
        return True
