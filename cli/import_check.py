"""Checks in a separate process whether modules can be imported: a broken library may crash its process."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from signal import Signals

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ASKING = frozenset({"torch", "diffusers", "transformers", "latentloom", "importlib", "runpy", __name__})


@dataclass(frozen=True, slots=True)
class ImportFault:
    """Why a module cannot be imported: the first cause, and the package whose code raised it."""

    module: str
    error: str
    culprit: str
    missing: str | None = None

    def tip(self) -> str:
        """Return a fix."""
        if self.missing:
            return f"pip install {self.missing}"
        name = distribution_of(self.culprit)
        mended = f"`pip install --force-reinstall {name}`, from the index that torch {_version('torch')} came from"
        return mended if is_needed(name) else f"{mended}; or `pip uninstall {name}`, which nothing here needs"

    def text(self) -> str:
        """Return a description of the problem."""
        name = distribution_of(self.culprit)
        why = self.error if name == self.module else f"{name} {_version(name)} raises {self.error}"
        return f"{self.module} cannot be imported: {why}"


def import_faults(modules: Iterable[str]) -> list[ImportFault]:
    """Return the faults of the modules that a new process cannot import."""
    command = [sys.executable, "-m", __name__, *modules]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    faults = [ImportFault(**record) for record in told if "error" in record]
    if done.returncode == 0:
        return faults
    last = told[-1]["module"] if told else "python"
    return [*faults, ImportFault(last, _ended(done), last.partition(".")[0])]


def fault_of(module: str, error: BaseException) -> ImportFault:
    """Return the fault for an exception of an import, traced to its first cause."""
    chain = [error, *_causes(error)]
    frames = [name for one in chain for name in _packages(one)]
    strangers = [name for name in frames if name not in ASKING]
    cause = chain[-1]
    missing = cause.name if isinstance(cause, ModuleNotFoundError) else None
    culprit = strangers[-1] if strangers else module.partition(".")[0]
    return ImportFault(module, f"{type(cause).__name__}: {cause}", culprit, missing and missing.partition(".")[0])


def _causes(error: BaseException) -> Iterator[BaseException]:
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        yield cause
        error = cause


def _packages(error: BaseException) -> Iterator[str]:
    """Yield the top-level packages in a traceback, outermost first."""
    trace = error.__traceback__
    while trace:
        yield str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        trace = trace.tb_next


def distribution_of(package: str) -> str:
    """Return the distribution of a top-level package; the package's name if it is unknown."""
    return next(iter(metadata.packages_distributions().get(package, [])), package)


def is_needed(name: str) -> bool:
    """Whether an installed distribution requires this one, not counting extras."""
    lines = (line for found in metadata.distributions() for line in found.requires or ())
    required = (Requirement(line) for line in lines)
    wanted = canonicalize_name(name)
    return any(
        canonicalize_name(one.name) == wanted and (one.marker is None or one.marker.evaluate({"extra": ""}))
        for one in required
    )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "of unknown version"


def _ended(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"the process was ended by {Signals(-done.returncode).name}"
    return (done.stderr.strip().splitlines() or [f"the process ended with {done.returncode}"])[-1]


def main(modules: list[str]) -> None:
    """Import all modules. Prints each name before its import, and its fault after. Output of modules goes to stderr."""
    answers = sys.stdout
    for module in modules:
        print(json.dumps({"module": module}), file=answers, flush=True)
        try:
            with redirect_stdout(sys.stderr):
                import_module(module)
        except (Exception, SystemExit) as error:
            print(json.dumps(asdict(fault_of(module, error))), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
