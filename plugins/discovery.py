"""Finds plugins by their entry points and registers them. A plugin that fails is reported and skipped.

No code of a plugin that does not ship with Latentloom runs in this process: it is inspected in a child process, once
for each version of its code (plugins/inspection.py).
"""

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from time import perf_counter
from typing import Literal

from latentloom.engine.document.workflow import GRAPH
from latentloom.engine.errors import PluginError
from latentloom.engine.types.registry import Distribution, Registration, Registry
from latentloom.plugins.code import distribution_code, tree_code
from latentloom.plugins.comfyui.bridge.packs import Packs, found_in
from latentloom.plugins.hooks import GROUP, ISOLATED_GROUP
from latentloom.plugins.inspection import SECONDS, Inspector, Plugin
from latentloom.plugins.isolation.isolating import Isolation, isolate, nodes_only
from latentloom.plugins.listeners import Hook
from latentloom.plugins.registration import Failure, failure_of, registered
from latentloom.plugins.snapshots import Snapshots

COMFYUI = "comfyui"  # the plugin that runs packs
BUILTIN = "latentloom"  # the distribution: its entry point "builtin" provides the nodes, the others are shipped plugins
PACK = "pack"  # stands for the distribution of a pack
WAITS = "not inspected"
Inspect = Literal["all", "shipped", "plugins", "none"]


@dataclass(frozen=True, slots=True)
class Record:
    """The status of one plugin."""

    plugin: str
    distribution: str
    status: str  # "loaded", "from snapshot", "failed", "not selected", "not inspected"
    seconds: float
    nodes: int = 0
    error: str | None = None  # why it failed, which process settings its import changed, the last fault of on_event
    missing: str | None = None  # a module that it could not import
    trace: str | None = None  # the traceback, or the last that it printed
    isolated: bool = False  # whether its nodes run in a process of their own

    @property
    def works(self) -> bool:
        """Whether its nodes can be used."""
        return self.status in ("loaded", "from snapshot")

    @property
    def ships(self) -> bool:
        """Whether it is part of Latentloom."""
        return self.distribution.partition(" ")[0] == BUILTIN

    @property
    def prefix(self) -> str:
        """What its node types begin with, before the slash. The built-in ones have no prefix."""
        return COMFYUI if self.distribution == PACK else self.plugin


@dataclass(frozen=True, slots=True)
class Discovered:
    """The registry, and the status of each plugin."""

    registry: Registry
    records: tuple[Record, ...]
    hooks: tuple[Hook, ...]  # the plugins that implement on_event


@dataclass(frozen=True, slots=True)
class _Look:
    """What is known about one plugin."""

    point: EntryPoint
    status: str
    found: Registration | Failure | None = None
    seconds: float = 0.0
    distribution: Distribution | None = None


def discover(
    snapshots: Snapshots | None = None,
    only: Sequence[str] | None = None,
    points: Iterable[EntryPoint] | None = None,
    *,
    inspect: Inspect = "all",
    inspector: Inspector | None = None,
    packs: Packs | None = None,
    isolation: Isolation | None = None,
) -> Discovered:
    """Register all installed plugins, the built-in nodes first, through the same hook.

    `only` names the plugins to load besides the built-in nodes. A plugin whose code is unchanged is registered from its
    snapshot. `inspect` says which others are inspected: those that ship, which this process imports, or the plugins.
    `packs` are registered last, if the plugin that runs them is selected. `isolation` says which plugins run in
    processes of their own, besides those whose entry point asks for it.
    """
    isolation = isolation or Isolation()
    found = [*entry_points(group=GROUP), *entry_points(group=ISOLATED_GROUP)] if points is None else points
    ordered = sorted(found, key=lambda point: (not _builtin(point), point.name))
    registry, records, hooks = Registry(), [], []
    for look in _looks(ordered, snapshots, only, inspect, inspector):
        isolated = not _ships(look.point) and (look.point.group == ISOLATED_GROUP or look.point.name in isolation.names)
        record = _added(look, registry, isolated=isolated)
        listens = isinstance(look.found, Registration) and look.found.listens and not isolated
        if look.distribution and listens and record.works:
            hooks.append(Hook(look.point.module, look.distribution))
            noted = snapshots.noted(look.distribution) if snapshots else ""
            record = replace(record, error="; ".join(filter(None, (record.error, noted))) or None)
        records.append(record)
    isolate(registry, isolation.limits)
    if packs is not None and (only is None or COMFYUI in only):
        records += _with_packs(packs, registry, imports=inspect in ("all", "plugins"))
    return Discovered(registry, tuple(records), tuple(hooks))


def _looks(
    points: Sequence[EntryPoint],
    snapshots: Snapshots | None,
    only: Sequence[str] | None,
    inspect: Inspect,
    inspector: Inspector | None,
) -> list[_Look]:
    """Return what is known about each plugin, after those that are not known were inspected."""
    looks = [
        _Look(point, "not selected")
        if only is not None and not _builtin(point) and point.name not in only
        else _known(point, snapshots, imports=inspect in ("all", "shipped"))
        for point in points
    ]
    waits = [look.status == WAITS and not _ships(look.point) for look in looks]
    waiting = [n for n, waits in enumerate(waits) if waits and inspect in ("all", "plugins")]
    plugins = [Plugin(looks[n].point, distribution) for n in waiting if (distribution := looks[n].distribution)]
    for index, found, seconds in (inspector or Inspector(SECONDS)).look(plugins):
        n = waiting[index]
        looks[n] = replace(looks[n], status="loaded", found=found, seconds=seconds)
        _keep(looks[n], snapshots)
    return looks


def _known(point: EntryPoint, snapshots: Snapshots | None, *, imports: bool) -> _Look:
    """Return what is known about a plugin. With `imports`, one that ships is imported if it is not known."""
    begin = perf_counter()
    try:
        distribution = _distribution(point)
        found = snapshots.read(distribution) if snapshots else None
        if found is not None:
            return _Look(point, "from snapshot", found, perf_counter() - begin, distribution)
        if not _ships(point) or not imports:
            return _Look(point, WAITS, None, perf_counter() - begin, distribution)
        look = _Look(point, "loaded", registered(point, distribution), perf_counter() - begin, distribution)
        _keep(look, snapshots)
        return look
    except Exception as error:
        return _Look(point, "failed", failure_of(error), perf_counter() - begin)


def _keep(look: _Look, snapshots: Snapshots | None) -> None:
    lasting = not isinstance(look.found, Failure) or look.found.lasting
    if snapshots is not None and look.distribution is not None and look.found is not None and lasting:
        snapshots.write(look.distribution, look.found)


def _added(look: _Look, registry: Registry, *, isolated: bool) -> Record:
    """Add what a plugin registered to the registry, and return its status."""
    found = look.found
    record = Record(look.point.name, _label(look.point), look.status, look.seconds, isolated=isolated)
    if isinstance(found, Registration):
        whole, left = nodes_only(found) if isolated else (found, [])
        fitting, clashes = registry.fitting(whole)
        registry.add(fitting)
        notes = "; ".join(filter(None, [found.note, *left, *clashes]))
        return replace(record, nodes=len(fitting.nodes), error=notes or None)
    if found is None:
        return record
    return replace(record, status="failed", error=found.error, missing=found.missing, trace=found.trace)


def _with_packs(packs: Packs, registry: Registry, *, imports: bool) -> Iterator[Record]:
    """Register packs of ComfyUI's node classes and yield their status."""
    for pack in found_in(packs, imports=imports):
        if isinstance(pack, str):
            yield Record(pack, PACK, WAITS, 0.0)
            continue
        if pack.registration is None:
            yield Record(pack.name, PACK, "failed", pack.seconds, error=pack.error)
            continue
        registry.add(pack.registration)
        left = f"{len(pack.reasons)} classes do not run: loom plugins --pack {pack.name}" if pack.reasons else None
        yield Record(pack.name, PACK, "loaded", pack.seconds, len(pack.registration.nodes), left)


def _builtin(point: EntryPoint) -> bool:
    return _ships(point) and point.name == "builtin"


def _ships(point: EntryPoint) -> bool:
    return point.dist is not None and point.dist.name == BUILTIN


def _label(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"


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
