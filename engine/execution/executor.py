"""Runs a validated workflow: only what the wanted outputs need, keys found on the way, values cached by content."""

import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NoReturn

from latentloom.engine.cache.cache import Item, Result
from latentloom.engine.document.workflow import edges_in
from latentloom.engine.errors import Cancelled, LoomError, OutOfMemoryError
from latentloom.engine.events import Listener, RunFinished, RunStarted
from latentloom.engine.execution.absent_outputs import AbsentOutputs
from latentloom.engine.execution.call import Call
from latentloom.engine.execution.inbox import Inbox
from latentloom.engine.execution.isolation import Lending, trusted
from latentloom.engine.execution.leads import Leads
from latentloom.engine.execution.loop import Loop
from latentloom.engine.execution.memory_retry import attempt, attempt_async, work_of
from latentloom.engine.execution.options import Options
from latentloom.engine.execution.outcome import Outcome, let_go
from latentloom.engine.execution.questions import answered, beyond, wanted_inputs
from latentloom.engine.execution.ready_queue import ReadyQueue
from latentloom.engine.execution.run_events import RunEvents
from latentloom.engine.execution.run_values import RunValues, durable
from latentloom.engine.execution.tools import Tools
from latentloom.engine.models.host_memory import peak_bytes
from latentloom.engine.planning.identity import Inputs, Mentions, literal_item
from latentloom.engine.planning.subgraph import Expansions, graft
from latentloom.engine.planning.validate import Checked, Step
from latentloom.engine.types.context import Borrower, Context, RunServices
from latentloom.engine.types.expansion import Expansion


class Executor:
    """Runs checked workflows, one `run` at a time per calling thread."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def run(
        self,
        checked: Checked,
        services: RunServices,
        options: Options,
        listen: Listener = lambda event: None,
        cancelled: threading.Event | None = None,
    ) -> Outcome:
        """Run to the end. Never raises for a node's fault: the outcome carries the error."""
        outcome = _Run(self._tools, checked, services, options, listen, cancelled or threading.Event()).go()
        let_go(outcome.error)
        return outcome


class _Run:
    """The state of one run."""

    def __init__(
        self,
        tools: Tools,
        checked: Checked,
        services: RunServices,
        options: Options,
        listen: Listener,
        cancelled: threading.Event,
    ) -> None:
        self.tools, self.checked, self.services = tools, checked, services
        self.options, self.cancelled, self.run, self.use_cache = options, cancelled, options.run, options.use_cache
        self.steps: dict[str, Step] = dict(checked.steps)
        self.wanted = frozenset(checked.wanted)
        self.results: dict[str, Result] = {}
        self.ready = ReadyQueue(checked.graph.order())
        self.live = RunValues(tools.registry, tools.cache)
        self.asked: dict[str, frozenset[str]] = {}
        self.forced: set[str] = set()  # steps whose bytes are gone and must be made again
        self.remaking: set[str] = set()  # these, and expanded ones around them, until they have results again
        self.absent = AbsentOutputs(self.steps, self.ready, checked.outputs)
        self.expanded = Expansions()
        self.run_events = RunEvents(listen, cancelled)
        self.inbox = Inbox()
        self.leads = Leads(tools.flights, self.inbox)
        self.loop = Loop()
        self.awaited: set[Borrower] = set()  # calls of async nodes that are under way

    # The walk

    def go(self) -> Outcome:
        begin, outputs = time.perf_counter(), {}
        error: LoomError | None = None
        self.tools.cache.begin()
        try:
            with self.tools.state.run():
                outputs = self.walk()
            status = "done"
        except Cancelled as caught:
            status, error = "cancelled" if self.cancelled.is_set() else "failed", caught
        except LoomError as caught:
            status, error = "failed", caught
        finally:
            self.loop.close()
            for borrower in self.awaited:
                self.services.take_back(borrower)
            self.leads.close()
        self.tools.cache.flush()
        seconds = time.perf_counter() - begin
        self.run_events.emit(RunFinished(run=self.run, status=status, seconds=seconds))
        return Outcome(status, seconds, self.run_events.reports, outputs, error=error)

    def walk(self) -> dict[str, Any]:
        """Do what is wanted; the values of the outputs."""
        for id in self.checked.wanted:
            self.need(id)
        self.run_events.emit(RunStarted(run=self.run, nodes=len(self.ready)))
        self.drain()
        return self.wanted_values()

    def need(self, wanted: str) -> None:
        """Plan a step and everything that it always needs."""
        stack = [wanted]
        while stack:
            id = stack.pop()
            if id in self.ready:
                continue
            step = self.steps[id]
            self.live.use(step.sources(lazy=True))
            sources = step.sources(lazy=False)
            self.wait(id, sources)
            stack += sources

    def wait(self, id: str, sources: Iterable[str]) -> None:
        """Let a step wait for others; it is ready when none is left."""
        self.ready.wait(id, {source for source in sources if source not in self.results})

    def drain(self) -> None:
        """Process steps until none is ready and none is under way."""
        while self.ready.ready or self.inbox.expected:
            if self.cancelled.is_set():
                raise Cancelled("the run was cancelled")
            self.inbox.clear(block=not self.ready.ready)
            if missed := self.absent.missed():
                self.fail(*missed)
            if self.ready.ready:
                self.process(self.ready.take())
        if missed := self.absent.missed():
            self.fail(*missed)

    def finish(self, id: str, result: Result, key: str | None) -> None:
        self.leads.land(key)
        self.results[id] = result
        self.absent.note(id, result)
        self.forced.discard(id)
        self.remaking.discard(id)
        self.live.hold(id, result)
        for source in (*self.steps[id].sources(lazy=True), *self.expanded.inside(id)):
            self.release(source)
        self.ready.finished(id)

    def release(self, source: str) -> None:
        """One reader of a step's outputs is through; after the last the values may go, if they can be made again."""
        last = self.live.read(source)
        if last and source in self.results and source not in self.wanted and self.steps[source].spec.purity == "pure":
            self.live.release(source, self.results[source])

    # One step

    def process(self, id: str) -> None:
        step = self.steps[id]
        if id in self.results or not self.complete(step):
            return
        if id in self.expanded:
            self.conclude(step, *self.expanded.result(id, self.results), store=self.keeps(step))
            return
        try:
            if not self.ask(step):
                return
            inputs = self.tools.identity.inputs(step, self.results, self.asked.get(id, frozenset()))
            named = self.tools.identity.mentions(step, inputs)
            key = self.key(step, inputs, named)
            if not self.lead(step, key) or self.reuse(step, key):
                return
            if self.gather(step, inputs):
                self.start(step, inputs, key, named)
            else:
                self.leads.land(key)  # others may need it for the very steps that this one waits for
        except LoomError as error:
            self.fail(step, error)

    def fail(self, step: Step, error: LoomError) -> NoReturn:
        """End the run with a step's fault, whose cause stays behind it."""
        told = self.run_events.failed(step, error)
        if told is error:
            raise error
        raise told from error

    def complete(self, step: Step) -> bool:
        """Whether all that a step waits for is there. What it had may have been taken away, to be made again."""
        if not self.remaking:
            return True
        sources = self.expanded.inside(step.id) if step.id in self.expanded else step.sources(lazy=False)
        missing = self.remaking.intersection(sources)
        if missing:
            self.wait(step.id, missing)
        return not missing

    def key(self, step: Step, inputs: Inputs, named: Mentions) -> str | None:
        """The step's key; None when its result must not be reused (a sink)."""
        spec = step.spec
        if spec.purity == "sink" and not self.options.resumable:
            return None
        fields = self.tools.identity.fields(step, inputs, named, beyond(step, inputs, self.run))
        if self.use_cache and self.options.name:
            self.tools.cache.put_fields(f"{self.options.name}/{step.id}", fields)
        return fields.key()

    def reuse(self, step: Step, key: str | None) -> bool:
        """Whether the result is known."""
        if key is None or step.id in self.forced or not self.use_cache:
            return False
        found = self.tools.cache.result(key)
        if found is None:
            return False
        self.run_events.cached(step)
        self.finish(step.id, found, key)
        return True

    def lead(self, step: Step, key: str | None) -> bool:
        """Whether this step may look at its key now; otherwise it is looked at again when another is done with it."""
        return key is None or not self.use_cache or self.leads.take(key, step.id, lambda: self.wait(step.id, ()))

    def ask(self, step: Step) -> bool:
        """Whether it is known which lazy inputs the step wants, and they are there."""
        if not any(port.lazy for port in step.spec.inputs):
            return True
        if step.id not in self.asked:
            names = self.needs(step)
            if names is None:
                return False
            self.asked[step.id] = names
        wanted = {edge.node for name in self.asked[step.id] for edge in edges_in(step.edges.get(name))}
        missing = {id for id in wanted if id not in self.results}
        for id in missing:
            self.need(id)
        if missing:
            self.wait(step.id, missing)
        return not missing

    def needs(self, step: Step) -> frozenset[str] | None:
        """The lazy inputs that a step asks for, from the cache if the question was put before; None: not yet known."""
        inputs = self.tools.identity.inputs(step, self.results, frozenset())
        key = self.tools.identity.fields(step, inputs, {}, {"question": "needs"}).key()
        known = answered(self.tools.cache, key) if self.use_cache else None
        if known is not None or not self.gather(step, inputs):
            return known
        names = wanted_inputs(step, self.live.arguments(step, inputs), self.tools.registry)
        if self.use_cache:
            self.tools.cache.put_result(key, Result({"names": literal_item("JSON", sorted(names))}))
        return names

    # Values

    def gather(self, step: Step, inputs: Inputs) -> bool:
        """Whether the bytes of every input are at hand; if not, the steps that made them run again first."""
        gone = set()
        for name, value in inputs.items():
            for item in [value] if type(value) is Item else value:
                if not self.live.at_hand(item):
                    gone |= {edge.node for edge in edges_in(step.edges[name])}
        for id in gone:
            self.again(id)
        if gone:
            self.wait(step.id, gone)
        return not gone

    def again(self, wanted: str) -> None:
        """Plan a step anew whose result is known but whose bytes are gone; for an expanded one, the steps inside."""
        redo, stack = [], [wanted]
        while stack:
            id = stack.pop()
            if id in self.results:
                inside = self.expanded.inside(id)
                stack += [child for child in inside if not all(map(self.live.at_hand, self.results[child].items()))]
                del self.results[id]
                self.ready.forget(id)
                redo.append(id)
        self.remaking.update(redo)
        for id in sorted(redo, key=lambda id: id not in self.expanded):
            if id in self.expanded:
                self.live.use((*self.steps[id].sources(lazy=True), *self.expanded.inside(id)))
                self.wait(id, self.expanded.inside(id))
            else:
                self.forced.add(id)
                self.need(id)

    def wanted_values(self) -> dict[str, Any]:
        """The values of the wanted outputs; what lost its bytes is made again."""
        while gone := {
            edge.node
            for edge in self.checked.outputs.values()
            if not all(map(self.live.at_hand, self.results[edge.node].items(edge.output)))
        }:
            for id in gone:
                self.again(id)
            self.drain()
        found = {name: self.results[edge.node].outputs[edge.output] for name, edge in self.checked.outputs.items()}
        lending = Lending(self.tools.registry)  # the caller may write into what it gets
        return {name: lending.private(name, self.live.output(value)) for name, value in found.items()}

    # Running a body

    def start(self, step: Step, inputs: Inputs, key: str | None, named: Mentions) -> None:
        if step.spec.purity == "sink":
            self.services.begin(step.id, saves=step.spec.context is not None)
        self.run_events.started(step)
        values, economy = self.live.arguments(step, inputs), self.tools.economies.of(step.spec)
        context = Context(
            node=step.id,
            services=self.services,
            emit=self.run_events.emit,
            cancelled=self.cancelled,
            edges=step.edges,
            mentioned=named,
            previews=self.options.previews,
            economy=economy,
            work=work_of(step.spec, values, economy) if step.spec.device else None,
            asynchronous=step.spec.asynchronous,
        )
        make_room = partial(self.services.make_room, context.borrower)
        safe = trusted(step, self.tools.registry)
        call = Call(step, values, context, self.tools.registry, self.tools.state, trusted=safe)
        if not step.spec.asynchronous:
            self.done(step, key, call, lambda: attempt(call, make_room))
            return
        self.inbox.expected += 1
        self.awaited.add(context.borrower)
        self.loop.start(
            attempt_async(call, make_room),
            lambda future: self.inbox.put(lambda: self.done(step, key, call, future.result)),
        )

    def done(self, step: Step, key: str | None, call: Call, result: Callable[[], Any]) -> None:
        """Take in what a body returned or raised."""
        before = peak_bytes()
        try:
            returned = self.returned(call, result)
            self.tools.files.compare(call.files)
            if isinstance(returned, Expansion):
                self.expand(step, returned, key, call.seconds)
                return
            store = key is not None and self.keeps(step) and not call.disturbed
            items = self.live.keep(step, call.outputs(returned), store=store)
        except LoomError as error:
            if self.economise(step, key, call.context.economy + 1, error):
                return
            self.fail(step, error)
        self.conclude(step, Result(items, call.seconds, max(0, peak_bytes() - before)), key, store=store)

    def economise(self, step: Step, key: str | None, level: int, error: LoomError) -> bool:
        """After a shortage of memory: whether the step is looked at again, to be computed in smaller parts."""
        if type(error) is not OutOfMemoryError or not self.tools.economies.raise_to(step.spec, level):
            return False
        self.run_events.economised(step, level)
        self.leads.land(key)
        self.wait(step.id, ())
        return True

    def returned(self, call: Call, result: Callable[[], Any]) -> Any:
        """What a body returned, whose models are taken back."""
        try:
            return call.take(result)
        finally:
            if call.context.borrower.asked:
                self.services.take_back(call.context.borrower)
            self.awaited.discard(call.context.borrower)

    def conclude(self, step: Step, made: Result, key: str | None, *, store: bool) -> None:
        if key is not None and store:
            self.tools.cache.put_result(key, made, durable=durable(made), at_once=step.spec.purity == "sink")
        self.run_events.finished(step, made)
        self.finish(step.id, made, key)

    def keeps(self, step: Step) -> bool:
        """Whether a result may be asked for again; of a nondeterministic node, only when this very run is taken up."""
        return self.use_cache and (step.spec.purity != "nondeterministic" or self.options.resumable)

    # Expansion

    def expand(self, step: Step, expansion: Expansion, key: str | None, seconds: float) -> None:
        """Put a node's sub-document in its place; the node is done when the outputs' nodes are."""
        grafted = graft(step, expansion, self.tools.registry, self.tools.files, self.steps)
        self.leads.land(key)
        for n, (id, child) in enumerate(grafted.steps.items()):
            self.steps[id] = child
            self.ready.place(id, step.id, n)
        self.expanded.put(step.id, grafted, key, seconds)
        sources = self.expanded.inside(step.id) | set(grafted.sinks)
        self.live.use(self.expanded.inside(step.id))
        for id in sources:
            self.need(id)
        self.wait(step.id, sources)
