"""One call of a node's function: prepares the arguments, detects forbidden changes and checks the outputs."""

import contextlib
import sys
import threading
import time
from asyncio import CancelledError
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextlib import AbstractContextManager
from typing import Any

from latentloom.engine.errors import (
    Cancelled,
    ChangedCodeError,
    ChangedFileError,
    LoomError,
    MutationError,
    NodeError,
    OutOfMemoryError,
    WorkflowError,
    brief,
)
from latentloom.engine.execution.isolation import Lending, sealed
from latentloom.engine.execution.outputs import Returned, described, outputs_of
from latentloom.engine.execution.process_state import ProcessState
from latentloom.engine.files.bus_errors import bus_errors
from latentloom.engine.files.checks import PictureRefusedError
from latentloom.engine.files.model_files import InputFile, ModelFile
from latentloom.engine.files.opened import cut_short
from latentloom.engine.models.device import is_out_of_memory
from latentloom.engine.planning.step import Step
from latentloom.engine.planning.validate import choices_of
from latentloom.engine.types.context import Context
from latentloom.engine.types.literals import LiteralError, coerce
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.spec import ANY, LITERAL_KINDS, InputSpec, NodeSpec


class Call:
    """A node's function with its arguments. Code that is not `trusted` gets private copies (see `Lending`)."""

    def __init__(
        self,
        step: Step,
        values: dict[str, Any],
        context: Context,
        registry: Registry,
        state: ProcessState,
        *,
        trusted: bool,
    ) -> None:
        self._step = step
        self._registry = registry
        self._values = {port.name: self._argument(port, values[port.name]) for port in step.spec.inputs}
        self.files = _files([*self._values.values(), *context.mentioned.values()])
        """The files that the node may open itself."""
        self._lending = Lending(registry)
        self._state = state
        self._modules = len(sys.modules)
        self._changed: list[str] = []
        self._bus_errors = bus_errors().count
        self.disturbed = False
        """Whether other code changed process settings while trusted code ran, so that the result may be wrong."""
        self.context = context
        self.trusted = trusted
        self.seconds = 0.0
        if step.spec.values and not trusted:
            with faults(step, "'s input"):  # the codec of a plugin's port type may fail
                self._values = self._lending.lend(step.spec, self._values)

    def _argument(self, port: InputSpec, value: Any) -> Any:
        """Check a value from an edge against the same bounds as a literal."""
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
        """Check that a value has the port's class: the edge may come from an output of kind ANY."""
        if value is None and (port.lazy or port.optional):
            return None
        port_type = self._registry.type_of(port.kind)
        for item in value if port.is_list else [value]:
            if port_type is None or not isinstance(item, port_type.cls):
                raise NodeError(
                    "wrong type", node=self._step.id, input=port.name, expected=port.kind, got=described(item)
                )
        return value

    @property
    def spec(self) -> NodeSpec:
        """The spec of the node type."""
        return self._step.spec

    def _arguments(self) -> dict[str, Any]:
        name = self._step.spec.context
        return {**self._values, name: self.context} if name else self._values

    def run(self) -> Any:
        """Call a sync node. Raises only LoomErrors."""
        with faults(self._step):
            function = self._step.type.definition().function
            begin = time.perf_counter()
            try:
                with no_grad():
                    return function(**self._arguments())
            finally:
                self.seconds = time.perf_counter() - begin

    async def run_async(self) -> Any:
        """Call an async node. Raises only LoomErrors, and CancelledError when its task is cancelled."""
        with faults(self._step, awaits=True):
            self._state.begin()
            function = self._step.type.definition().function
            begin = time.perf_counter()
            try:
                return await _WithoutGrad(function(**self._arguments()))
            finally:
                self.seconds = time.perf_counter() - begin
                self._changed += self._state.put_back(shared=False)  # the run's thread restores the shared ones

    def take(self, result: Callable[[], Any]) -> Any:
        """Return the body's result, after process settings are restored. Raises MutationError, Cancelled, NodeError."""
        try:
            with faults(self._step):  # a coroutine may raise GeneratorExit or CancelledError itself
                returned = result()
        finally:
            self._settle()
            self._check_reads()
        with faults(self._step, "'s input"):
            written = self._lending.written()
        if written:
            raise MutationError(
                f"{self._step.spec.type} changed its input in place",
                node=self._step.id,
                input=written[0],
                hint="work on a copy: a node's inputs are shared with other nodes and the cache",
            )
        if self.context.stopped:
            raise Cancelled("the run was cancelled", node=self._step.id)  # the returned value may be incomplete
        return returned

    def _check_reads(self) -> None:
        """Raise ChangedFileError if a mapped file was truncated and zeros were read in place of its content.

        It replaces any other error of the body, because the zeros may have caused that error.
        """
        if self._bus_errors != bus_errors().count and not isinstance(sys.exception(), ChangedFileError):
            raise cut_short(self._step.spec.type)

    def _settle(self) -> None:
        """Restore the process settings that changed while the body ran, and warn about them.

        Skipped for trusted code of a node that is not numeric: no setting can affect its result.
        """
        if self.trusted and not self._step.spec.numeric:
            return
        changed = self._changed + self._state.put_back(imported=len(sys.modules) != self._modules)
        self.disturbed = bool(changed) and self.trusted
        if changed:
            type, what = self._step.spec.type, ", ".join(changed)
            text = f"{type} changed {what} for the whole process; it was restored"
            if self.trusted:
                text = f"something changed {what} while {type} ran; it was restored, and the result is not kept"
            self.context.warn("state_changed", text)

    def outputs(self, returned: Any) -> dict[str, Returned]:
        """Return the values by output name. Untrusted code keeps no reference to their memory. Raises NodeError."""
        found = outputs_of(self._step, returned, self._registry)
        with faults(self._step, "'s result"):  # the codec of a plugin's port type may fail
            return found if self.trusted else sealed(found, self._registry)


class faults:  # noqa: N801 - used like a statement; a class, because one is created for each step
    """Convert exceptions of a node's code, even SystemExit, to a NodeError that names the node. LoomErrors pass.

    With `awaits`, the exceptions that end a coroutine (CancelledError, GeneratorExit) are not converted.
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
            return  # the user pressed Ctrl-C
        if is_out_of_memory(error):
            raise out_of_memory(self._step, error) from error
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise NodeError(f"{self._step.spec.type}{self._part} failed: {text}", node=self._step.id) from error


def out_of_memory(step: Step, error: BaseException) -> OutOfMemoryError:
    """Return the error for a body that ran out of memory."""
    return OutOfMemoryError(
        f"{step.spec.type} ran out of memory",
        node=step.id,
        got=brief(str(error).partition("\n")[0], 200) if str(error) else None,
        hint="use a smaller size or batch, or reduce the memory for models: --vram-budget, --ram-budget",
    )


def node_error(step: Step, error: LoomError) -> LoomError:
    """Convert a LoomError that a node's code raised to a NodeError that names the step."""
    if isinstance(error, WorkflowError) or (isinstance(error, NodeError) and error.problem.node is not None):
        return error
    facts = {name: text for name, text in error.problem.record().items() if name not in ("code", "message", "node")}
    if isinstance(error, OutOfMemoryError | ChangedFileError | ChangedCodeError | PictureRefusedError):
        return type(error)(f"{step.spec.type}: {error.problem.message}", **{**facts, "node": step.id})
    return NodeError(f"{step.spec.type}: {error.problem.message}", **{**facts, "node": step.id})


def _files(values: Iterable[Any]) -> list[InputFile | ModelFile]:
    items = (item for value in values for item in (value if type(value) is list else [value]))
    return [item for item in items if isinstance(item, InputFile | ModelFile)]


class _WithoutGrad:
    """A coroutine whose steps run under no_grad. The mode is set per step, because coroutines share the thread."""

    def __init__(self, body: Coroutine[Any, Any, Any]) -> None:
        self._body = body

    def __await__(self) -> Generator[Any, Any, Any]:
        act, given = self._body.send, None
        while True:
            try:
                with no_grad():
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


def no_grad() -> AbstractContextManager[Any]:
    """Return a context in which torch, if it is imported, records no gradients."""
    torch = sys.modules.get("torch")
    found = getattr(torch, "no_grad", None)  # also None while another thread imports torch
    return found() if found is not None else contextlib.nullcontext()
