"""Which server has a data folder, and where it is."""

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from latentloom.engine.errors import LoomError
from latentloom.engine.files.lock import Lock, text_of_holder
from latentloom.engine.jobs.faults import DatabaseError

NAME = "server.lock"
LOOKS, LOOK_SECONDS = 5, 0.05  # somebody who asks whether a server is there has the lock for a moment


class DeviceTaken(LoomError):
    """A running server has the device, and what was asked for cannot be handed to it."""

    code = "device_taken"


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that runs: its address, and the devices that its workers compute on."""

    address: str
    devices: tuple[str, ...]


class Ownership:
    """A data folder belongs to one server at a time, for as long as this object is open."""

    def __init__(self, folder: Path) -> None:
        """Raises DatabaseError when another server has the folder, or when it cannot be written to."""
        for _ in range(LOOKS):
            try:
                self._lock = Lock(folder / NAME)
                return
            except BlockingIOError:
                time.sleep(LOOK_SECONDS)
            except OSError as error:
                raise unwritable("data", folder, error) from None
        raise DatabaseError(
            f"another server has the data folder {folder}", hint="stop it, or give this one its own LATENTLOOM_HOME"
        )

    def tell(self, serving: Serving) -> None:
        """Let other processes find the server."""
        self._lock.write(json.dumps(asdict(serving)))

    def close(self) -> None:
        """Give the folder back."""
        self._lock.close()


def unwritable(what: str, folder: Path, error: OSError) -> DatabaseError:
    """A folder that a server needs and cannot write to."""
    return DatabaseError(
        f"the {what} folder {folder} cannot be written to: {error.strerror or error}",
        hint=f"let this user write there, or choose another with LATENTLOOM_{what.upper()} or LATENTLOOM_HOME",
    )


def serving_in(folder: Path) -> Serving | None:
    """The server that has a data folder and takes jobs, if there is one."""
    with contextlib.suppress(ValueError):  # it is just being written
        data = json.loads(text_of_holder(folder / NAME) or "null")
        return data and Serving(data["address"], tuple(data["devices"]))
    return None
