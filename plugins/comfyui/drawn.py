"""Reads graphs in the format of ComfyUI's editor: nodes with sockets, and links."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from latentloom.engine.errors import Problem, WorkflowError, brief
from latentloom.plugins.comfyui.report import Report, counted

LinkId = int | str
INPUTS, OUTPUTS = "-10", "-20"  # the ids of a subgraph's own inputs and outputs
MUTED, BYPASSED = 2, 4
OPTIONAL = 7  # the shape of an optional socket
MAX_SOCKETS = 1_000  # maximum per node


class Wire(NamedTuple):
    """A link from an output of a node to an input of another node, both by position."""

    node: str
    slot: int
    target: str
    target_slot: int


class Socket(NamedTuple):
    """An input of a node that accepts a link. `widget` names the widget that the link replaces."""

    name: str
    type: str
    link: LinkId | None
    widget: str | None
    optional: bool


class Port(NamedTuple):
    """An input or output of a subgraph."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Part:
    """A node in the editor's format."""

    id: str
    type: str
    mode: int
    sockets: tuple[Socket, ...]
    outputs: tuple[str, ...]  # types
    raw: Mapping[str, Any]

    def socket(self, name: str) -> Socket | None:
        """Return the socket with this name, or None."""
        return next((socket for socket in self.sockets if socket.name == name), None)

    @property
    def values(self) -> Any:
        """The values of its widgets: a list, an object, or None."""
        return self.raw.get("widgets_values")

    @property
    def title(self) -> str | None:
        """Its title, if it has one."""
        title = self.raw.get("title")
        return title if type(title) is str else None


@dataclass(frozen=True, slots=True)
class Drawing:
    """A graph: the root graph of a file, or a subgraph."""

    parts: Mapping[str, Part]
    wires: Mapping[LinkId, Wire]
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)
    ends: Mapping[int, LinkId] = field(default_factory=dict)  # output position -> link to that output of the subgraph


def refused(message: str, **facts: str) -> WorkflowError:
    """Return the error for a file with a wrong structure."""
    return WorkflowError([Problem(code="bad_document", message=message, **facts)])


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Iterate over the objects in a value that should be a list of objects."""
    return (item for item in value if type(item) is dict) if type(value) is list else iter(())


def read_drawing(raw: Mapping[str, Any], report: Report, place: str = "") -> Drawing:
    """Read the nodes and links of a graph. `place` names the graph in messages.

    Raises WorkflowError for nodes without an id or a type, and for duplicate ids.
    """
    nodes = raw.get("nodes")
    parts: dict[str, Part] = {}
    for node in nodes if type(nodes) is list else []:
        part = _part(node, place)
        if part.id in parts:
            raise refused(f"two nodes{place} have the id '{brief(part.id)[1:-1]}'")
        parts[part.id] = part
    wires = _wires(raw, report, place)
    return Drawing(parts, wires, _ports(raw.get("inputs")), _ports(raw.get("outputs")), raw, ends_of(wires))


def ends_of(wires: Mapping[LinkId, Wire]) -> dict[int, LinkId]:
    """Return the links to the outputs of a subgraph, by the position of the output."""
    return {wire.target_slot: id for id, wire in wires.items() if wire.target == OUTPUTS}


def _part(node: Any, place: str) -> Part:
    id = identifier(node.get("id")) if type(node) is dict else None
    if id is None or type(node.get("type")) is not str:
        raise refused(f"a node{place} has no id or no type", got=brief(node))
    mode, outputs = node.get("mode"), node.get("outputs")
    sockets = tuple(_socket(item) for item in objects(node.get("inputs")))
    if len(sockets) > MAX_SOCKETS:
        raise refused(f"the node '{brief(id)[1:-1]}'{place} has more than {MAX_SOCKETS} inputs")
    types = tuple(_type(item.get("type")) for item in objects(outputs))
    return Part(id, node["type"], mode if type(mode) is int else 0, sockets, types, node)


def identifier(value: Any) -> str | None:
    """Return the id of a node, which may be written as a number or a string; None for anything else."""
    return str(value) if type(value) in (int, str) else None


def _socket(raw: Mapping[str, Any]) -> Socket:
    link, widget, name = raw.get("link"), raw.get("widget"), raw.get("name")
    named = widget.get("name") if type(widget) is dict else None
    return Socket(
        name if type(name) is str else "",
        _type(raw.get("type")),
        link if type(link) in (int, str) else None,
        named if type(named) is str else None,
        raw.get("shape") == OPTIONAL,
    )


def _type(value: Any) -> str:
    return value if type(value) is str else "*"  # old files may use 0 for any type


def _ports(value: Any) -> tuple[Port, ...]:
    return tuple(Port(str(item.get("name", "")), _type(item.get("type"))) for item in objects(value))


def _wires(raw: Mapping[str, Any], report: Report, place: str) -> dict[LinkId, Wire]:
    found: dict[LinkId, Wire] = {}
    unread, twice = 0, 0
    for link in raw["links"] if type(raw.get("links")) is list else []:
        known = _wire(link)
        if known is not None:
            twice += found.setdefault(known[0], known[1]) != known[1]
            found[known[0]] = known[1]
        elif link is not None:  # a deleted link may be null
            unread += 1
    if twice:
        report.note("", "lost", f"{counted(twice, 'link')}{place} whose id another link has: the last one counts")
    if unread:
        report.note("", "lost", f"{counted(unread, 'link')}{place} that cannot be read")
    return found


def _wire(link: Any) -> tuple[LinkId, Wire] | None:
    if type(link) is list and len(link) >= 5:
        id, source, slot, target, target_slot = link[:5]
    elif type(link) is dict:
        id, source, slot, target, target_slot = (
            link.get(name) for name in ("id", "origin_id", "origin_slot", "target_id", "target_slot")
        )
    else:
        return None
    ends = identifier(source), identifier(target)
    if None in ends or type(id) not in (int, str) or type(slot) is not int or type(target_slot) is not int:
        return None
    return id, Wire(str(ends[0]), slot, str(ends[1]), target_slot)


def numbers(value: Any, count: int) -> list[float] | None:
    """Return finite numbers from a list or from an object with the keys "0", "1", ...; None if any is missing."""
    if type(value) is dict:
        value = [value.get(str(n)) for n in range(count)]
    if type(value) is not list or len(value) < count:
        return None
    found = [float(item) for item in value[:count] if type(item) in (int, float) and abs(item) < 1e9]
    return found if len(found) == count and all(map(math.isfinite, found)) else None
