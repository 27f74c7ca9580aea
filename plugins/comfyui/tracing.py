"""Traces links of the editor to their sources, through reroutes, bypassed nodes, subgraphs and named links."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from latentloom.plugins.comfyui.drawn import BYPASSED, INPUTS, LinkId, Part
from latentloom.plugins.comfyui.graph import Link
from latentloom.plugins.comfyui.subgraphs import Scope, is_muted
from latentloom.plugins.comfyui.widgets import first_value

PRIMITIVE = "PrimitiveNode"
REROUTES = frozenset({"Reroute", "Reroute (rgthree)", "ReroutePrimitive|pysssss"})
KEPT = frozenset({"LoraLoader", "LoraLoaderModelOnly"})  # if bypassed, they behave the same here as in ComfyUI
SET, GET = frozenset({"SetNode", "easy setNode"}), frozenset({"GetNode", "easy getNode"})


class Value(NamedTuple):
    """A literal from a primitive or a promoted widget."""

    value: Any


class Muted(NamedTuple):
    """An output of a muted node."""

    link: Link


class Unlinked(NamedTuple):
    """An unconnected input of a subgraph: the widget's own value applies."""


class Nowhere(NamedTuple):
    """A link without a source."""

    why: str


Found = Link | Value | Muted | Unlinked | Nowhere
_Key = tuple[str, str, int, str]


@dataclass(frozen=True, slots=True)
class _Place:
    """An output of a node, or an input of the subgraph seen from inside (`node` is INPUTS)."""

    scope: Scope
    node: str
    slot: int


class Tracer:
    """Traces the links of a file. Each place is traced once for each wanted type."""

    def __init__(self, root: Scope) -> None:
        self._known: dict[_Key, Found] = {}
        self._set: dict[str, tuple[Scope, Part]] = {}
        self._near: dict[tuple[str, str], Part] = {}
        for scope in root.all():
            for part in scope.drawing.parts.values():
                name = name_of(part) if part.type in SET else None
                if name is not None:
                    self._set.setdefault(name, (scope, part))
                    self._near.setdefault((scope.path, name), part)

    def find(self, scope: Scope, link: LinkId, wanted: str) -> Found:
        """Return the source of a link for an input of the wanted type."""
        seen: dict[_Key, None] = {}
        place = _start(scope, link)
        while isinstance(place, _Place):
            key = place.scope.path, place.node, place.slot, wanted
            if key in self._known:
                place = self._known[key]
            elif key in seen:
                place = Nowhere("the links go in a circle")
            else:
                seen[key] = None
                place = self._step(place.scope, place.node, place.slot, wanted)
        self._known |= dict.fromkeys(seen, place)
        return place

    def _step(self, scope: Scope, node: str, slot: int, wanted: str) -> Found | _Place:
        if node == INPUTS:
            return _outside(scope, slot)
        part = scope.drawing.parts.get(node)
        if part is None:
            return Nowhere(f"the node '{scope.path}{node}' is not in the file")
        return self._through(scope, part, slot, wanted)

    def _through(self, scope: Scope, part: Part, slot: int, wanted: str) -> Found | _Place:
        if part.type in REROUTES:
            return _input(scope, part, 0)
        if part.type == PRIMITIVE:
            return _primitive(part)
        if part.type in GET:
            return self._named(scope, part)
        if part.type in SET:
            return _input(scope, part, 0)
        if part.mode == BYPASSED and not scope.muted and part.type not in KEPT:
            place = passed_input(part, slot, wanted)
            return Nowhere("a bypassed node has nothing to pass on") if place is None else _input(scope, part, place)
        inner = scope.inner.get(part.id)
        if inner is not None:
            end = inner.drawing.ends.get(slot)
            return Nowhere(f"output {slot} of the subgraph is not connected") if end is None else _start(inner, end)
        link = Link(scope.path + part.id, slot)
        return Muted(link) if is_muted(part, scope) else link

    def _named(self, scope: Scope, part: Part) -> Found | _Place:
        """Return the input of the Set node for a Get node's name: the nearest one, from inside to outside."""
        name = name_of(part)
        at: Scope | None = scope
        while at is not None and name is not None:
            setter = self._near.get((at.path, name))
            if setter is not None:
                return _input(at, setter, 0)
            at = at.parent
        if name in self._set:
            return _input(*self._set[name], 0)
        return Nowhere("no node sets the name that it asks for")


def name_of(part: Part) -> str | None:
    """Return the name in a Set or Get node, or None."""
    first = first_value(part)
    return first if type(first) is str else None


def _start(scope: Scope, link: LinkId) -> Found | _Place:
    wire = scope.drawing.wires.get(link)
    return Nowhere("the link is not in the file") if wire is None else _Place(scope, wire.node, wire.slot)


def _input(scope: Scope, part: Part, place: int) -> Found | _Place:
    link = part.sockets[place].link if 0 <= place < len(part.sockets) else None
    return Nowhere("nothing is connected to it") if link is None else _start(scope, link)


def _outside(scope: Scope, slot: int) -> Found | _Place:
    """Return what is connected to an input of a subgraph in one use: a link, a value, or neither."""
    if scope.parent is None or scope.instance is None or not 0 <= slot < len(scope.drawing.inputs):
        return Nowhere("it is an input of a subgraph that does not exist")
    name = scope.drawing.inputs[slot].name
    socket = scope.instance.socket(name)
    if socket is not None and socket.link is not None:
        return _start(scope.parent, socket.link)
    value = scope.values.get(name)
    return Unlinked() if value is None else Value(value)


def _primitive(part: Part) -> Found:
    first = first_value(part)
    return Unlinked() if first is None else Value(first)


def passed_input(part: Part, slot: int, wanted: str) -> int | None:
    """Return the position of the input that a bypassed node passes on to an output; None if none fits.

    It is the input at the output's position if its type fits output and target, else the first input of exactly the
    target's type, else the first that fits.
    """
    types = [socket.type for socket in part.sockets]
    beside = 0 <= slot < len(types)
    if wanted == "*":
        return slot if beside else 0 if types else None
    output = part.outputs[slot] if 0 <= slot < len(part.outputs) else wanted
    if beside and fits(types[slot], output) and fits(types[slot], wanted):
        return slot
    tests: tuple[Callable[[str], bool], ...] = (lambda type: type == wanted, lambda type: fits(type, wanted))
    return next((n for test in tests for n, type in enumerate(types) if test(type)), None)


def fits(one: str, other: str) -> bool:
    """Whether sockets of two types can be connected. A type may be a comma-separated list."""
    if "*" in (one, other):
        return True
    return not {part.strip().lower() for part in one.split(",")}.isdisjoint(
        part.strip().lower() for part in other.split(",")
    )
