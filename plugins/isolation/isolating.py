"""Makes the node types of a plugin run in a process of their own."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from latentloom.engine.settings import Settings
from latentloom.engine.types.registry import NodeType, Registration, Registry
from latentloom.engine.types.spec import ANY, NodeSpec
from latentloom.engine.types.values import VALUE_TYPES
from latentloom.plugins.isolation.calls import CONTEXT, Home, Isolated, Limits
from latentloom.plugins.isolation.packing import Described

FILE = "isolated.json"


@dataclass(frozen=True, slots=True)
class Isolation:
    """Which plugins are isolated besides those that ask for it, and the limits of their processes."""

    names: frozenset[str] = frozenset()
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def of(cls, settings: Settings) -> "Isolation":
        """Return what the settings say, and `loom plugins isolate`."""
        return cls(isolated_names(settings.data), Limits(settings.isolated_seconds, settings.isolated_bytes))


def isolated_names(data: Path) -> frozenset[str]:
    """Return the names of the plugins that were isolated by `loom plugins isolate`."""
    try:
        return frozenset(json.loads((data / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return frozenset()


def write_isolated(data: Path, names: Iterable[str]) -> None:
    """Store the names of the plugins that are isolated."""
    data.mkdir(parents=True, exist_ok=True)
    partial = data / f"{FILE}.new"
    partial.write_text(json.dumps(sorted(names)), encoding="utf-8")
    partial.replace(data / FILE)


def nodes_only(found: Registration) -> tuple[Registration, list[str]]:
    """Return a registration with its nodes alone, and a text if that leaves something out."""
    made = Registration(found.distribution)
    made.nodes, made.note = [replace(item, isolated=True) for item in found.nodes], found.note
    left = [f"port type '{item.kind}'" for item in found.types]
    left += [f"{item.kind.replace('_', ' ')} '{item.name}'" for item in found.extensions]
    left += [f"models for {item.source}" for item in found.folders]
    left += ["on_event"] if found.listens else []
    return made, [f"isolated plugins provide nodes only; left out: {', '.join(left)}"] if left else []


def isolate(registry: Registry, limits: Limits) -> None:
    """Make the functions of isolated node types run in processes. All plugins are registered already."""
    for name, item in registry.nodes.items():
        if item.isolated:
            registry.nodes[name] = _isolated(item, registry, limits)


def _isolated(item: NodeType, registry: Registry, limits: Limits) -> NodeType:
    spec, whose = item.spec, item.distribution
    what = Isolated(
        home=Home(whose.plugin, whose.code, (), limits),
        type=spec.type,
        function=spec.function,
        types=_types(spec, registry),
        asynchronous=spec.asynchronous,
        needs=any(port.lazy for port in spec.inputs),
        fingerprint=spec.purity == "external",
        migrate=spec.migrates,
    )
    saves = spec.context is not None
    hears = CONTEXT if saves or spec.purity != "sink" else None  # a sink that saves by itself stays one
    return replace(item, spec=replace(spec, function=what.target(), context=hears))


def _types(spec: NodeSpec, registry: Registry) -> Described:
    """Return the port types that a node's values may have, besides the engine's own."""
    kinds = {port.kind for port in spec.inputs} | {port.kind for port in spec.outputs}
    own = {cls.kind for cls in VALUE_TYPES}
    wanted: Callable[[str], bool] = lambda kind: kind not in own and (kind in kinds or ANY in kinds)  # noqa: E731
    return [
        (item.kind, item.cls.target, item.codec.target if item.codec else None)
        for item in registry.types()
        if wanted(item.kind)
    ]
