"""The plan of one run: which steps wait for which, which have results, and what must be made again."""

from collections.abc import Iterable, Mapping
from typing import Any

from latentloom.engine.cache.cache import Cache, Item, Result
from latentloom.engine.document.workflow import edges_in
from latentloom.engine.execution.absent_outputs import AbsentOutputs
from latentloom.engine.execution.ready_queue import ReadyQueue
from latentloom.engine.execution.run_values import RunValues
from latentloom.engine.planning.identity import Inputs
from latentloom.engine.planning.subgraph import Expansions, Grafted
from latentloom.engine.planning.validate import Checked, Step
from latentloom.engine.types.registry import Registry


class Plan:
    """Steps by id, in their order, with the results and values that are there."""

    def __init__(self, checked: Checked, registry: Registry, cache: Cache) -> None:
        self.steps: dict[str, Step] = dict(checked.steps)
        self.results: dict[str, Result] = {}
        self.values = RunValues(registry, cache)
        self.expanded = Expansions()
        self._wanted = frozenset(checked.wanted)
        self._ready = ReadyQueue(checked.graph.order())
        self.absent = AbsentOutputs(self.steps, self._ready, checked.outputs)
        self._forced: set[str] = set()  # steps whose bytes are gone and must be made again
        self._remaking: set[str] = set()  # these, and expanded ones around them, until they have results again

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def ready(self) -> bool:
        """Whether a step can be taken."""
        return self._ready.ready

    def take(self) -> Step:
        """The first step that is ready."""
        return self.steps[self._ready.take()]

    def need(self, wanted: str) -> None:
        """Plan a step and everything that it always needs."""
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
        """Let a step wait for others; it is ready when none is left."""
        self._ready.wait(id, {source for source in sources if source not in self.results})

    def has(self, id: str, sources: Iterable[str]) -> bool:
        """Whether these have results; otherwise they are planned, and the step waits for them."""
        missing = {source for source in sources if source not in self.results}
        for source in missing:
            self.need(source)
        if missing:
            self.wait(id, missing)
        return not missing

    def complete(self, step: Step) -> bool:
        """Whether all that a step waits for is there. What it had may have been taken away, to be made again."""
        if not self._remaking:
            return True
        sources = self.expanded.inside(step.id) if step.id in self.expanded else step.sources(lazy=False)
        missing = self._remaking.intersection(sources)
        if missing:
            self.wait(step.id, missing)
        return not missing

    def finish(self, id: str, result: Result) -> None:
        """A step has its result."""
        self.results[id] = result
        self.absent.note(id, result)
        self._forced.discard(id)
        self._remaking.discard(id)
        self.values.hold(id, result)
        for source in (*self.steps[id].sources(lazy=True), *self.expanded.inside(id)):
            self._release(source)
        self._ready.finished(id)

    def _release(self, source: str) -> None:
        """One reader of a step's outputs is through; after the last the values may go, if they can be made again."""
        last = self.values.read(source)
        if last and source in self.results and source not in self._wanted and self.steps[source].spec.purity == "pure":
            self.values.release(source, self.results[source])

    # Expansion

    def stand_for(self, step: Step, grafted: Grafted, seconds: float, *, known: bool) -> None:
        """Plan the steps that stand for one; it is done when those that deliver its outputs are, and the sinks."""
        for n, (id, child) in enumerate(grafted.steps.items()):
            self.steps[id] = child
            self._ready.place(id, step.id, n)
        self.expanded.put(step.id, grafted, seconds, known=known)
        sources = self.expanded.inside(step.id) | set(grafted.sinks)
        self.values.use(self.expanded.inside(step.id))
        for id in sources:
            self.need(id)
        self.wait(step.id, sources)

    # Bytes that are gone

    def forced(self, id: str) -> bool:
        """Whether a step must run although its result may be known."""
        return id in self._forced

    def gather(self, step: Step, inputs: Inputs) -> bool:
        """Whether the bytes of every input are at hand; if not, the steps that made them run again first."""
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
        """Whether the bytes behind these edges are at hand; if not, the steps that made them are planned again."""
        gone = {
            edge.node
            for edge in outputs.values()
            if not all(map(self.values.at_hand, self.results[edge.node].items(edge.output)))
        }
        for id in gone:
            self._again(id)
        return not gone

    def _again(self, wanted: str) -> None:
        """Plan a step anew whose result is known but whose bytes are gone; for an expanded one, the steps inside."""
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
