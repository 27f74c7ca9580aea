"""One call of a node's function: its arguments, what it may not do to them, and what it must return."""

import asyncio
import contextlib
import sys
import threading
import time
from asyncio import CancelledError
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager
from typing import Any

from latentloom.engine.errors import (
    BudgetError,
    Cancelled,
    LoomError,
    MutationError,
    NodeError,
    OutOfMemoryError,
    WorkflowError,
    brief,
)
from latentloom.engine.models.device import is_out_of_memory
from latentloom.engine.planning.validate import Step, choices_of
from latentloom.engine.types.context import Context
from latentloom.engine.types.expansion import Expansion
from latentloom.engine.types.literals import LiteralError, coerce, kind_of_literal
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.spec import ANY, LITERAL_KINDS, InputSpec, OutputSpec


class Call:
    """A node's function with its arguments."""

    def __init__(self, step: Step, values: dict[str, Any], context: Context, registry: Registry) -> None:
        self._step = step
        self._registry = registry
        self._values = {port.name: self._argument(port, values[port.name]) for port in step.spec.inputs}
        self.context = context
        self._stamps = self._stamp()
        self.seconds = 0.0

    def _argument(self, port: InputSpec, value: Any) -> Any:
        """Values that came over an edge are held to the same bounds as literals."""
        if port.name not in self._step.edges or port.kind == ANY:
            return value
        if port.kind not in LITERAL_KINDS:
            return self._typed(port, value)
        try:
            choices = choices_of(port, self._registry)
            if port.is_list and type(value) is list:
                return [coerce(port, item, choices) for item in value]
            return coerce(port, value, choices)
        except LiteralError as error:
            facts = {name: text for name, text in error.fields.items() if name not in ("code", "message")}
            raise NodeError(str(error), node=self._step.id, input=port.name, **facts) from None

    def _typed(self, port: InputSpec, value: Any) -> Any:
        """A value of the port's class; an output of any kind may hold something else."""
        if value is None and (port.lazy or port.optional):
            return None
        port_type = self._registry.type_of(port.kind)
        for item in value if port.is_list else [value]:
            if port_type is None or not isinstance(item, port_type.cls):
                raise NodeError(
                    "wrong type", node=self._step.id, input=port.name, expected=port.kind, got=_described(item)
                )
        return value

    def _arguments(self) -> dict[str, Any]:
        name = self._step.spec.context
        return {**self._values, name: self.context} if name else self._values

    def run(self) -> Any:
        """Call a sync node. Raises only LoomErrors."""
        with faults(self._step):
            function = self._step.type.definition().function
            begin = time.perf_counter()
            try:
                with _no_grad():
                    return function(**self._arguments())
            finally:
                self.seconds = time.perf_counter() - begin

    def attempt(self, make_room: Callable[[], None]) -> Any:
        """Call a sync node; a pure one that ran out of memory once more, with all the room that can be made.

        One that computes in small parts already was in that place before.
        """
        try:
            return self.run()
        except OutOfMemoryError as error:
            if not self._tries_again(error):
                raise
        make_room()  # not in the handler: the error's frames hold tensors
        self._tell_of_retry()
        return self.run()

    async def run_async(self) -> Any:
        """Call an async node. Raises only LoomErrors, and CancelledError when its task is cancelled."""
        with faults(self._step, awaits=True):
            function = self._step.type.definition().function
            begin = time.perf_counter()
            try:
                return await _WithoutGrad(function(**self._arguments()))
            finally:
                self.seconds = time.perf_counter() - begin

    async def attempt_async(self, make_room: Callable[[], None]) -> Any:
        """See `attempt`."""
        try:
            return await self.run_async()
        except OutOfMemoryError as error:
            if not self._tries_again(error):
                raise
        await asyncio.to_thread(make_room)
        self._tell_of_retry()
        return await self.run_async()

    def _tries_again(self, error: OutOfMemoryError) -> bool:
        spec = self._step.spec
        return spec.purity == "pure" and spec.device and not self.context.economy and not isinstance(error, BudgetError)

    def _tell_of_retry(self) -> None:
        text = f"{self._step.spec.type} ran out of memory; it runs again with more room"
        self.context.warn("memory_retry", text)

    def changed(self) -> list[str]:
        """The inputs that the node wrote into."""
        return [name for name, stamp in self._stamp().items() if stamp != self._stamps[name]]

    def check(self, changed: list[str]) -> None:
        """Raise MutationError for an input that was written to, and Cancelled if the node swallowed a cancel."""
        if changed:
            raise MutationError(
                f"{self._step.spec.type} changed its input in place",
                node=self._step.id,
                input=changed[0],
                hint="work on a copy: other nodes and the cache hold the same value",
            )
        if self.context.stopped:
            raise Cancelled("the run was cancelled", node=self._step.id)  # whatever it returned is not finished

    def _stamp(self) -> dict[str, Any]:
        found = {}
        for port in self._step.spec.inputs:
            value = self._values[port.name]
            if port.kind not in LITERAL_KINDS and value is not None:
                found[port.name] = [self._stamp_of(item) for item in (value if port.is_list else [value])]
        return found

    def _stamp_of(self, value: Any) -> Any:
        kind = getattr(value, "kind", None)
        port_type = self._registry.type_of(kind) if isinstance(kind, str) else None
        return port_type.codec.stamp(value) if port_type is not None and port_type.codec is not None else None


class faults:  # noqa: N801 - reads as a statement; a class, because one is made for each step
    """Turn whatever a node's code raises into a NodeError that names it. SystemExit does not end the program.

    What ends a coroutine (CancelledError, GeneratorExit) goes on its way where the code `awaits`.
    """

    def __init__(self, step: Step, part: str = "", *, awaits: bool = False) -> None:
        self._step = step
        self._part = part
        self._passed = (LoomError, GeneratorExit, CancelledError) if awaits else (LoomError,)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, self._passed):
            return
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            return  # a person pressed Ctrl-C
        if is_out_of_memory(error):
            raise out_of_memory(self._step, error) from error
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise NodeError(f"{self._step.spec.type}{self._part} failed: {text}", node=self._step.id) from error


def out_of_memory(step: Step, error: BaseException) -> OutOfMemoryError:
    """The error for a body that ran out of memory."""
    return OutOfMemoryError(
        f"{step.spec.type} ran out of memory",
        node=step.id,
        got=brief(str(error).partition("\n")[0], 200) if str(error) else None,
        hint="make smaller pictures or fewer at once, or let models take less: --vram-budget, --ram-budget",
    )


def node_error(step: Step, error: LoomError) -> LoomError:
    """A NodeError that names the step, for an error that a node's code raised on purpose."""
    if isinstance(error, WorkflowError) or (isinstance(error, NodeError) and error.problem.node is not None):
        return error
    facts = {name: text for name, text in error.problem.record().items() if name not in ("code", "message", "node")}
    if isinstance(error, OutOfMemoryError):
        return type(error)(f"{step.spec.type}: {error.problem.message}", **{**facts, "node": step.id})
    return NodeError(f"{step.spec.type}: {error.problem.message}", **{**facts, "node": step.id})


class _WithoutGrad:
    """A coroutine that runs under no_grad, step by step: others on its thread's loop set the mode as they need it."""

    def __init__(self, body: Coroutine[Any, Any, Any]) -> None:
        self._body = body

    def __await__(self) -> Generator[Any, Any, Any]:
        act, given = self._body.send, None
        while True:
            try:
                with _no_grad():
                    waits_for = act(given)
            except StopIteration as end:
                return end.value
            try:
                act, given = self._body.send, (yield waits_for)
            except GeneratorExit:
                self._body.close()
                raise
            except BaseException as error:
                act, given = self._body.throw, error


def _no_grad() -> AbstractContextManager[Any]:
    torch = sys.modules.get("torch")
    no_grad = getattr(torch, "no_grad", None)  # None, too, while torch is being imported by another thread
    return no_grad() if no_grad is not None else contextlib.nullcontext()


Returned = tuple[str, Any] | list[tuple[str, Any]]
"""Kind and value of an output, or of each item of a list."""


def outputs_of(step: Step, returned: Any, registry: Registry) -> dict[str, Returned]:
    """What a node returned, checked against its spec. Raises NodeError."""
    ports = step.spec.outputs
    if step.spec.several:
        if not isinstance(returned, tuple) or len(returned) != len(ports):
            raise _wrong(step, "all outputs", f"a tuple of {len(ports)}", returned)
        values = list(returned)
    else:
        values = [returned] if ports else []
    return {port.name: _output(step, port, value, registry) for port, value in zip(ports, values, strict=True)}


def _output(step: Step, port: OutputSpec, value: Any, registry: Registry) -> Returned:
    if not port.is_list:
        return _one(step, port, value, registry)
    if not isinstance(value, list | tuple):
        raise _wrong(step, port.name, f"a list of {port.kind}", value)
    return [_one(step, port, item, registry) for item in value]


def _one(step: Step, port: OutputSpec, value: Any, registry: Registry) -> tuple[str, Any]:
    kind = _kind_of(value, registry) if port.kind == ANY else port.kind
    if kind not in LITERAL_KINDS:
        port_type = registry.type_of(kind)
        if port_type is None or not isinstance(value, port_type.cls):
            raise _wrong(step, port.name, kind, value)
        return kind, value
    try:
        return kind, coerce(InputSpec(name=port.name, kind="STRING" if kind == "CHOICE" else kind), value)
    except LiteralError as error:
        raise _wrong(step, port.name, error.fields["expected"] or kind, value, error.fields["hint"]) from None


def _kind_of(value: Any, registry: Registry) -> str:
    """The kind of a value on a port that takes anything."""
    kind = getattr(value, "kind", None)
    return kind if isinstance(kind, str) and registry.knows_type(kind) else kind_of_literal(value)


def _wrong(step: Step, name: str, expected: str, value: Any, hint: str | None = None) -> NodeError:
    hint = "return an Expansion alone, not inside a tuple" if isinstance(value, Expansion) else hint
    return NodeError(
        f"{step.spec.type} returned something else than its output '{name}'",
        node=step.id,
        expected=expected,
        got=_described(value),
        hint=hint,
    )


def _described(value: Any) -> str:
    return brief(value) if isinstance(value, str | int | float) else type(value).__name__
