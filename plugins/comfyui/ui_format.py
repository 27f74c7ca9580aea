"""Converts the format of ComfyUI's editor to nodes with named inputs, as in the API format, and a layout."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from latentloom.engine.document.workflow import Mode
from latentloom.plugins.comfyui.drawn import BYPASSED, Part, Socket
from latentloom.plugins.comfyui.graph import Link, SourceNode
from latentloom.plugins.comfyui.layout import NOTES
from latentloom.plugins.comfyui.pack_values import DRAWN
from latentloom.plugins.comfyui.report import Report, counted
from latentloom.plugins.comfyui.subgraphs import Scope, is_muted, scopes
from latentloom.plugins.comfyui.tracing import GET, PRIMITIVE, REROUTES, SET, Muted, Nowhere, Tracer, Value
from latentloom.plugins.comfyui.widgets import described, widget_values

VIRTUAL = REROUTES | SET | GET | NOTES | {PRIMITIVE}
DYNAMIC = frozenset({"CLIPTextEncode", "CLIPTextEncodeSDXL", "CLIPTextEncodeSDXLRefiner"})
_CHOICE = re.compile(r"(?<!\\)\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Drawn:
    """The nodes of a file by their ids in ComfyUI's API format, and the graphs that they are in."""

    nodes: dict[str, SourceNode]
    root: Scope
    form: tuple[tuple[str, str], ...] = ()  # the inputs in its form: (node, widget)


def read_ui(data: Mapping[str, Any], known: Iterable[str], report: Report) -> Drawn:
    """Read the nodes of a file in the editor's format. `known` are classes that are never decoration.

    Raises WorkflowError for nodes with the same id, recursive subgraphs or too many nodes.
    """
    root = scopes(data, report)
    reader = _Reader(Tracer(root), frozenset(known), report)
    for scope in root.all():
        for part in scope.drawing.parts.values():
            reader.read(scope, part)
    reader.drop_decoration()
    reader.report_totals()
    return Drawn(reader.nodes, root, _form(data))


def _form(data: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    extra = data.get("extra")
    shown = extra.get("linearData") if type(extra) is dict else None
    inputs = shown.get("inputs") if type(shown) is dict else None
    return tuple(
        (str(item[0]), item[1])
        for item in (inputs if type(inputs) is list else [])
        if type(item) is list and len(item) >= 2 and type(item[0]) in (int, str) and type(item[1]) is str
    )


def _without_comments(text: str) -> str:
    """Return a prompt without `/* ... */` and `//` comments."""
    found, place, closes = [], 0, True
    while (start := text.find("/", place)) >= 0:
        end = -1
        if text.startswith("//", start):
            end = text.find("\n", start)
            end = len(text) if end < 0 else end
        elif closes and text.startswith("/*", start):
            end = text.find("*/", start + 2) + 2
            closes = end > 1  # if this one is not closed, no later one is
        found.append(text[place:start] if end > 1 else text[place : start + 1])
        place = end if end > 1 else start + 1
    return "".join([*found, text[place:]])


@dataclass(slots=True)
class _Reader:
    _tracer: Tracer
    _known: frozenset[str]
    _report: Report
    nodes: dict[str, SourceNode] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)

    def read(self, scope: Scope, part: Part) -> None:
        """Add a node, unless it exists only in the editor."""
        if part.type in VIRTUAL or part.id in scope.inner:
            return
        id, kind = scope.path + part.id, part.type.strip()
        if kind in DRAWN or (kind not in self._known and not part.sockets and not part.outputs):
            self._report.note(id, "lost", f"{kind} does not run; it is left out as decoration")
            return
        mode: Mode = "mute" if is_muted(part, scope) else "bypass" if part.mode == BYPASSED else "active"
        self._counts[mode] += 1
        inputs = self._values(id, part) | self._links(id, scope, part, mode)
        self.nodes[id] = SourceNode(id, kind, inputs, part.title, part.raw, mode)

    def _values(self, id: str, part: Part) -> dict[str, Any]:
        values = widget_values(part)
        if values.rest:
            rest = f"{counted(len(values.rest), 'value')} without a name: {described(values.rest)}"
            self._report.note(id, "lost", rest)
        self._counts["drawn"] += values.control not in (None, "fixed")
        found = {name: value for name, value in values.named.items() if value is not None}
        for name in values.named.keys() - found.keys():
            self._report.note(id, "lost", f"'{name}' has no value, or a number that is not finite")
        if part.type in DYNAMIC:
            return {name: self._chosen(id, value) for name, value in found.items()}
        return found

    def _chosen(self, id: str, value: Any) -> Any:
        """Return a text without comments, and with the first option of each choice. The editor picks one at random."""
        if type(value) is not str:
            return value
        text = _without_comments(value)
        if _CHOICE.search(text):
            self._report.note(id, "changed", "ComfyUI picks one of {a|b} for each run; here the first one is used")
            while _CHOICE.search(text):  # from the inside out
                text = _CHOICE.sub(lambda match: match[1].split("|")[0], text)
        return text

    def _links(self, id: str, scope: Scope, part: Part, mode: Mode) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for socket in part.sockets:
            if socket.link is None:
                continue
            value = self._source(id, scope, socket, mode)
            if value is not None:
                found[socket.widget or socket.name] = value
        return found

    def _source(self, id: str, scope: Scope, socket: Socket, mode: Mode) -> Any:
        """Return the link or literal behind a socket; None if the widget's own value applies or there is no source."""
        assert socket.link is not None
        found = self._tracer.find(scope, socket.link, socket.type)
        if isinstance(found, Link):
            return found
        if isinstance(found, Value):
            return found.value
        name = socket.widget or socket.name
        if isinstance(found, Muted):
            if mode == "mute" or not socket.optional:
                return found.link
            self._report.note(id, "lost", f"'{name}' comes from the node '{found.link.node}', which is muted")
        elif isinstance(found, Nowhere):
            self._report.note(id, "lost", f"the link to '{name}' leads nowhere: {found.why}")
        return None

    def drop_decoration(self) -> None:
        """Remove the links from nodes that count as decoration, and report each."""
        for id, node in self.nodes.items():
            lost = {name: v for name, v in node.inputs.items() if type(v) is Link and v.node not in self.nodes}
            for name, link in lost.items():
                self._report.note(id, "lost", f"'{name}' comes from the node '{link.node}', which has no outputs")
            if lost:
                kept = {name: value for name, value in node.inputs.items() if name not in lost}
                self.nodes[id] = replace(node, inputs=kept)

    def report_totals(self) -> None:
        """Report what concerns many nodes."""
        if self._counts["bypass"]:
            self._report.note("", "changed", f"links go around {counted(self._counts['bypass'], 'bypassed node')}")
        if self._counts["drawn"]:
            seeds = counted(self._counts["drawn"], "seed")
            self._report.note(
                "", "changed", f"ComfyUI changes {seeds} after each run; here the number in the file stays"
            )
