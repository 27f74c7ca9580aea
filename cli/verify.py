"""`loom verify`: runs the workflow that is embedded in a picture again and compares the pixels."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from typing import TYPE_CHECKING, Any

from latentloom.api import Session
from latentloom.api.running import Running
from latentloom.cli.errors import Failure
from latentloom.cli.interrupts import Interrupts
from latentloom.cli.progress import Meter, display
from latentloom.cli.session import opened
from latentloom.cli.table import print_lines
from latentloom.engine.document.reading import read
from latentloom.engine.errors import FileError, MissingFileError
from latentloom.engine.files.picture_sets import PICTURES
from latentloom.engine.files.pictures import read_making, read_pixels
from latentloom.engine.models.environment import accelerators, probe
from latentloom.engine.settings import Settings, load_settings

if TYPE_CHECKING:
    import numpy.typing as npt

DTYPES = ("fp32", "fp16", "bf16")
VERSIONS = ("latentloom", "python", "torch", "diffusers", "transformers", "device", "dtype")


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of two pictures of the same size, in levels 0..255."""

    largest: int
    mean: float
    pixels: int
    total: int


def verify(path: Path) -> int:
    """Print "identical" or the difference, and return 0 or 1. Raises LoomError for a picture without a workflow."""
    if not path.is_file():
        raise MissingFileError(f"there is no picture '{path}'")
    text, record = read_making(path)
    node, item = record.get("node"), record.get("item")
    if not isinstance(node, str) or not isinstance(item, int):
        raise FileError(f"'{path.name}' contains no record of how it was made")
    with tempfile.TemporaryDirectory(prefix="loom-verify-") as folder:
        with opened(**_where(record)) as session:
            files = _again(session, text, Path(folder))
        again = _same(files, node, item)
        notes = differing(record, read_making(again)[1])
        lines, code = compare(path, again)
    print_lines([*lines, *notes])
    return code


def _where(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings for the recorded device and dtype, if this machine has them."""
    dtype = record.get("dtype")
    return {"device": _device(record.get("device")), "dtype": dtype if dtype in DTYPES else None}


def _device(recorded: Any) -> str | None:
    settings = load_settings()
    versions = dict(probe(settings.model_copy(update={"device": "cpu"})).versions)
    for device in ("cpu", *accelerators(versions["torch"])):
        if _class_of(settings, device) == recorded:
            return device
    return None


def _class_of(settings: Settings, device: str) -> str:
    return probe(settings.model_copy(update={"device": device})).device_class


def _again(session: Session, text: str, folder: Path) -> list[Path]:
    """Run the workflow without the cache and return the saved files."""
    job = session.prepare(read(text))
    meter = Meter()
    stop = Flag()
    with Interrupts(stop.set), display(meter, json=True) as shown:
        running = Running(
            lambda listen, _: session.run_job(job, listen=listen, cancelled=stop, cache=False, out=folder), job
        )
        for event in running:
            meter(event)
            shown(event)
    return running.result().files


def _same(files: list[Path], node: str, item: int) -> Path:
    for path in files:
        if path.suffix in PICTURES:
            record = read_making(path)[1]
            if (record.get("node"), record.get("item")) == (node, item):
                return path
    raise Failure(f"the run saved no picture {item} of the node '{node}'", got=f"{len(files)} files")


def compare(first: Path, second: Path) -> tuple[list[str], int]:
    """Compare two pictures. Returns the lines to print and the exit code: 0 identical, 1 different."""
    one, other = (read_pixels(path).pixels for path in (first, second))
    if one.shape != other.shape:
        return [f"different size: recorded {_shape(one)}, now {_shape(other)}"], 1
    found = difference(one, other)
    if not found.pixels:
        return ["identical"], 0
    share = f"{found.pixels} of {found.total} pixels differ"
    return [f"different: {share}, largest difference {found.largest}/255, mean {found.mean:.4g}/255"], 1


def difference(one: "npt.NDArray[Any]", other: "npt.NDArray[Any]") -> Difference:
    """Return the difference of two pictures [H, W, C] in 0..1."""
    import numpy as np

    levels = np.abs(np.rint(one * 255) - np.rint(other * 255))
    changed = levels.max(axis=2) > 0
    return Difference(int(levels.max()), float(levels.mean()), int(changed.sum()), changed.size)


def _shape(pixels: "npt.NDArray[Any]") -> str:
    height, width, channels = pixels.shape
    return f"{width}x{height} with {channels} channels"


def differing(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a line for each version, device, dtype and model that differs from the record."""
    lines = [
        f"{name}: recorded {recorded.get(name)}, now {now.get(name)}"
        for name in VERSIONS
        if recorded.get(name) != now.get(name)
    ]
    then, here = (dict(record.get("models") or {}) for record in (recorded, now))
    return lines + [
        f"model '{name}': recorded sha256 {then.get(name)}, now {here.get(name)}"
        for name in sorted({*then, *here})
        if then.get(name) != here.get(name)
    ]
