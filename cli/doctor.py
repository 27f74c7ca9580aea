"""`loom doctor`: checks an installation and prints a fix for each problem."""

import platform
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from latentloom.api import Session
from latentloom.cli.import_check import ImportFault, fault_of, import_faults
from latentloom.cli.table import print_lines, size_text
from latentloom.engine.errors import LoomError, SettingsError
from latentloom.engine.jobs.database import sqlite_faults
from latentloom.engine.models.environment import Environment, card_fault, named_cards, probe
from latentloom.engine.models.warm_up import needed_modules
from latentloom.engine.settings import Settings, load_settings, settings_file

LEAST_PYTHON = (3, 11)
LOW_SPACE = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    state: Literal["ok", "note", "broken"]
    subject: str
    text: str
    tip: str | None = None

    def lines(self) -> list[str]:
        """Return this finding as lines for the terminal."""
        first = f"{self.state:<7} {self.subject}: {self.text}"
        return [first, f"        tip: {self.tip}"] if self.tip else [first]


def doctor() -> int:
    """Print all findings. Returns exit code 1 if something is broken."""
    broken = False
    for finding in findings():
        print_lines(finding.lines())
        sys.stdout.flush()
        broken = broken or finding.state == "broken"
    return 1 if broken else 0


def findings() -> Iterator[Finding]:
    """Run all checks. A check that raises is also a finding."""
    yield _python()
    yield from _sqlite()
    yield from _guarded("PyTorch", _torch)
    try:
        settings = load_settings()
    except SettingsError as error:
        yield Finding(
            "broken", "settings", error.problem.message, f"fix {settings_file()} or the LATENTLOOM_* variables"
        )
        return
    yield _settings()
    yield from _guarded("device", lambda: _device(settings))
    yield from _folders(settings)
    yield from _guarded("disk space", lambda: _space(settings))
    yield from _guarded("plugins", lambda: _installed(settings))


def _guarded(subject: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except Exception as error:  # the other checks must still run
        if isinstance(error, LoomError):
            yield Finding("broken", subject, error.problem.message, error.problem.hint)
        else:
            tip = "`loom --debug` before the command that fails shows more"
            yield Finding("broken", subject, f"{type(error).__name__}: {error}", tip)


def _python() -> Finding:
    text = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] < LEAST_PYTHON:
        return Finding("broken", "Python", text, "install Python 3.11 or newer")
    return Finding("ok", "Python", text)


def _sqlite() -> Iterator[Finding]:
    tip = "use a Python whose SQLite is 3.51.3 or newer, or 3.50.7, or 3.44.6"
    for fault in sqlite_faults():
        yield Finding("note", "SQLite", fault, tip)
    if not sqlite_faults():
        yield Finding("ok", "SQLite", sqlite3.sqlite_version)


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:
        yield _import_finding("PyTorch", fault_of("torch", error))
        return
    yield Finding("ok", "PyTorch", f"{torch.__version__}, {torch.get_num_threads()} threads")


def _import_finding(subject: str, fault: ImportFault) -> Finding:
    return Finding("broken", subject, fault.text(), fault.tip())


def _settings() -> Finding:
    path = settings_file()
    return Finding("ok", "settings", f"{path}" if path.exists() else f"defaults ({path} does not exist)")


def _device(settings: Settings) -> Iterator[Finding]:
    environment = probe(settings)
    why = "as set" if settings.device != "auto" else "the best available"
    yield Finding("ok", "device", f"{environment.device} ({environment.device_class}), {why}")
    yield from _cards(dict(environment.versions)["torch"])
    state: Literal["ok", "note"] = "note" if environment.slow else "ok"
    tip = "fp16 is very slow on a CPU: use fp32 or bf16" if environment.slow else None
    yield Finding(state, "dtype", f"{environment.dtype}, {_why_dtype(settings, environment)}", tip)


def _cards(torch_version: str) -> Iterator[Finding]:
    for device, card in named_cards(torch_version).items():
        capability = ".".join(map(str, card.capability))
        yield Finding("ok", "card", f"{device}, {card.name}, compute capability {capability}")
    fault = card_fault(torch_version)
    if fault is not None:
        yield Finding("note", "card", f"none: {fault}", "docs/gpu.md lists what to check")


def _why_dtype(settings: Settings, environment: Environment) -> str:
    if settings.dtype != "auto":
        return "as set"
    if environment.device != "cpu":
        short = environment.device.startswith("cuda") and environment.dtype == "fp16"
        return "the GPU has no bf16 support" if short else "the default of this device"
    fast = environment.dtype == "bf16"
    return "the CPU has fast bf16" if fast else "the CPU has neither AMX nor AVX512-BF16"


def _folders(settings: Settings) -> Iterator[Finding]:
    for name in ("data", "input", "output", "cache"):
        folder: Path = getattr(settings, name)
        fault = unwritable(folder)
        state = "will be created" if not folder.exists() else "can be written"
        tip = f"set LATENTLOOM_{name.upper()} to a writable folder"
        yield Finding("broken", name, f"{folder}: {fault}", tip) if fault else Finding("ok", name, f"{folder}, {state}")
    for folder in settings.models:
        if folder.is_dir():
            yield Finding("ok", "model folder", str(folder))
        else:
            tip = "`loom models get` fills it, `loom models add DIR` adds another"
            yield Finding("note", "model folder", f"{folder} does not exist", tip)


def unwritable(folder: Path) -> str | None:
    """Return why a folder, or its nearest existing parent, is not writable; None if it is writable."""
    place = next((item for item in (folder, *folder.parents) if item.exists()), folder)
    try:
        with tempfile.TemporaryFile(dir=place):
            return None
    except OSError as error:
        return error.strerror or str(error)


def _space(settings: Settings) -> Iterator[Finding]:
    for name in ("cache", "output"):
        folder: Path = getattr(settings, name)
        place = next(item for item in (folder, *folder.parents) if item.exists())
        free = shutil.disk_usage(place).free
        tip = "`loom cache prune --to 1GiB` frees space" if free < LOW_SPACE else None
        yield Finding("note" if tip else "ok", "disk space", f"{size_text(free)} free for {name}", tip)


def _installed(settings: Settings) -> Iterator[Finding]:
    with Session(settings) as session:
        for record in session.plugins:
            if record.status == "failed":
                tip = f"pip install {record.missing}" if record.missing else f"`loom plugins --trace {record.plugin}`"
                yield Finding("broken", "plugin", f"{record.plugin} ({record.distribution}): {record.error}", tip)
        good = [record for record in session.plugins if record.works]
        count = sum(record.nodes for record in good)
        yield Finding("ok", "plugins", f"{count} node types from {len(good)} plugins")
        yield from _guarded("libraries", lambda: _libraries(needed_modules(session.engine.registry, models=True)))
        catalog = session.engine.catalog
        found = sum(len(catalog.own_names(source)) for source in catalog.model_sources())
        hint = None if found else "`loom models get URL --sha256 HEX` downloads one"
        yield Finding("ok" if found else "note", "models", f"{found} found", hint)


def _libraries(modules: list[str]) -> Iterator[Finding]:
    """Check that the libraries for models can be imported. A cause that affects several modules is reported once."""
    faults = {(fault.culprit, fault.error): fault for fault in reversed(import_faults(modules))}
    for fault in faults.values():
        yield _import_finding("libraries", fault)
    if not faults:
        yield Finding("ok", "libraries", f"all {len(modules)} modules that models need can be imported")
