"""The program of an isolated plugin's process: calls functions of node types.

Messages: `run` -> the outputs of a node; `needs`, `fingerprint`, `migrate` -> what these functions of a node type say;
`cancel` -> the call under way shall end. While a node runs, its events and what it asks its context go first.
"""

import asyncio
import inspect
import json
import queue
import sys
import threading
import traceback
from typing import Any, NamedTuple

from latentloom.engine.errors import Cancelled, LoomError, MutationError
from latentloom.engine.events import FileSaved, NodePreview, NodeProgress, NodeWarning, RunEvent
from latentloom.engine.execution.call import no_grad
from latentloom.engine.models.device import is_out_of_memory
from latentloom.engine.types.context import Context
from latentloom.engine.types.node import definition
from latentloom.engine.types.node_log import send_on
from latentloom.engine.types.registry import Ref
from latentloom.engine.types.spec import NodeSpec
from latentloom.plugins.isolation.asking import Asking, KeptElsewhere
from latentloom.plugins.isolation.child_io import Line, opened
from latentloom.plugins.isolation.frames import Message
from latentloom.plugins.isolation.packing import Packing, Types, Unpacking


class Request(NamedTuple):
    """A message to answer, and the flag of its cancellation."""

    message: Message
    cancelled: threading.Event


class Child:
    """Answers the requests of one plugin."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._modules: set[str] = set()  # that the other process was told of
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        cancelled = threading.Event()
        while True:
            message = self._line.receive()
            match message.body["is"]:
                case "cancel":
                    cancelled.set()
                case "reply":
                    self._replies.put(message)
                case _:
                    cancelled = threading.Event()
                    self._requests.put(Request(message, cancelled))

    def answer_all(self) -> None:
        """Answer until the input ends, which ends the process."""
        while True:
            request = self._requests.get()
            types = Types([tuple(item) for item in request.message.body["types"]])
            packing = Packing(types)
            try:
                body = {"is": "answer", **self._answer(request, types, packing), "imported": self._imported()}
                self._line.send(body, packing.arrays)
            except BaseException as error:  # even SystemExit is only an error of the node
                self._line.send(failed(error))
            del request, packing

    def _answer(self, request: Request, types: Types, packing: Packing) -> dict[str, Any]:
        body = request.message.body
        found = definition(Ref(body["function"]).load())
        values = Unpacking(request.message, types)
        given = values.values(body["inputs"])
        with no_grad():
            if body["is"] != "run":
                return {"value": packing.value(getattr(found, body["is"])(**given))}
            context = self._context(request, types, values, found.spec)
            send_on(body["log_level"], lambda record: self._line.send({"is": "log", **record}))
            own = {found.spec.context: context} if found.spec.context else {}
            result = found.function(**given, **own)
            returned = asyncio.run(_settled(result)) if inspect.isawaitable(result) else result
        written = values.written()
        if written:
            raise MutationError("changed its input in place", input=written[0])
        if context.stopped:
            raise Cancelled("the run was cancelled")
        several = found.spec.several and isinstance(returned, tuple)
        return {"several": several, "value": packing.value(returned)}

    def _imported(self) -> list[str]:
        """Return the files of the modules that were imported since the last answer."""
        if len(sys.modules) == len(self._modules):
            return []
        modules = dict(sys.modules)
        new, self._modules = modules.keys() - self._modules, set(modules)
        files = [getattr(modules[name], "__dict__", {}).get("__file__") for name in new]
        return [file for file in files if isinstance(file, str)]

    def _context(self, request: Request, types: Types, values: Unpacking, spec: NodeSpec) -> Context:
        body, asking = request.message.body, Asking(self._line, self._replies, types)
        return Context(
            node=body["node"],
            services=asking,
            emit=lambda event: self._emit(event, types),
            cancelled=request.cancelled,
            edges={name: values.value(edge) for name, edge in body["edges"].items()},
            mentioned={name: values.value(file) for name, file in body["mentioned"].items()},
            previews=body["previews"],
            economy=body["economy"],
            state=KeptElsewhere(asking),
            spec=spec,
        )

    def _emit(self, event: RunEvent, types: Types) -> None:
        packing = Packing(types)
        match event:
            case NodeProgress(step=step, total=total, message=text, figures=figures):
                body: dict[str, Any] = {"step": step, "total": total, "message": text, "figures": dict(figures)}
            case NodePreview(step=step, image=image):
                body = {"step": step, "image": packing.value(image)}
            case NodeWarning(code=code, message=text):
                body = {"code": code, "message": text}
            case FileSaved():
                return  # the process that saves the file tells of it
        self._line.send({"is": "event", "event": type(event).__name__, "fields": body}, packing.arrays)


async def _settled(result: Any) -> Any:
    return await result


def failed(error: BaseException) -> dict[str, Any]:
    """Return the answer for an error."""
    trace = "".join(traceback.format_exception(error))
    if isinstance(error, LoomError):
        return {"is": "error", "problem": error.problems[0].record(), "loom": True, "trace": trace}
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    code = "out_of_memory" if is_out_of_memory(error) else "node_failed"
    return {"is": "error", "problem": {"code": code, "message": text}, "loom": False, "trace": trace}


def limit_memory(limit: int | None) -> None:
    """Limit the memory that this process may allocate, in bytes. Linux only."""
    if limit is not None and sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def main() -> None:
    """Answer until the input ends."""
    line = opened()
    limit_memory(json.loads(sys.argv[1]))
    Child(line).answer_all()


if __name__ == "__main__":
    main()
