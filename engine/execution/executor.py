"""The executor: runs the steps that the wanted outputs need, computes their cache keys and caches their results."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from latentloom.engine.cache.cache import Result
from latentloom.engine.document.workflow import edges_in
from latentloom.engine.errors import Cancelled, LoomError, NodeError, OutOfMemoryError
from latentloom.engine.events import Listener, NodeProgress, NodeWarning, RunFinished
from latentloom.engine.execution.call import Call
from latentloom.engine.execution.inbox import Inbox
from latentloom.engine.execution.isolation import Lending, trusted
from latentloom.engine.execution.items import Items
from latentloom.engine.execution.kept_state import KeptState, put_result
from latentloom.engine.execution.leads import Leads
from latentloom.engine.execution.loop import Loop
from latentloom.engine.execution.memory_retry import attempt, attempt_async, work_of
from latentloom.engine.execution.options import Options
from latentloom.engine.execution.outcome import Outcome, let_go
from latentloom.engine.execution.plan import Plan
from latentloom.engine.execution.questions import answered, beyond, wanted_inputs
from latentloom.engine.execution.run_events import RunEvents
from latentloom.engine.execution.tools import Tools
from latentloom.engine.models.host_memory import PeakGrowth
from latentloom.engine.planning.copies import Part
from latentloom.engine.planning.identity import Inputs, Mentions, literal_item
from latentloom.engine.planning.mapping import parts_of
from latentloom.engine.planning.step import Checked, Step
from latentloom.engine.planning.subgraph import MAX_STEPS, Grafted, given, graft
from latentloom.engine.planning.turns import Turns
from latentloom.engine.types.context import Borrower, Context, RunServices, State
from latentloom.engine.types.expansion import Expansion


class Executor:
    """Runs validated workflows, one `run` at a time per calling thread."""

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
        """Run a workflow to its end. A node's error is not raised; the outcome holds it."""
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
        self.plan = Plan(checked, tools.registry, tools.cache)
        self.asked: dict[str, frozenset[str]] = {}
        self.run_events = RunEvents(listen, cancelled)
        self.inbox = Inbox()
        self.leads = Leads(tools.flights, self.inbox)
        self.loop = Loop()
        self.items = Items()
        self.loops: dict[str, Turns] = {}
        self.awaited: set[Borrower] = set()  # calls of async nodes that have not ended
        self.growth = PeakGrowth()

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
        """Run the wanted steps and return the values of the outputs."""
        for id in self.checked.wanted:
            self.plan.need(id)
        self.run_events.begun(self.run, len(self.plan), self.checked)
        self.drain()
        return self.wanted_values()

    def drain(self) -> None:
        """Process steps until none is ready and none is running."""
        while self.plan.ready or self.inbox.expected:
            if self.cancelled.is_set():
                raise Cancelled("the run was cancelled")
            self.inbox.clear(block=not self.plan.ready)
            self.fail_missed()
            if self.plan.ready:
                self.process(self.plan.take())
            if not self.plan.ready:
                self.fail_missed()

    def fail_missed(self) -> None:
        """Fail the steps that certainly read an absent output."""
        while missed := self.plan.absent.missed():
            self.fail(*missed)

    def finish(self, id: str, result: Result, key: str | None) -> None:
        self.leads.land(key)
        self.plan.finish(id, result)
        self.tell_items(self.items.finished(id))

    # One step

    def process(self, step: Step) -> None:
        if step.id in self.plan.results or not self.plan.complete(step) or self.items.dropped(step.id):
            return
        try:
            if step.loop is not None:
                self.turn(step)
                return
            if step.id in self.plan.expanded:
                self.conclude_expanded(step)
                return
            if step.each is not None:
                self.map(step)
                return
            if not self.ask(step):
                return
            inputs = self.tools.identity.inputs(step, self.plan.results, self.asked.get(step.id, frozenset()))
            named = self.tools.identity.mentions(step, inputs)
            key = self.key(step, inputs, named)
            if not self.lead(step, key) or self.reuse(step, inputs, key):
                return
            if self.plan.gather(step, inputs):
                self.start(step, inputs, key, named)
            else:
                self.leads.land(key)  # steps that this one waits for may need the same key
        except LoomError as error:
            self.fail(step, error)

    def fail(self, step: Step, error: LoomError) -> None:
        """End the run with a step's error and keep the original exception as its cause; or leave a failed item out."""
        told = self.run_events.failed(step, error)
        part = None if isinstance(error, Cancelled) else self.items.failed(step.id)
        if part is not None:
            self.drop(part, step, told)
            return
        if told is error:
            raise error
        raise told from error

    def key(self, step: Step, inputs: Inputs, named: Mentions) -> str | None:
        """Return the step's cache key, or None if its result must not be reused (a sink)."""
        spec = step.spec
        if spec.purity == "sink" and not self.options.resumable:
            return None
        fields = self.tools.identity.fields(step, inputs, named, beyond(step, inputs, self.run))
        self.tools.imports.check(fields.base.fields["code"])
        if self.use_cache and self.options.name:
            self.tools.cache.put_fields(f"{self.options.name}/{step.id}", fields)
        return fields.key()

    def reuse(self, step: Step, inputs: Inputs, key: str | None) -> bool:
        """Use the cached result or expansion of a step, and return whether there is one."""
        if key is None or self.plan.forced(step.id) or not self.use_cache:
            return False
        found = self.tools.cache.result(key)
        if found is None or self.tools.uses.changed(found.uses, inputs):
            return False
        if found.expansion is not None:
            grafted = self.grafted(step, Expansion.from_record(found.expansion))
            self.stand_for(step, grafted, key, found.seconds, known=True)
            return True
        self.run_events.cached(step)
        self.finish(step.id, found, key)
        return True

    def lead(self, step: Step, key: str | None) -> bool:
        """Whether this step may use its key now. If another step holds the key, this one is processed again later."""
        return key is None or not self.use_cache or self.leads.take(key, step.id, lambda: self.plan.wait(step.id, ()))

    def ask(self, step: Step) -> bool:
        """Whether the lazy inputs that the step wants are known and have results."""
        if not any(port.lazy for port in step.spec.inputs):
            return True
        if step.id not in self.asked:
            names = self.needs(step)
            if names is None:
                return False
            self.asked[step.id] = names
        wanted = {edge.node for name in self.asked[step.id] for edge in edges_in(step.edges.get(name))}
        return self.plan.has(step.id, wanted)

    def needs(self, step: Step) -> frozenset[str] | None:
        """Return the lazy inputs that a step wants, from the cache if possible; None if they are not known yet."""
        inputs = self.tools.identity.inputs(step, self.plan.results, frozenset())
        key = self.tools.identity.fields(step, inputs, {}, {"question": "needs"}).key()
        known = answered(self.tools.cache, key) if self.use_cache else None
        if known is not None or not self.plan.gather(step, inputs):
            return known
        names = wanted_inputs(step, self.plan.values.arguments(step, inputs), self.tools.registry)
        if self.use_cache:
            self.tools.cache.put_result(key, Result({"names": literal_item("JSON", sorted(names))}))
        return names

    def wanted_values(self) -> dict[str, Any]:
        """Return the values of the wanted outputs. Values that are no longer stored are computed again."""
        while not self.plan.gathered(self.checked.outputs):
            self.drain()
        lending = Lending(self.tools.registry)  # the caller may modify the values
        return {
            name: lending.private(name, self.plan.values.output(self.plan.results[edge.node].outputs[edge.output]))
            for name, edge in self.checked.outputs.items()
        }

    # Running a body

    def start(self, step: Step, inputs: Inputs, key: str | None, named: Mentions) -> None:
        if step.spec.purity == "sink":
            self.services.begin(step.id, saves=step.spec.context is not None)
        self.run_events.started(step)
        values, economy = self.plan.values.arguments(step, inputs), self.tools.economies.of(step.spec)
        context = Context(
            node=step.id,
            services=self.services,
            emit=self.run_events.emit,
            cancelled=self.cancelled,
            edges=given(step) if step.spec.context else None,
            mentioned=named,
            previews=self.options.previews,
            economy=economy,
            work=work_of(step.spec, values, economy) if step.spec.device else None,
            asynchronous=step.spec.asynchronous,
            spec=step.spec,
            state=KeptState(self.tools.cache, self.tools.uses, step, inputs, key if self.use_cache else None),
        )
        make_room = partial(self.services.make_room, context.borrower)
        registry = self.tools.registry
        call = Call(step, values, context, registry, self.tools.state, trusted=trusted(step, registry))
        if not step.spec.asynchronous:
            self.done(step, inputs, key, call, lambda: attempt(call, make_room))
            return
        self.inbox.expected += 1
        self.awaited.add(context.borrower)
        self.loop.start(
            attempt_async(call, make_room),
            lambda future: self.inbox.put(lambda: self.done(step, inputs, key, call, future.result)),
        )

    def done(self, step: Step, inputs: Inputs, key: str | None, call: Call, result: Callable[[], Any]) -> None:
        """Process what a body returned or raised."""
        try:
            returned = self.returned(call, result)
            self.tools.files.compare(call.files)
            store = key is not None and self.keeps(step) and not call.disturbed
            uses = self.tools.uses.of(step, call.context.used)
            codes = [step.type.distribution.code, *(use.identity for use in uses)]
            self.tools.imports.check(codes, call.context.imported)
            if isinstance(returned, Expansion):
                made = Result({}, call.seconds, uses=uses + self.tools.uses.names(step, inputs))
                self.expand(step, returned, key, made, store=store)
                return
            items = self.plan.values.keep(step, call.outputs(returned), store=store)
        except LoomError as error:
            if self.economise(step, key, call.context.economy + 1, error):
                return
            self.fail(step, error)
            return
        made = Result(items, call.seconds, self.growth.after(call.seconds), uses)
        self.conclude(step, made, key, call.context.state, store=store)

    def economise(self, step: Step, key: str | None, level: int, error: LoomError) -> bool:
        """After an out-of-memory error, raise the economy level. Returns whether the step will be processed again."""
        if type(error) is not OutOfMemoryError or not self.tools.economies.raise_to(step.spec, level):
            return False
        self.run_events.economised(step, level)
        self.leads.land(key)
        self.plan.wait(step.id, ())
        return True

    def returned(self, call: Call, result: Callable[[], Any]) -> Any:
        """Return what a body returned, and take back the models that it borrowed."""
        try:
            return call.take(result)
        finally:
            if call.context.borrower.asked:
                self.services.take_back(call.context.borrower)
            self.awaited.discard(call.context.borrower)

    def conclude(self, step: Step, made: Result, key: str | None, state: State | None, *, store: bool) -> None:
        if key is not None and store:
            put_result(self.tools.cache, step, key, made, state)
        self.run_events.finished(step, made)
        self.finish(step.id, made, key)

    def keeps(self, step: Step) -> bool:
        """Whether a result is stored. A nondeterministic result is stored only if the run can be resumed."""
        return self.use_cache and (step.spec.purity != "nondeterministic" or self.options.resumable)

    # Expansion

    def expand(self, step: Step, expansion: Expansion, key: str | None, made: Result, *, store: bool) -> None:
        """Replace a node with its expansion. The expansion is cached; the nodes inside have their own cache keys."""
        grafted = self.grafted(step, expansion)
        if key is not None and store:
            known = replace(made, expansion=grafted.record)
            self.tools.cache.put_result(key, known, at_once=step.spec.purity == "sink")
        self.stand_for(step, grafted, key, made.seconds, known=False)

    def grafted(self, step: Step, expansion: Expansion) -> Grafted:
        return graft(step, expansion, self.tools.registry, self.tools.files, self.plan.steps)

    def stand_for(self, step: Step, grafted: Grafted, key: str | None, seconds: float, *, known: bool) -> None:
        self.leads.land(key)
        self.plan.stand_for(step, grafted, seconds, known=known)

    def conclude_expanded(self, step: Step) -> None:
        """Finish an expanded step: the steps inside have their results."""
        if self.items.all_failed(step.id):
            raise NodeError("all of its items failed", node=step.id)
        made = self.plan.expanded.result(step.id, self.plan.results)
        if self.plan.expanded.known(step.id):
            self.run_events.cached(step)
        else:
            self.run_events.finished(step, made)
        self.finish(step.id, made, None)

    # Items

    def map(self, step: Step) -> None:
        """Replace a step by one part for each item of its lists."""
        self.run_events.started(step)
        inputs = self.tools.identity.inputs(step, self.plan.results, frozenset())
        parts = parts_of(step, inputs, self.tools.registry, MAX_STEPS - len(self.plan.steps))
        self.items.add(step, parts)
        self.plan.stand_for_items(step, parts)

    def drop(self, part: Part, step: Step, error: LoomError) -> None:
        """Leave an item out because one of its steps failed."""
        parent = self.plan.steps[part.parent]
        self.leads.give_up(step.id)
        self.plan.drop(parent, self.items.left(parent.id), part.ends)
        total, message = self.items.total(parent.id), error.problems[0].message
        text = f"item {part.number} of {total} failed at '{step.id}' and is left out: {message}"
        self.run_events.emit(NodeWarning(node=parent.id, code="item_failed", message=text))
        self.tell_items([parent.id])

    def tell_items(self, ids: Iterable[str]) -> None:
        """Report the progress of steps that run once for each item."""
        for id in ids:
            self.tell_count(id, "item", self.items.done(id), self.items.total(id))

    def tell_count(self, id: str, what: str, done: int, total: int) -> None:
        self.run_events.emit(NodeProgress(node=id, step=done, total=total, message=f"{what} {done} of {total}"))

    # Turns

    def turn(self, step: Step) -> None:
        """Begin the first or the next turn of a loop, or finish it after its last one."""
        loop = self.loops.get(step.id)
        if loop is None:
            self.run_events.started(step)
            inputs = self.tools.identity.inputs(step, self.plan.results, frozenset())
            loop = self.loops[step.id] = Turns(step, inputs, self.tools.registry, MAX_STEPS - len(self.plan.steps))
        elif loop.over or self.turn_ended(step.id, loop):
            self.conclude_expanded(step)
            return
        self.plan.stand_for_turn(step, loop)

    def turn_ended(self, id: str, loop: Turns) -> bool:
        """Report that a turn of a loop has ended, and return whether it was the last one."""
        self.tell_count(id, "turn", loop.number, loop.total)
        return loop.ended(self.plan.results)
