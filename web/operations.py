"""Operations: work that takes longer than a request. Clients follow it by polling or by events."""

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from latentloom.engine.errors import LoomError, Problem
from latentloom.web.background import stray
from latentloom.web.http_errors import NotFound

REMEMBERED = 200
Say = Callable[[Mapping[str, Any]], None]
Work = Callable[[str], Awaitable[Mapping[str, Any]]]


@dataclass(slots=True)
class Operation:
    """One operation: its progress and its result."""

    id: str
    kind: str
    about: Mapping[str, Any]
    state: Literal["running", "done", "failed"] = "running"
    done: int = 0
    total: int = 0
    result: Mapping[str, Any] | None = None
    problems: list[dict[str, str]] = field(default_factory=list)


class Operations:
    """The operations of a server process. They end with it; their results are stored elsewhere."""

    def __init__(self, say: Say) -> None:
        """`say` publishes the end of an operation as an event."""
        self._say = say
        self._known: OrderedDict[str, Operation] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def get(self, id: str) -> Operation:
        """Return an operation. Raises NotFound."""
        found = self._known.get(id)
        if found is None:
            raise NotFound("there is no such operation", hint="it has expired, or the server was restarted")
        return found

    def begin(self, kind: str, about: Mapping[str, Any], work: Work) -> Operation:
        """Start an operation, or return the running one for the same thing. `work` gets its id."""
        for known in self._known.values():
            if (known.kind, known.about, known.state) == (kind, about, "running"):
                return known
        made = Operation(uuid.uuid4().hex, kind, about)
        self._known[made.id] = made
        ended = [id for id, one in self._known.items() if one.state != "running"]
        for id in ended[: max(0, len(self._known) - REMEMBERED)]:
            del self._known[id]
        task = asyncio.create_task(self._run(made, work), name=f"operation {kind}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return made

    def heard(self, record: Mapping[str, Any]) -> None:
        """Record progress from a worker's event."""
        known = self._known.get(record.get("operation", ""))
        if known is not None:
            known.done, known.total = record["done"], record["total"]

    async def stop(self) -> None:
        """Cancel all running operations."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, operation: Operation, work: Work) -> None:
        try:
            operation.result = await work(operation.id)
            operation.state = "done"
        except BaseException as error:
            if not stray(error):
                raise
            operation.problems = [problem.record() for problem in _problems(error)]
            operation.state = "failed"
        self._say({"event": f"operation_{operation.state}", "operation": operation.id, "kind": operation.kind})


def _problems(error: BaseException) -> tuple[Problem, ...]:
    if isinstance(error, LoomError):
        return error.problems
    return (Problem(code="unexpected", message=f"{type(error).__name__}: {error}"),)
