"""The keys of the results on disk, read at once after many misses: one lookup each costs more than many nodes do."""

import sqlite3
from collections.abc import Callable, Iterable

MISSES = 16  # misses in succession before all keys are read
MAX_KEYS = 20_000  # more keys take longer to read than the lookups that they save
SECONDS = 1.0  # how long the keys count: other processes add results, too


class KnownKeys:
    """The keys that exist, for a second at a time. A key that another process adds meanwhile is not found."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._keys: set[str] | None = None  # None: unknown
        self._read = 0.0
        self._misses = 0

    def lacks(self, key: str) -> bool:
        """Whether a key is known not to exist."""
        if self._keys is None or key in self._keys:
            return False
        if not 0 <= self._clock() - self._read < SECONDS:
            self._keys = None
            return False
        return True

    def note(self, connection: sqlite3.Connection, *, found: bool) -> None:
        """Count a lookup. After many misses in succession, read the keys."""
        self._misses = 0 if found else self._misses + 1
        if self._keys is None and self._misses >= MISSES:
            (count,) = connection.execute("SELECT count FROM totals WHERE name = 'results'").fetchone()
            if count <= MAX_KEYS:
                self._keys = {key for (key,) in connection.execute("SELECT key FROM results")}
                self._read = self._clock()
            else:
                self._misses = -count  # look again when that many have missed

    def forget(self) -> None:
        """Read the keys anew before they count again."""
        self._keys, self._misses = None, 0

    def add(self, keys: Iterable[str]) -> None:
        """Add the keys of stored results."""
        if self._keys is not None:
            self._keys.update(keys)
