"""Explains why a step would run: compares the fields of its cache key and its uses with those of the last run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latentloom.engine.cache.cache import Cache, Item, Result, Use
from latentloom.engine.errors import LoomError
from latentloom.engine.keys import Fields
from latentloom.engine.planning.copies import Part
from latentloom.engine.planning.identity import Identity, Inputs
from latentloom.engine.planning.mapping import outputs_of, parts_of
from latentloom.engine.planning.step import Checked, Files, Step
from latentloom.engine.planning.subgraph import MAX_STEPS, Expansions, Outputs, graft
from latentloom.engine.planning.turns import Turns
from latentloom.engine.planning.uses import FILE_NAME, Uses
from latentloom.engine.types.context import RECOGNITION
from latentloom.engine.types.expansion import Expansion
from latentloom.engine.types.registry import Registry


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a run would do at one node, and why."""

    node: str
    type: str
    status: str  # "hit", "run", "unknown"
    reason: str


@dataclass(frozen=True, slots=True)
class Explainer:
    """Explains plans without running anything. Steps that depend on a cache miss are unknown."""

    identity: Identity
    uses: Uses
    cache: Cache
    registry: Registry
    files: Files

    def explain(self, checked: Checked, name: str) -> list[Explanation]:
        """Explain the steps of a workflow in order. The steps of a known expansion come before the expanded step."""
        needed = checked.graph.upstream(checked.wanted)
        plan = _Plan(self, name, dict(checked.steps))
        plan.walk(id for id in checked.graph.order() if id in needed)
        return plan.found


class _Plan:
    """The state of one explanation."""

    def __init__(self, parts: Explainer, name: str, steps: dict[str, Step]) -> None:
        self.parts, self.name, self.steps = parts, name, steps
        self.results: dict[str, Result] = {}
        self.expanded = Expansions()
        self.found: list[Explanation] = []

    def walk(self, ids: Iterable[str]) -> None:
        for id in ids:
            self.step(self.steps[id])

    def tell(self, step: Step, status: str, reason: str) -> None:
        self.found.append(Explanation(step.id, step.spec.type, status, reason))

    def step(self, step: Step) -> None:
        purity = step.spec.purity
        waiting = [source for source in step.sources(lazy=False) if source not in self.results]
        if step.each is not None or step.loop is not None:
            self.repeated(step, waiting)
        elif purity == "sink":
            self.tell(step, "run", "it saves or sends something, so it always runs")
        elif waiting:
            self.tell(step, "unknown", f"unknown until '{waiting[0]}' ran")
        elif (asked := self.asked(step)) is None or purity != "pure":
            self.tell(step, "unknown", _impure(purity))
        elif late := [s for s in step.sources(lazy=True) if s not in self.results and _needs(step, s, asked)]:
            self.tell(step, "unknown", f"unknown until '{late[0]}' ran")
        else:
            self.reachable(step, asked)

    def repeated(self, step: Step, waiting: Sequence[str]) -> None:
        """Explain a step that runs for each item or turn by turn: the steps of its items or turns, then itself."""
        if waiting:
            self.tell(step, "unknown", f"unknown until '{waiting[0]}' ran")
            return
        try:
            inputs = self.parts.identity.inputs(step, self.results, frozenset())
            order = self.items(step, inputs) if step.each is not None else self.turns(step, inputs)
        except LoomError as error:
            self.tell(step, "run", f"it will fail: {error.problems[0].message}")
            return
        self.together(step, order)

    def items(self, step: Step, inputs: Inputs) -> list[str]:
        """Explain the items of a step, and return their steps."""
        parts = parts_of(step, inputs, self.parts.registry, MAX_STEPS - len(self.steps))
        self.expanded.put_lists(step.id, outputs_of(step, parts))
        return [id for part in parts for id in self.part(part)]

    def turns(self, step: Step, inputs: Inputs) -> list[str]:
        """Explain the turns of a loop up to the first one that is not known, and return their steps."""
        loop = Turns(step, inputs, self.parts.registry, MAX_STEPS - len(self.steps))
        order: list[str] = []
        while not order or not (self.unknown(loop.outputs) or loop.ended(self.results)):
            order += self.part(loop.begin())
            self.expanded.put_lists(step.id, loop.outputs)
        return order

    def unknown(self, outputs: Outputs) -> bool:
        """Whether an output of a step is not known yet."""
        last = (value[-1] if isinstance(value, list) else value for value in outputs.values())
        return any(edge.node not in self.results for edge in last)

    def part(self, part: Part) -> list[str]:
        """Explain the steps of one item or turn, and return their ids."""
        order = [child.id for child in part.steps]
        self.steps |= {child.id: child for child in part.steps}
        self.walk(order)
        return order

    def asked(self, step: Step) -> frozenset[str] | None:
        """Return the lazy inputs that a step wants, or None if they are unknown."""
        if not any(port.lazy for port in step.spec.inputs):
            return frozenset()
        inputs = self.parts.identity.inputs(step, self.results, frozenset())
        known = self.parts.cache.result(self.parts.identity.fields(step, inputs, {}, {"question": "needs"}).key())
        names = known.outputs["names"] if known else None
        return frozenset(names.literal) if type(names) is Item else None

    def reachable(self, step: Step, asked: frozenset[str]) -> None:
        """Explain a step whose inputs are known."""
        inputs = self.parts.identity.inputs(step, self.results, asked)
        fields = self.parts.identity.fields(step, inputs, self.parts.identity.mentions(step, inputs))
        result = self.parts.cache.result(fields.key())
        changed = self.parts.uses.changed(result.uses, inputs) if result is not None else []
        if result is None or changed:
            self.tell(step, "run", self.reason(step, fields, changed))
        elif result.expansion is not None:
            self.expansion(step, result, result.expansion)
        else:
            self.results[step.id] = result
            self.tell(step, "hit", f"computed before in {result.seconds:.3g} s")

    def reason(self, step: Step, fields: Fields, changed: Iterable[Use]) -> str:
        if found := [_use(use) for use in changed]:
            return f"changed: {', '.join(found)}"
        last = self.parts.cache.fields(f"{self.name}/{step.id}") if self.name else None
        return _changes(fields.record(), last)

    def expansion(self, step: Step, known: Result, record: Mapping[str, Any]) -> None:
        """Explain a step whose expansion is known."""
        try:
            grafted = graft(step, Expansion.from_record(record), self.parts.registry, self.parts.files, self.steps)
        except LoomError as error:
            self.tell(step, "run", f"its expansion has problems: {error.problems[0].message}")
            return
        self.steps |= grafted.steps
        self.expanded.put(step.id, grafted, known.seconds, known=True)
        self.walk(order := grafted.order())
        self.together(step, order)

    def together(self, step: Step, order: Sequence[str]) -> None:
        """Explain a step by the steps that it stands for."""
        late = [id for id in order if id not in self.results]
        if late:
            self.tell(step, "unknown", f"unknown until '{late[0]}' ran")
        else:
            self.tell(step, "hit", "every node of its expansion was computed before")
        if not self.expanded.inside(step.id) - self.results.keys():
            self.results[step.id] = self.expanded.result(step.id, self.results)


def _use(use: Use) -> str:
    if use.kind == FILE_NAME:
        return f"the name of input '{use.name}'"
    if use.kind == RECOGNITION:
        return "the plugins that recognise model files"
    return f"the code of the {use.kind} '{use.name}'"


def _impure(purity: str) -> str:
    return {
        "external": "it reads external state when it runs",
        "nondeterministic": "it runs once in every job",
    }.get(purity, "which lazy inputs it needs is known only when it runs")


def _needs(step: Step, source: str, asked: frozenset[str]) -> bool:
    edges = [step.edges[name] for name in asked if name in step.edges]
    return any(source == edge.node for edge in edges)


def _changes(fields: Mapping[str, Any], last: Mapping[str, Any] | None) -> str:
    if last is None:
        return "never computed before"
    words = {
        "type": "the node type",
        "version": "the node type's version",
        "code": "the code of its plugin or of Latentloom",
        "environment": "device, dtype or library versions",
        "salt": "the cache salt",
        "economy": "the level of memory saving",
        "mentions": "the files named in its texts",
    }
    changed = [words[name] for name in words if fields.get(name) != last.get(name)]
    now, then = fields["inputs"], last.get("inputs", {})
    changed += [f"input '{name}'" for name in sorted({*now, *then}) if now.get(name) != then.get(name)]
    return f"changed: {', '.join(changed)}" if changed else "computed before, but since removed from the cache"
