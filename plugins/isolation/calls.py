"""The functions of the node types of isolated plugins. A type's function is named by what is needed to call it.

`calls:i_HEX`, where HEX is the JSON of an `Isolated`. So a spec refers to no state of this process.
"""

import asyncio
import atexit
import json
import logging
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from latentloom.engine.errors import Cancelled, LoomError, MutationError, NodeError, OutOfMemoryError
from latentloom.engine.events import NodePreview, NodeProgress, NodeWarning
from latentloom.engine.types.context import Context
from latentloom.engine.types.node import Definition
from latentloom.engine.types.spec import NodeSpec
from latentloom.plugins.isolation.frames import Message
from latentloom.plugins.isolation.packing import Described, Packing, Types, Unpacking
from latentloom.plugins.isolation.process import Process, ProcessError, Program, Reply, python

PROGRAM = "latentloom.plugins.isolation.child"
PREFIX = "i_"
CONTEXT = "loom context"  # no function has a parameter of this name
CANCEL_SECONDS = 2.0  # that a node has to notice that its run was cancelled
ASKED = ("facts", "recognise", "suggest", "save", "keep", "kept", "folder")
EVENTS: Mapping[str, Callable[..., Any]] = {
    "NodeProgress": NodeProgress, "NodePreview": NodePreview, "NodeWarning": NodeWarning
}  # fmt: skip


class Limits(NamedTuple):
    """The limits of a plugin's process."""

    seconds: float = 600.0
    bytes: int | None = None


class Home(NamedTuple):
    """The process of a plugin: its code and its limits."""

    plugin: str
    code: str  # so that new code gets a new process
    sites: tuple[str, ...]  # folders with packages that are found first
    limits: Limits


class Isolated(NamedTuple):
    """A function of a node type that runs in a plugin's process."""

    home: Home
    type: str
    function: str
    types: Described
    asynchronous: bool
    needs: bool
    fingerprint: bool
    migrate: bool

    def target(self) -> str:
        """Return the reference to the function."""
        return f"{__name__}:{PREFIX}{json.dumps(self).encode().hex()}"

    @classmethod
    def of(cls, name: str) -> "Isolated":
        """Return what a reference names."""
        (plugin, code, sites, limits), *rest = json.loads(bytes.fromhex(name.removeprefix(PREFIX)))
        return cls(Home(plugin, code, tuple(sites), Limits(*limits)), *rest)


def __getattr__(name: str) -> Any:
    """Return the function for a reference of this module."""
    if not name.startswith(PREFIX):
        raise AttributeError(name)
    return _function(name)


@cache
def _function(name: str) -> Any:
    what = Isolated.of(name)
    call = IsolatedFunction(process_of(what.home), what)

    def run(**given: Any) -> Any:
        return call.run(given)

    async def run_async(**given: Any) -> Any:
        return await asyncio.to_thread(call.run, given)

    function: Any = run_async if what.asynchronous else run
    function.__loom_node__ = Definition(
        NodeSpec(type=what.type, version=1, function=""),  # the ports are in the registry's spec
        function,
        needs=(lambda **given: call.question("needs", given)) if what.needs else None,
        fingerprint=(lambda **given: call.question("fingerprint", given)) if what.fingerprint else None,
        migrate=call.migrated if what.migrate else None,
    )
    return function


@cache
def process_of(home: Home) -> Process:
    """Return the process of a plugin; there is one for all of its node types."""
    made = Process(
        Program(
            name=f"the plugin '{home.plugin}'",
            command=(*python(PROGRAM, home.sites), json.dumps(home.limits.bytes)),
            seconds=home.limits.seconds,
            hint="raise the setting isolated_seconds, if the node needs longer",
            grace=CANCEL_SECONDS,
        )
    )
    atexit.register(made.end)
    return made


class IsolatedFunction:
    """Calls the functions of a node type in the process of its plugin."""

    def __init__(self, process: Process, what: Isolated) -> None:
        self._process = process
        self._what = what
        self._types = Types(what.types)

    def run(self, given: Mapping[str, Any]) -> Any:
        """Run the node. Raises NodeError, Cancelled."""
        ctx: Context | None = given.get(CONTEXT)
        values = {name: value for name, value in given.items() if name != CONTEXT}
        answer = self._ask("run", values, ctx)
        found = Unpacking(answer, self._types).value(answer.body["value"])
        return tuple(found) if answer.body["several"] else found

    def question(self, what: str, given: Mapping[str, Any]) -> Any:
        """Ask another function of the node type. Raises NodeError."""
        answer = self._ask(what, given, None)
        return Unpacking(answer, self._types).value(answer.body["value"])

    def migrated(self, inputs: dict[str, Any], version: int) -> dict[str, Any]:
        """Return inputs of an older version for this one. Raises NodeError."""
        found: dict[str, Any] = self.question("migrate", {"inputs": inputs, "from_version": version})
        return found

    def _ask(self, what: str, given: Mapping[str, Any], ctx: Context | None) -> Message:
        packing = Packing(self._types)
        body = {
            "is": what,
            "function": self._what.function,
            "types": self._what.types,
            "inputs": {name: packing.value(value) for name, value in given.items()},
            "node": ctx.node if ctx else "",
            "edges": {name: packing.value(edge) for name, edge in ctx.edges.items()} if ctx else {},
            "mentioned": {name: packing.value(file) for name, file in ctx.mentioned.items()} if ctx else {},
            "previews": bool(ctx and ctx.shows_previews),
            "economy": ctx.economy if ctx else 0,
            "log_level": ctx.log.getEffectiveLevel() if ctx else logging.CRITICAL,
        }
        check = ctx.check if ctx else lambda: None
        try:
            answer = self._process.ask(body, packing.arrays, check, lambda message: self._heard(message, ctx))
        except ProcessError as error:
            facts = {name: text for name, text in error.problem.record().items() if name not in ("code", "message")}
            text = f"{self._what.type}: {error.problem.message}"
            raise ProcessError(text, **facts, node=ctx.node if ctx else None) from None
        if answer.body["is"] == "error":
            raise self._error(answer.body, ctx)
        if ctx is not None:
            ctx.imported.update(answer.body["imported"])
        return answer

    def _heard(self, message: Message, ctx: Context | None) -> Reply | None:
        """Pass an event on, or do what the node asks of its context."""
        body = message.body
        assert ctx is not None
        if body["is"] == "event":
            unpacking = Unpacking(message, self._types)
            fields = {
                name: unpacking.value(value) if name == "image" else value for name, value in body["fields"].items()
            }
            ctx.emit(EVENTS[body["event"]](node=ctx.node, **fields))
            return None
        if body["is"] == "log":
            ctx.log.log(body["level"], "%s", body["message"])
            return None
        packing = Packing(self._types)
        try:
            value = self._done(body["what"], Unpacking(message, self._types).value(body["arguments"]), ctx)
            return {"is": "reply", "value": packing.value(value)}, packing.arrays
        except Cancelled:
            raise
        except LoomError as error:
            return {"is": "reply", "problem": error.problems[0].record()}, ()

    @staticmethod
    def _done(what: str, arguments: list[Any], ctx: Context) -> Any:
        if what not in ASKED:
            raise NodeError(f"an isolated plugin has no ctx.{what}")
        if what == "folder":
            return str(ctx.folder)
        if what == "save":
            kind, data, template, fields = arguments
            return ctx.save(kind, data, template, **fields)
        return getattr(ctx, what)(*arguments)

    def _error(self, body: Mapping[str, Any], ctx: Context | None) -> LoomError:
        """Return the error that the node's function would have raised here."""
        facts = {name: text for name, text in body["problem"].items() if name not in ("code", "node")}
        code, text, node = body["problem"]["code"], facts.pop("message"), ctx.node if ctx else None
        if code == Cancelled.code:
            return Cancelled(text, node=node)
        if code == MutationError.code:
            hint = "work on a copy: a node's inputs are shared with other nodes and the cache"
            return MutationError(f"{self._what.type} {text}", **{"hint": hint, **facts}, node=node)
        if code == OutOfMemoryError.code:
            hint = "use a smaller size or batch, or raise the setting isolated_bytes"
            return OutOfMemoryError(f"{self._what.type} ran out of memory", got=text, hint=hint, node=node)
        text = text if body["loom"] else f"{self._what.type} failed: {text}"
        made = NodeError(text, **facts, node=None if body["loom"] else node)
        made.__cause__ = RemoteTrace(body["trace"])
        return made


class RemoteTrace(Exception):
    """The traceback of an error in the process of a plugin."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"
