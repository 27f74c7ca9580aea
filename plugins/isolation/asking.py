"""What a context in an isolated plugin's process asks the process that started it."""

# ruff: noqa: ARG002 - the methods have the signatures of `Services`

import queue
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn

from latentloom.engine.errors import NodeError
from latentloom.engine.files.preview_maps import PreviewMaps
from latentloom.engine.types.context import Borrower, Lent
from latentloom.plugins.isolation.child_io import Line
from latentloom.plugins.isolation.frames import Message
from latentloom.plugins.isolation.packing import Packing, Types, Unpacking

HINT = "models stay in the engine's process: give the node what it needs as a picture, latent or number"


class Asking:
    """The services of a context: data goes back and forth, models and code of others do not."""

    def __init__(self, line: Line, replies: "queue.SimpleQueue[Message]", types: Types) -> None:
        self._line = line
        self._replies = replies
        self._types = types

    def ask(self, what: str, *arguments: Any) -> Any:
        """Return what a method of the engine's context returns. Raises NodeError."""
        packing = Packing(self._types)
        self._line.send({"is": "ask", "what": what, "arguments": packing.value(list(arguments))}, packing.arrays)
        message = self._replies.get()
        if "problem" in message.body:
            facts = {name: text for name, text in message.body["problem"].items() if name != "code"}
            raise NodeError(facts.pop("message"), **facts)
        return Unpacking(message, self._types).value(message.body["value"])

    def facts(self, kind: str, name: str) -> Mapping[str, Any]:
        """See `Services.facts`."""
        return dict(self.ask("facts", kind, name))

    def recognise(self, file: Any) -> tuple[str, dict[str, Any]] | None:
        """See `Services.recognise`."""
        found = self.ask("recognise", file)
        return None if found is None else (found[0], found[1])

    def suggest(self, source: str, name: str) -> str | None:
        """See `Services.suggest`."""
        found: str | None = self.ask("suggest", source, name)
        return found

    def save(self, node: str, kind: str, data: Any, name_template: str, fields: Mapping[str, Any]) -> str:
        """See `Services.save`."""
        return str(self.ask("save", kind, data, name_template, dict(fields)))

    def folder(self, plugin: str) -> Path:
        """See `Services.folder`. The engine's process knows the plugin."""
        return Path(self.ask("folder"))

    # What does not leave the engine's process

    @property
    def device(self) -> str:
        """See `Services.device`."""
        _refuse("device")

    @property
    def preview_maps(self) -> PreviewMaps:
        """See `Services.preview_maps`."""
        _refuse("preview_maps")

    def load(self, handles: tuple[Any, ...], working: int, borrower: Borrower) -> Lent:
        """See `Services.load`."""
        _refuse("load")

    def unplaced(self, handle: Any) -> Any:
        """See `Services.unplaced`."""
        _refuse("unplaced")

    def lookup(self, kind: str, name: str) -> Any:
        """See `Services.lookup`."""
        _refuse("lookup")

    def make_room(self, borrower: Borrower) -> None:
        """See `Services.make_room`. Nothing is borrowed here."""

    def take_back(self, borrower: Borrower) -> None:
        """See `Services.take_back`. Nothing is borrowed here."""


def _refuse(method: str) -> NoReturn:
    raise NodeError(f"an isolated plugin has no ctx.{method}", hint=HINT)


class KeptElsewhere:
    """The state of a call, kept by the engine's process."""

    there = False

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def keep(self, data: bytes, used: Collection[tuple[str, str]]) -> bool:
        """See `State.keep`."""
        return bool(self._asking.ask("keep", data))

    def kept(self) -> bytes | None:
        """See `State.kept`."""
        found: bytes | None = self._asking.ask("kept")
        return found
