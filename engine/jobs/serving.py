"""Ownership of a data folder by a server, and the address of that server."""

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from latentloom.engine.errors import LoomError
from latentloom.engine.files.lock import Lock, text_of_holder
from latentloom.engine.jobs.faults import DatabaseError

NAME = "server.lock"
LOOKS, LOOK_SECONDS = 5, 0.05  # a process that looks for a server holds the lock briefly


class DeviceTaken(LoomError):
    """A running server uses the device, and the request cannot be sent to it."""

    code = "device_taken"


@dataclass(frozen=True, slots=True)
class Serving:
    """A running server: its address, and the devices of its workers."""

    address: str
    devices: tuple[str, ...]


class Ownership:
    """Exclusive ownership of a data folder by one server, until `close`."""

    def __init__(self, folder: Path) -> None:
        """Raises DatabaseError if another server owns the folder, or if the folder is not writable."""
        for _ in range(LOOKS):
            try:
                self._lock = Lock(folder / NAME)
                return
            except BlockingIOError:
                time.sleep(LOOK_SECONDS)
            except OSError as error:
                raise unwritable("data", folder, error) from None
        raise DatabaseError(
            f"another server uses the data folder {folder}", hint="stop it, or give this one its own LATENTLOOM_HOME"
        )

    def tell(self, serving: Serving) -> None:
        """Publish the server to other processes."""
        self._lock.write(json.dumps(asdict(serving)))

    def close(self) -> None:
        """Release the folder."""
        self._lock.close()


def unwritable(what: str, folder: Path, error: OSError) -> DatabaseError:
    """Return the error for a folder that a server needs and cannot write to."""
    return DatabaseError(
        f"the {what} folder {folder} cannot be written to: {error.strerror or error}",
        hint=f"make it writable for this user, or choose another one with LATENTLOOM_{what.upper()} or LATENTLOOM_HOME",
    )


def serving_in(folder: Path) -> Serving | None:
    """Return the server that owns a data folder and accepts jobs, or None."""
    with contextlib.suppress(ValueError):  # the file is being written
        data = json.loads(text_of_holder(folder / NAME) or "null")
        return data and Serving(data["address"], tuple(data["devices"]))
    return None
