"""Files of kept state: how far the steps have got whose nodes keep partial results, by their cache keys."""

import contextlib
from hashlib import blake2b
from pathlib import Path

from latentloom.engine.failpoints import failpoint
from latentloom.engine.files.partial import partial_path, sweep, sync_file

CHECK = 32  # bytes of the checksum in front of the content


class KeptFiles:
    """One file for each key: a checksum of key and content, then the content."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._swept = False

    def read(self, key: str) -> bytes | None:
        """Return the state of a key; None if there is none. A damaged file is removed."""
        try:
            whole = (self._folder / key).read_bytes()
        except OSError:
            return None
        data = whole[CHECK:]
        if whole[:CHECK] == _check(key, data):
            return data
        self.remove(key)
        return None

    def write(self, key: str, data: bytes) -> None:
        """Replace the state of a key: after a kill or a power failure, the file holds the old or the new one whole.

        Raises OSError; the old state is then still there.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._swept:
            sweep([self._folder])
            self._swept = True
        partial = partial_path(self._folder)
        try:
            partial.write_bytes(_check(key, data) + data)
            failpoint("cache.kept.written")
            sync_file(partial)
            partial.replace(self._folder / key)
            failpoint("cache.kept.renamed")
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)

    def remove(self, key: str) -> None:
        """Remove the state of a key, if there is one."""
        with contextlib.suppress(OSError):
            (self._folder / key).unlink(missing_ok=True)


def _check(key: str, data: bytes) -> bytes:
    return blake2b(data, key=key.encode(), digest_size=CHECK).digest()
