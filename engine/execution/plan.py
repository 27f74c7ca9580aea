"""The plan of one run: dependencies between steps, their results, and the steps that must run again."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from latentloom.engine.cache.cache import Cache, Item, Result
from latentloom.engine.document.workflow import edges_in
from latentloom.engine.execution.absent_outputs import AbsentOutputs
from latentloom.engine.execution.ready_queue import ReadyQueue
from latentloom.engine.execution.run_values import RunValues
from latentloom.engine.planning.copies import Part
from latentloom.engine.planning.identity import Inputs
from latentloom.engine.planning.mapping import outputs_of
from latentloom.engine.planning.step import Checked, Step
from latentloom.engine.planning.subgraph import Expansions, Grafted
from latentloom.engine.planning.turns import Turns
from latentloom.engine.types.registry import Registry


class Plan:
    """Steps by id, in execution order, with the results and values that exist so far."""

    def __init__(self, checked: Checked, registry: Registry, cache: Cache) -> None:
        self.steps = checked.steps
        self.results: dict[str, Result] = {}
        self.values = RunValues(registry, cache)
        self.expanded = Expansions()
        self._wanted = frozenset(checked.wanted)
        self._ready = ReadyQueue(checked.graph.order())
        self.absent = AbsentOutputs(self.steps, self._ready, checked.outputs)
        self._forced: set[str] = set()  # steps whose stored values are gone and that must run again
        self._remaking: set[str] = set()  # these and the expanded steps around them, until they have results again

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def ready(self) -> bool:
        """Whether a step is ready."""
        return self._ready.ready

    def take(self) -> Step:
        """Remove and return the first step that is ready."""
        return self.steps[self._ready.take()]

    def need(self, wanted: str) -> None:
        """Plan a step and all steps that its eager inputs depend on."""
        stack = [wanted]
        while stack:
            id = stack.pop()
            if id in self._ready:
                continue
            step = self.steps[id]
            self.values.use(step.sources(lazy=True))
            sources = step.sources(lazy=False)
            self.wait(id, sources)
            stack += sources

    def wait(self, id: str, sources: Iterable[str]) -> None:
        """Make a step wait for others. It becomes ready when all of them have results."""
        self._ready.wait(id, {source for source in sources if source not in self.results})

    def has(self, id: str, sources: Iterable[str]) -> bool:
        """Whether all sources have results. Missing ones are planned, and the step waits for them."""
        missing = {source for source in sources if source not in self.results}
        for source in missing:
            self.need(source)
        if missing:
            self.wait(id, missing)
        return not missing

    def complete(self, step: Step) -> bool:
        """Whether all inputs of a step have results. A result may have been removed so that its step runs again."""
        if not self._remaking:
            return True
        sources = self.expanded.inside(step.id) if step.id in self.expanded else step.sources(lazy=False)
        missing = self._remaking.intersection(sources)
        if missing:
            self.wait(step.id, missing)
        return not missing

    def finish(self, id: str, result: Result) -> None:
        """Store the result of a step and unblock the steps that wait for it."""
        self.results[id] = result
        self.absent.note(id, result)
        self._forced.discard(id)
        self._remaking.discard(id)
        self.values.hold(id, result)
        for source in (*self.steps[id].sources(lazy=True), *self.expanded.inside(id)):
            self._release(source)
        self._ready.finished(id)

    def _release(self, source: str) -> None:
        """Count down the readers of a step's outputs. After the last one, release the values of a pure step."""
        last = self.values.read(source)
        if last and source in self.results and source not in self._wanted and self.steps[source].spec.purity == "pure":
            self.values.release(source, self.results[source])

    # Expansion

    def stand_for(self, step: Step, grafted: Grafted, seconds: float, *, known: bool) -> None:
        """Plan an expansion's steps. The expanded step waits for the sinks and the steps that deliver its outputs."""
        for n, (id, child) in enumerate(grafted.steps.items()):
            self.steps[id] = child
            self._ready.place(id, step.id, n)
        self.expanded.put(step.id, grafted, seconds, known=known)
        sources = self.expanded.inside(step.id) | set(grafted.sinks)
        self.values.use(self.expanded.inside(step.id))
        for id in sources:
            self.need(id)
        self.wait(step.id, sources)

    def stand_for_items(self, step: Step, parts: Sequence[Part]) -> None:
        """Plan the parts of a step that runs once for each item: all steps of an item come before those of the next."""
        children = [child for part in parts for child in part.steps]
        for n, child in enumerate(children):
            self.steps[child.id] = child
            self._ready.place(child.id, step.id, n)
        self.expanded.put_lists(step.id, outputs_of(step, parts))
        self.values.use(self.expanded.inside(step.id))
        ends = {id for part in parts for id in part.ends}
        for id in ends:
            self.need(id)
        self.wait(step.id, ends)

    def stand_for_turn(self, step: Step, loop: Turns) -> None:
        """Plan the next turn of a loop, and release what only this turn reads of the one before."""
        passed, part = loop.passing(), loop.begin()
        for n, child in enumerate(part.steps):
            self.steps[child.id] = child
            self._ready.place(child.id, step.id, part.number * len(part.steps) + n)
        self.values.use({edge.node for edge in part.outputs.values()})
        self.expanded.put_lists(step.id, loop.outputs)
        for id in part.ends:
            self.need(id)
        for id in passed:
            self._release(id)
        self.wait(step.id, part.ends)

    def drop(self, step: Step, parts: Sequence[Part], ends: Iterable[str]) -> None:
        """Leave a failed item out. `parts` are the others; nothing waits for its `ends` any more."""
        self.expanded.put_lists(step.id, outputs_of(step, parts))
        for id in ends:
            self._ready.finished(id)

    # Values that are gone

    def forced(self, id: str) -> bool:
        """Whether a step must run even if its result is known."""
        return id in self._forced

    def gather(self, step: Step, inputs: Inputs) -> bool:
        """Whether the values of all inputs are available. The steps of missing values are planned to run again."""
        gone = set()
        for name, value in inputs.items():
            for item in [value] if type(value) is Item else value:
                if not self.values.at_hand(item):
                    gone |= {edge.node for edge in edges_in(step.edges[name])}
        for id in gone:
            self._again(id)
        if gone:
            self.wait(step.id, gone)
        return not gone

    def gathered(self, outputs: Mapping[str, Any]) -> bool:
        """Whether the values behind these edges are available. The steps of missing values are planned again."""
        gone = {
            edge.node
            for edge in outputs.values()
            if not all(map(self.values.at_hand, self.results[edge.node].items(edge.output)))
        }
        for id in gone:
            self._again(id)
        return not gone

    def _again(self, wanted: str) -> None:
        """Plan a step again whose result is known but whose values are gone; for an expanded step, the steps inside."""
        redo, stack = [], [wanted]
        while stack:
            id = stack.pop()
            if id in self.results:
                inside = self.expanded.inside(id)
                stack += [child for child in inside if not all(map(self.values.at_hand, self.results[child].items()))]
                del self.results[id]
                self._ready.forget(id)
                redo.append(id)
        self._remaking.update(redo)
        for id in sorted(redo, key=lambda id: id not in self.expanded):
            if id in self.expanded:
                self.values.use((*self.steps[id].sources(lazy=True), *self.expanded.inside(id)))
                self.wait(id, self.expanded.inside(id))
            else:
                self._forced.add(id)
                self.need(id)
