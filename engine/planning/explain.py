"""Why a step would run: its key's fields against those of the last time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from latentloom.engine.cache.cache import Cache, Item, Result
from latentloom.engine.planning.identity import Identity
from latentloom.engine.planning.validate import Checked, Step


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would happen at one node, and why."""

    node: str
    type: str
    status: str  # "hit", "run", "unknown"
    reason: str


def explain(checked: Checked, identity: Identity, cache: Cache, name: str) -> list[Explanation]:
    """The plan's steps in order. Nothing runs; below the first miss results are unknown until it has run."""
    needed = checked.graph.upstream(checked.wanted)
    results: dict[str, Result] = {}
    found = []
    for id in checked.graph.order():
        if id in needed:
            found.append(_explain(checked.steps[id], identity, cache, name, results))
    return found


def _explain(step: Step, identity: Identity, cache: Cache, name: str, results: dict[str, Result]) -> Explanation:
    spec = step.spec
    waiting = [source for source in step.sources(lazy=False) if source not in results]
    if spec.purity == "sink":
        return Explanation(step.id, spec.type, "run", "it saves or sends something, so it always runs")
    if waiting:
        return Explanation(step.id, spec.type, "unknown", f"unknown until '{waiting[0]}' ran")
    asked = _asked(step, identity, cache, results)
    if asked is None or spec.purity != "pure":
        return Explanation(step.id, spec.type, "unknown", _impure(spec.purity))
    late = [s for s in step.sources(lazy=True) if s not in results and _needs(step, s, asked)]
    if late:
        return Explanation(step.id, spec.type, "unknown", f"unknown until '{late[0]}' ran")
    inputs = identity.inputs(step, results, asked)
    fields = identity.fields(step, inputs, identity.mentions(step, inputs))
    result = cache.result(fields.key())
    if result is not None:
        results[step.id] = result
        return Explanation(step.id, spec.type, "hit", f"made before in {result.seconds:.3g} s")
    return Explanation(
        step.id, spec.type, "run", _changes(fields.record(), cache.fields(f"{name}/{step.id}") if name else None)
    )


def _impure(purity: str) -> str:
    return {
        "external": "it looks at the outside world when it runs",
        "nondeterministic": "it runs once in every job",
    }.get(purity, "which lazy inputs it wants is known when it runs")


def _asked(step: Step, identity: Identity, cache: Cache, results: Mapping[str, Result]) -> frozenset[str] | None:
    if not any(port.lazy for port in step.spec.inputs):
        return frozenset()
    inputs = identity.inputs(step, results, frozenset())
    known = cache.result(identity.fields(step, inputs, {}, {"question": "needs"}).key())
    names = known.outputs["names"] if known else None
    return frozenset(names.literal) if type(names) is Item else None


def _needs(step: Step, source: str, asked: frozenset[str]) -> bool:
    edges = [step.edges[name] for name in asked if name in step.edges]
    return any(source == edge.node for edge in edges)


def _changes(fields: Mapping[str, Any], last: Mapping[str, Any] | None) -> str:
    if last is None:
        return "never made before"
    words = {
        "type": "the node type",
        "version": "the node type's version",
        "code": "the code of its plugin or of Latentloom",
        "environment": "device, dtype or library versions",
        "salt": "the cache salt",
        "economy": "how far it saves memory",
        "mentions": "the files that its texts name",
    }
    changed = [words[name] for name in words if fields.get(name) != last.get(name)]
    now, then = fields["inputs"], last.get("inputs", {})
    changed += [f"input '{name}'" for name in sorted({*now, *then}) if now.get(name) != then.get(name)]
    return f"changed: {', '.join(changed)}" if changed else "made before, but removed from the cache since"
