"""Finds plugins by their entry points and registers them. A plugin that fails is reported and skipped."""

import importlib
import importlib.util
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from time import perf_counter
from typing import Any

import pluggy

from latentloom.engine.document.workflow import GRAPH
from latentloom.engine.errors import LoomError, PluginError
from latentloom.engine.events import Event
from latentloom.engine.execution.process_state import ProcessState
from latentloom.engine.types.registry import Distribution, Registration, Registry
from latentloom.plugins.code import distribution_code, tree_code
from latentloom.plugins.comfyui.bridge.packs import Packs, found_in
from latentloom.plugins.hooks import GROUP, Hooks
from latentloom.plugins.snapshots import Snapshots

COMFYUI = "comfyui"  # the plugin that runs packs
BUILTIN = "latentloom"  # the distribution: its entry point "builtin" provides the nodes, the others are shipped plugins


@dataclass(frozen=True, slots=True)
class Record:
    """The status of one plugin."""

    plugin: str
    distribution: str
    status: str  # "loaded", "from snapshot", "failed", "not selected", "no snapshot"
    seconds: float
    nodes: int = 0
    error: str | None = None  # why it failed, or which process settings its import changed
    missing: str | None = None  # a module that it could not import
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class Discovered:
    """The registry, and the status of each plugin."""

    registry: Registry
    records: tuple[Record, ...]
    listeners: tuple[str, ...]  # entry points of plugins that implement on_event


def discover(
    snapshots: Snapshots | None = None,
    only: Sequence[str] | None = None,
    points: Iterable[EntryPoint] | None = None,
    *,
    imports: bool = True,
    packs: Packs | None = None,
) -> Discovered:
    """Register all installed plugins, the built-in nodes first, through the same hook.

    `only` names the plugins to load besides the built-in nodes. A plugin whose code is unchanged is registered from its
    snapshot. With `imports=False` only snapshots are used, and no plugin's code runs.
    `packs` are registered last, if the plugin that runs them is selected.
    """
    found = entry_points(group=GROUP) if points is None else points
    ordered = sorted(found, key=lambda point: (not _builtin(point), point.name))
    registry, records, listeners = Registry(), [], []
    for point in ordered:
        if only is not None and not _builtin(point) and point.name not in only:
            records.append(Record(point.name, _label(point), "not selected", 0.0))
            continue
        record, registration = _load(point, registry, snapshots, imports=imports)
        records.append(record)
        if registration is not None and registration.listens:
            listeners.append(point.value)
    if packs is not None and (only is None or COMFYUI in only):
        records += _with_packs(packs, registry, imports=imports)
    return Discovered(registry, tuple(records), tuple(listeners))


def _with_packs(packs: Packs, registry: Registry, *, imports: bool) -> Iterator[Record]:
    """Register packs of ComfyUI's node classes and yield their status."""
    for pack in found_in(packs, imports=imports):
        if isinstance(pack, str):
            yield Record(pack, "pack", "no snapshot", 0.0)
            continue
        if pack.registration is None:
            yield Record(pack.name, "pack", "failed", pack.seconds, error=pack.error)
            continue
        registry.add(pack.registration)
        left = f"{len(pack.reasons)} classes do not run: loom plugins --pack {pack.name}" if pack.reasons else None
        yield Record(pack.name, "pack", "loaded", pack.seconds, len(pack.registration.nodes), left)


def _builtin(point: EntryPoint) -> bool:
    return _ships(point) and point.name == "builtin"


def _ships(point: EntryPoint) -> bool:
    return point.dist is not None and point.dist.name == BUILTIN


def _label(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"


def _load(
    point: EntryPoint, registry: Registry, snapshots: Snapshots | None, *, imports: bool
) -> tuple[Record, Registration | None]:
    begin = perf_counter()
    try:
        distribution = _distribution(point)
        registration = snapshots.read(distribution) if snapshots else None
        status, changed = "from snapshot" if registration else "loaded", ""
        if registration is None and not imports:
            return Record(point.name, _label(point), "no snapshot", perf_counter() - begin), None
        if registration is None:
            registration, changed = _registered(point, distribution)
            if snapshots:
                snapshots.write(registration)
        registry.add(registration)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # a plugin may raise anything, even SystemExit
        return _failure(point, error, perf_counter() - begin), None
    seconds = perf_counter() - begin
    return Record(point.name, _label(point), status, seconds, len(registration.nodes), changed or None), registration


def _failure(point: EntryPoint, error: BaseException, seconds: float) -> Record:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    text = str(error) if isinstance(error, LoomError) else f"{type(error).__name__}: {error}"
    trace = None if isinstance(error, LoomError) else "".join(traceback.format_exception(error))
    return Record(point.name, _label(point), "failed", seconds, error=text, missing=missing, trace=trace)


def _distribution(point: EntryPoint) -> Distribution:
    if point.dist is None:
        raise PluginError(f"the entry point '{point.name}' belongs to no distribution")
    if f"{point.name}/" == GRAPH:
        raise PluginError(f"the entry point '{point.name}' has the name of sub-workflows", hint="rename it")
    code = tree_code(_folders(*_shipped_modules(point))) if _ships(point) else distribution_code(point.dist)
    return Distribution(point.dist.name, point.dist.version, point.name, code.identity, _builtin(point), code.files)


def _shipped_modules(point: EntryPoint) -> tuple[str, ...]:
    """Return the modules in the code identity. For built-in nodes: engine and nodes, not training or the CLI."""
    return (f"{BUILTIN}.engine", f"{BUILTIN}.nodes") if _builtin(point) else (point.module,)


def _folders(*modules: str) -> list[Path]:
    specs = [importlib.util.find_spec(name) for name in modules]
    return [Path(place) for spec in specs if spec for place in spec.submodule_search_locations or ()]


def _registered(point: EntryPoint, distribution: Distribution) -> tuple[Registration, str]:
    """Import the plugin and call only its `register` hook. Changed process settings are restored."""
    state = ProcessState()
    with state.run():
        registration = _hooked(point, distribution)
        changed = state.put_back(imported=True)
    return registration, f"its import changed {', '.join(changed)}; it was restored" if changed else ""


def _hooked(point: EntryPoint, distribution: Distribution) -> Registration:
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    module = point.load()
    manager.register(module, name=point.name)
    manager.check_pending()
    registration = Registration(distribution)
    manager.hook.register(registry=registration)
    registration.listens = bool(manager.hook.on_event.get_hookimpls())
    return registration


class Listeners:
    """The on_event hooks of plugins, imported at the first event. Their errors are collected, not raised."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = modules
        self._manager: pluggy.PluginManager | None = None
        self.faults: list[str] = []

    def __call__(self, event: Event) -> None:
        """Pass an event to all plugins."""
        if not self._modules:
            return
        for implementation in self._hooks():
            state = ProcessState()
            with state.run():
                try:
                    implementation.function(event=event)
                except Exception as error:
                    self.faults.append(f"{implementation.plugin_name}: {type(error).__name__}: {error}")
                for what in state.put_back():
                    self.faults.append(f"{implementation.plugin_name}: changed {what}; it was restored")

    def _hooks(self) -> list[Any]:
        if self._manager is None:
            self._manager = pluggy.PluginManager(GROUP)
            self._manager.add_hookspecs(Hooks)
            for name in self._modules:
                try:
                    self._manager.register(importlib.import_module(name), name=name)
                except Exception as error:
                    self.faults.append(f"{name}: {type(error).__name__}: {error}")
        return self._manager.hook.on_event.get_hookimpls()
