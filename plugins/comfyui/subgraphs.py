"""Nested graphs: subgraphs and the older group nodes. Each use of one gets its own scope."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from latentloom.engine.errors import Problem, WorkflowError, brief
from latentloom.plugins.comfyui.drawn import (
    INPUTS,
    MUTED,
    OUTPUTS,
    Drawing,
    LinkId,
    Part,
    Port,
    Socket,
    Wire,
    ends_of,
    objects,
    read_drawing,
    refused,
)
from latentloom.plugins.comfyui.report import Report
from latentloom.plugins.comfyui.widgets import instance_values

MAX_DEPTH = 32  # levels of nested subgraphs
MAX_PARTS = 20_000  # nodes, including those of each use of a subgraph
GROUPS = ("workflow/", "workflow>")  # prefixes of the type of a group node


@dataclass(slots=True)
class Scope:
    """One use of a graph."""

    path: str  # prefix of its nodes' ids: "" for the root, "12:" inside node 12
    drawing: Drawing
    parent: "Scope | None" = None
    instance: Part | None = None
    muted: bool = False
    values: Mapping[str, Any] = field(default_factory=dict)  # values of its unconnected inputs
    inner: dict[str, "Scope"] = field(default_factory=dict)

    def all(self) -> "Iterator[Scope]":
        """Iterate over this scope and all scopes inside."""
        yield self
        for scope in self.inner.values():
            yield from scope.all()


def scopes(data: Mapping[str, Any], report: Report) -> Scope:
    """Return the root scope of a file, with the scopes of all uses of subgraphs.

    Raises WorkflowError for recursive subgraphs, too many levels or too many nodes.
    """
    return _Expansion(data, report).root()


class _Expansion:
    def __init__(self, data: Mapping[str, Any], report: Report) -> None:
        self._data = data
        self._report = report
        self._count = 0
        self._raw = {
            item["id"]: item
            for item in objects((_object(data.get("definitions"))).get("subgraphs"))
            if type(item.get("id")) is str
        }
        self._groups = _object(_object(data.get("extra")).get("groupNodes"))
        self._drawings: dict[str, Drawing] = {}

    def root(self) -> Scope:
        scope = Scope("", read_drawing(self._data, self._report))
        self._enter(scope, ())
        return scope

    def _enter(self, scope: Scope, stack: tuple[str, ...]) -> None:
        self._count += len(scope.drawing.parts)
        if self._count > MAX_PARTS:
            raise _too_large("nodes, counting those of each use of a subgraph", MAX_PARTS)
        for part in scope.drawing.parts.values():
            drawing = self._drawing(part)
            if drawing is None:
                continue
            if part.type in stack:
                raise refused(f"the subgraph of the node '{brief(scope.path + part.id)[1:-1]}' contains itself")
            if len(stack) == MAX_DEPTH:
                raise _too_large("levels of subgraphs", MAX_DEPTH)
            scope.inner[part.id] = inner = Scope(
                f"{scope.path}{part.id}:",
                drawing,
                scope,
                part,
                scope.muted or part.mode != 0,
                instance_values(part, drawing.inputs),
            )
            self._enter(inner, (*stack, part.type))

    def _drawing(self, part: Part) -> Drawing | None:
        if part.type in self._raw:
            if part.type not in self._drawings:
                name = self._raw[part.type].get("name")
                self._drawings[part.type] = read_drawing(
                    self._raw[part.type], self._report, f" of the subgraph '{brief(name)[1:-1]}'"
                )
            return self._drawings[part.type]
        if part.type.startswith(GROUPS):
            found = self._groups.get(part.type[len(GROUPS[0]) :])
            return group_drawing(found, part, self._report) if type(found) is dict else None
        return None


def _too_large(what: str, most: int) -> WorkflowError:
    return WorkflowError([Problem(code="too_large", message=f"too many {what}", expected=f"at most {most}")])


def _object(value: Any) -> dict[str, Any]:
    return value if type(value) is dict else {}


# Group nodes: a list of nodes, whose unconnected sockets and outputs are those of the group


def group_drawing(raw: Mapping[str, Any], instance: Part, report: Report) -> Drawing:
    """Return the graph inside a group node, with its sockets connected to those of one use."""
    nodes = [{**node, "id": n, "inputs": node.get("inputs")} for n, node in enumerate(objects(raw.get("nodes")))]
    nodes = _with_values(nodes, instance, report)
    bare = read_drawing({"nodes": nodes}, report, f" of the group '{brief(instance.type)[1:-1]}'")
    inside = _inside(raw.get("links"))
    wires: dict[LinkId, Wire] = {f"inside-{n}": wire for n, wire in enumerate(inside)}
    parts = {id: _tied(part, wires) for id, part in bare.parts.items()}
    inputs: list[Port] = []
    for socket in instance.sockets:
        _tie_input(parts, wires, len(inputs), socket)
        inputs.append(Port(socket.name, socket.type))
    _tie_outputs(raw, parts, wires)
    return Drawing(parts, wires, tuple(inputs), tuple(Port("", type) for type in instance.outputs), raw, ends_of(wires))


def _with_values(nodes: list[dict[str, Any]], instance: Part, report: Report) -> list[dict[str, Any]]:
    """Return the inner nodes with the values of one use, whose list contains those of all nodes in order."""
    own = [node.get("widgets_values") for node in nodes]
    counts = [len(values) if type(values) is list else 0 for values in own]
    given = instance.values
    if not given or type(given) is not list:
        return nodes
    if len(given) != sum(counts):
        report.note(instance.id, "changed", "its values do not fit its nodes; those stored with the group are used")
        return nodes
    parts = iter(given)
    return [
        {**node, "widgets_values": [next(parts) for _ in range(count)]} if count else node
        for node, count in zip(nodes, counts, strict=True)
    ]


def _inside(links: Any) -> list[Wire]:
    if type(links) is not list:
        return []
    return [
        Wire(str(link[0]), link[1], str(link[2]), link[3])
        for link in links
        if type(link) is list and len(link) >= 4 and all(type(item) is int for item in link[:4])
    ]


def _tied(part: Part, wires: Mapping[LinkId, Wire]) -> Part:
    """Return a node with only the links inside the group."""
    ends = {wire.target_slot: id for id, wire in wires.items() if wire.target == part.id}
    sockets = tuple(socket._replace(link=ends.get(n)) for n, socket in enumerate(part.sockets))
    return Part(part.id, part.type, part.mode, sockets, part.outputs, part.raw)


def _tie_input(parts: dict[str, Part], wires: dict[LinkId, Wire], slot: int, wanted: Socket) -> None:
    """Connect an input of the group to its unconnected inner socket: by name, else the first one of its type."""
    free = [(part, n) for part in parts.values() for n, socket in enumerate(part.sockets) if socket.link is None]
    fitting = [(part, n) for part, n in free if part.sockets[n].type == wanted.type]
    named = [(part, n) for part, n in fitting if f" {wanted.name}".endswith(f" {part.sockets[n].name}")]
    for part, n in (named or fitting)[:1]:
        link = f"input-{slot}"
        wires[link] = Wire(INPUTS, slot, part.id, n)
        sockets = (*part.sockets[:n], part.sockets[n]._replace(link=link), *part.sockets[n + 1 :])
        parts[part.id] = Part(part.id, part.type, part.mode, sockets, part.outputs, part.raw)


def _tie_outputs(raw: Mapping[str, Any], parts: Mapping[str, Part], wires: dict[LinkId, Wire]) -> None:
    """Connect the outputs of the group: each output that is not used inside, and those that are also used outside."""
    used = {(wire.node, wire.slot) for wire in wires.values()}
    external = raw.get("external")
    shown = {
        (str(item[0]), item[1])
        for item in (external if type(external) is list else [])
        if type(item) is list and len(item) >= 2 and type(item[1]) is int
    }
    outputs = [
        (id, slot)
        for id, part in parts.items()
        for slot in range(len(part.outputs))
        if (id, slot) not in used or (id, slot) in shown
    ]
    wires |= {f"output-{n}": Wire(id, slot, OUTPUTS, n) for n, (id, slot) in enumerate(outputs)}


def is_muted(part: Part, scope: Scope) -> bool:
    """Whether a node is muted, by its own mode or that of an enclosing node."""
    return scope.muted or part.mode == MUTED
