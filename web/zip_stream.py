"""Writes files to a ZIP archive piece by piece, without a copy of the archive in memory or on disk."""

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

PIECE = 2**18  # bytes read at once


class _Sink:
    """A file that cannot seek, from which written bytes are taken."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes, /) -> int:
        self._data += data
        return len(data)

    def flush(self) -> None:
        """Do nothing: there is no buffer below."""

    def close(self) -> None:
        """Do nothing: what was written can still be taken."""

    def take(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data


def zip_pieces(files: Iterable[tuple[str, Path]], texts: Iterable[tuple[str, str]] = ()) -> Iterator[bytes]:
    """Yield the bytes of a ZIP archive of (name, path) and (name, text) entries, stored without compression.

    Saved pictures are compressed already. Reads files; raises OSError.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, path in files:
            info = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
            with path.open("rb") as file, archive.open(info, "w") as entry:
                while data := file.read(PIECE):
                    entry.write(data)
                    yield sink.take()
        for name, text in texts:
            archive.writestr(name, text)
    yield sink.take()
