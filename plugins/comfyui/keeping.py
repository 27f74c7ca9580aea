"""Keeps subgraphs and group nodes of ComfyUI as sub-workflows, each with its name, ports and inner layout."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from latentloom.engine.document.packing import pack
from latentloom.engine.document.reading import from_json
from latentloom.engine.document.workflow import FORMAT, GRAPH, Edge, Node, Target, Workflow, edges_in
from latentloom.plugins.comfyui.drawn import INPUTS, LinkId, Part, Socket
from latentloom.plugins.comfyui.graph import Link
from latentloom.plugins.comfyui.importer import NO_ID, TITLE, Importer, free_name
from latentloom.plugins.comfyui.layout import Layout
from latentloom.plugins.comfyui.report import Report, counted
from latentloom.plugins.comfyui.subgraphs import GROUPS, Scope
from latentloom.plugins.comfyui.tracing import REROUTES, Muted, Tracer, Value

MOST_WORK = 500_000  # kept uses times nodes
_NO_PORT = re.compile(r"[^A-Za-z0-9_-]+")


def kept_scopes(root: Scope, importer: Importer, report: Report) -> frozenset[str]:
    """Return the paths of the scopes that become sub-workflows. The report says which others do not, and why."""
    inside = [scope for scope in root.all() if scope is not root]
    for scope in inside:
        if scope.muted and scope.parent and not scope.parent.muted:
            text = "it is muted or bypassed, so that it is no sub-workflow; its nodes take its place"
            report.note(scope.path[:-1], "changed", text)
    kept = frozenset(scope.path for scope in inside if not scope.muted and _has_nodes(scope, importer))
    if len(kept) * len(importer.made) <= MOST_WORK:
        return kept
    text = f"{counted(len(kept), 'use')} of subgraphs are too many to keep; their nodes take their place"
    report.note("", "changed", text)
    return frozenset()


def _has_nodes(scope: Scope, importer: Importer) -> bool:
    ids = (inner.path + id for inner in scope.all() for id in inner.drawing.parts)
    return any(importer.nodes_of(id) for id in ids)


def keep_subgraphs(
    document: dict[str, Any], importer: Importer, root: Scope, layouts: Mapping[str, Layout], report: Report
) -> dict[str, Any]:
    """Return the document with sub-workflows for the scopes that have a layout. Equal ones are shared.

    Flattened, it has the nodes and edges of the given document.
    """
    keeping = _Keeping(from_json(document), importer, layouts, report, Tracer(root))
    members = keeping.enter(root)
    ids = {member.source: member.id for member in members if member.source is not None}
    return _json(replace(keeping.workflow, layout=layouts[""].record(ids)))


@dataclass(frozen=True, slots=True)
class _Member:
    """A node of a scope: its id in the whole workflow, that in the scope, and the file's id if it has one."""

    id: str
    local: str
    source: str | None


@dataclass(slots=True)
class _Keeping:
    workflow: Workflow
    _importer: Importer
    _layouts: Mapping[str, Layout]
    _report: Report
    _tracer: Tracer
    _moved: dict[Edge, Edge] = field(default_factory=dict)  # edges into a sub-workflow -> edges from its use
    _ports: dict[str, dict[str, list[str]]] = field(default_factory=dict)  # use -> subgraph's input -> ports
    _shared: dict[tuple[str, str], str] = field(default_factory=dict)  # (name, content) -> sub-workflow

    def enter(self, scope: Scope) -> list[_Member]:
        """Pack the scopes inside, innermost first. Returns the nodes of the scope."""
        found: list[_Member] = []
        for part in scope.drawing.parts.values():
            file_id, inner = scope.path + part.id, scope.inner.get(part.id)
            if inner is None:
                found += self._nodes(file_id, part)
                continue
            members = self.enter(inner)
            if inner.path in self._layouts:
                found.append(_Member(self._pack(inner, members), part.id, file_id))
            else:
                found += [_Member(one.id, f"{part.id}_{one.local}", one.source) for one in members]
        return found

    def _nodes(self, file_id: str, part: Part) -> Iterator[_Member]:
        for name, id in self._importer.nodes_of(file_id).items():
            yield _Member(id, f"{part.id}-{name}" if name else part.id, None if name else file_id)

    def _pack(self, scope: Scope, members: list[_Member]) -> str:
        """Replace nodes by one use of a new sub-workflow, or of an equal one. Returns the id of the use."""
        local: dict[str, str] = {}
        taken: set[str] = set()
        for member in members:
            local[member.id] = free_name(NO_ID.sub("_", member.local)[:180] or "node", taken)
            taken.add(local[member.id])
        use = free_name(NO_ID.sub("_", scope.path[:-1])[:180] or "node", self.workflow.nodes)
        base = _name(scope)
        name = free_name(base, self.workflow.graphs)
        wanted = self._wanted(scope, members)
        ports = {target: _port_name(port, "input") for target, port in wanted.items()}
        self.workflow = pack(self.workflow, local, name, use, local, ports, self._outputs(scope, local))
        graph = self._arranged(scope, name, members, local)
        self._remember(use, graph, local, wanted)
        self._share(scope, use, base, name, graph)
        return use

    def _arranged(self, scope: Scope, name: str, members: list[_Member], local: Mapping[str, str]) -> Workflow:
        ids = {member.source: local[member.id] for member in members if member.source is not None}
        return replace(self.workflow.graphs[name], layout=self._layouts[scope.path].record(ids))

    def _remember(self, use: str, graph: Workflow, local: Mapping[str, str], wanted: Mapping[Target, str]) -> None:
        """Note what the ports of a use stand for."""
        outer = {inner: id for id, inner in local.items()}
        for output in graph.outputs:
            self._moved[Edge(outer[output.source.node], output.source.output)] = Edge(use, output.name)
        ports = self._ports[use] = {}
        for port in graph.inputs:
            for target in port.to[:1]:
                theirs = wanted.get(Target(outer[target.node], target.input))
                if theirs is not None:
                    ports.setdefault(theirs, []).append(port.name)

    def _share(self, scope: Scope, use: str, base: str, name: str, graph: Workflow) -> None:
        """Give the use the sub-workflow, or an equal one that exists."""
        found = self._shared.setdefault((base, repr(graph)), name)
        graphs = {id: one for id, one in self.workflow.graphs.items() if id != name}
        node = replace(self.workflow.nodes[use], type=GRAPH + found, title=self._title(scope))
        self.workflow = replace(
            self.workflow,
            nodes={**self.workflow.nodes, use: node},
            graphs={**graphs, name: graph} if found == name else graphs,
        )

    def _title(self, scope: Scope) -> str | None:
        """Return the title of a use, if it differs from the subgraph's name."""
        title = scope.instance.title if scope.instance else None
        if not title or title in (scope.drawing.raw.get("name"), scope.instance and scope.instance.type):
            return None
        if len(title) > TITLE:
            self._report.note(scope.path[:-1], "changed", f"its title is cut to {TITLE} characters")
        return title[:TITLE]

    # Ports

    def _outputs(self, scope: Scope, inside: Mapping[str, str]) -> dict[Edge, str]:
        """Return the names of the edges inside that are outputs of the subgraph."""
        found: dict[Edge, str] = {}
        for slot, port in enumerate(scope.drawing.outputs):
            end = scope.drawing.ends.get(slot)
            source = None if end is None else self._tracer.find(scope, end, port.type)
            if isinstance(source, (Link, Muted)):
                edge = self._edge(source)
                if edge is not None and edge.node in inside:
                    found.setdefault(edge, _port_name(port.name or edge.output, "output"))
                    continue
            if isinstance(source, (Link, Muted, Value)):
                text = f"its output '{port.name}' only passes a value on; the links go around it"
                self._report.note(scope.path[:-1], "changed", text)
        return found

    def _edge(self, found: Link | Muted) -> Edge | None:
        """Return the present edge for an output of the file."""
        edge = self._importer.source(found.link if isinstance(found, Muted) else found)
        while edge in self._moved:
            edge = self._moved[edge]
        return edge

    def _wanted(self, scope: Scope, members: list[_Member]) -> dict[Target, str]:
        """Return the names of the subgraph's inputs that lead to inputs of its nodes."""
        found: dict[Target, str] = {}
        edges: dict[Edge, str] = {}
        ids = {member.source: member.id for member in members if member.source is not None}
        for part, socket, port in _fed(scope):
            source = self._source(scope, socket)
            if isinstance(source, Edge):
                edges.setdefault(source, port)
            file_id = scope.path + part.id
            theirs = socket.name if part.id in scope.inner else socket.widget or socket.name
            for ours in self._names(ids[file_id], file_id, theirs, source) if file_id in ids else ():
                found[Target(ids[file_id], ours)] = port
        inside = [member.id for member in members]
        found = {**self._by_edges(inside, edges), **found}
        self._report_inner(scope, set(found.values()))
        return self._from_outside(found, frozenset(inside))

    def _source(self, scope: Scope, socket: Socket) -> Any:
        """Return the edge or the literal behind a socket, or None."""
        found = self._tracer.find(scope, socket.link, socket.type) if socket.link is not None else None
        if isinstance(found, (Link, Muted)):
            return self._edge(found)
        return found.value if isinstance(found, Value) else None

    def _by_edges(self, inside: list[str], edges: Mapping[Edge, str]) -> dict[Target, str]:
        """Return the inputs with an edge that comes in through an input of the subgraph."""
        return {
            Target(id, ours): edges[value]
            for id in inside
            for ours, value in self.workflow.nodes[id].inputs.items()
            if isinstance(value, Edge) and value in edges
        }

    def _from_outside(self, found: Mapping[Target, str], inside: frozenset[str]) -> dict[Target, str]:
        """Leave out inputs with edges from nodes inside: they cannot move to the use."""
        nodes = self.workflow.nodes
        return {
            target: port
            for target, port in found.items()
            if not any(edge.node in inside for edge in edges_in(nodes[target.node].inputs[target.input]))
        }

    def _names(self, id: str, file_id: str, theirs: str, source: Any) -> list[str]:
        """Return the inputs of a node that have the value of one of the file's inputs."""
        inputs = self.workflow.nodes[id].inputs
        if id in self._ports:
            names = self._ports[id].get(theirs, [])
        elif isinstance(source, Edge) and source in inputs.values():
            names = [ours for ours, given in inputs.items() if given == source]
        else:
            names = [self._importer.name_of(file_id, theirs)]
            if names[0] not in inputs and type(source) is str:
                names = [ours for ours, given in inputs.items() if given == source.replace("\\", "/")]
                names = names if len(names) == 1 else []
        return [name for name in names if inputs.get(name) is not None]

    def _report_inner(self, scope: Scope, used: set[str]) -> None:
        """Report the values of a use that could not become inputs of it."""
        for port in scope.drawing.inputs:
            if port.name not in used and scope.values.get(port.name) is not None:
                text = f"its value '{port.name}' is no input of the sub-workflow; what counts of it is set inside"
                self._report.note(scope.path[:-1], "changed", text)


def _fed(scope: Scope) -> Iterator[tuple[Part, Socket, str]]:
    """Yield the sockets that inputs of the subgraph lead to, with the names of these inputs."""
    inputs = scope.drawing.inputs
    for part in scope.drawing.parts.values():
        for socket in part.sockets:
            slot = _input_behind(scope, socket.link)
            if slot is not None and 0 <= slot < len(inputs):
                yield part, socket, inputs[slot].name


def _input_behind(scope: Scope, link: LinkId | None) -> int | None:
    """Return the position of the subgraph's input that a link comes from, through reroutes; None for other links."""
    seen: set[LinkId] = set()
    while link is not None and link not in seen:
        seen.add(link)
        wire = scope.drawing.wires.get(link)
        if wire is None:
            return None
        if wire.node == INPUTS:
            return wire.slot
        part = scope.drawing.parts.get(wire.node)
        link = part.sockets[0].link if part is not None and part.type in REROUTES and part.sockets else None
    return None


def _name(scope: Scope) -> str:
    """Return a name for the sub-workflow of a scope."""
    raw, kind = scope.drawing.raw.get("name"), scope.instance.type if scope.instance else ""
    name = kind[len(GROUPS[0]) :] if kind.startswith(GROUPS) else raw
    return NO_ID.sub("_", name)[:180] if type(name) is str and name else "subgraph"


def _port_name(name: str, fallback: str) -> str:
    """Return a valid name for a port."""
    clean = _NO_PORT.sub("_", name)[:80].strip("_")
    return clean if clean[:1].isalpha() else f"{fallback}-{clean}" if clean else fallback


def _json(workflow: Workflow) -> dict[str, Any]:
    """Return the document. Its numbers stay as they are."""
    graphs = {name: _scope_json(graph) for name, graph in workflow.graphs.items()}
    return {"format": FORMAT, **_scope_json(workflow), "graphs": graphs}


def _scope_json(scope: Workflow) -> dict[str, Any]:
    inputs = [{"name": item.name, "to": [target.record() for target in item.to]} for item in scope.inputs]
    return {
        "nodes": {id: _node_json(node) for id, node in scope.nodes.items()},
        "outputs": [{"name": item.name, "from": item.source.record()} for item in scope.outputs],
        "layout": scope.layout,
        **({"inputs": inputs} if inputs else {}),
    }


def _node_json(node: Node) -> dict[str, Any]:
    inputs = {name: _value_json(value) for name, value in node.inputs.items()}
    more = {"title": node.title, "extra": node.extra, "mode": None if node.mode == "active" else node.mode}
    given = {name: value for name, value in more.items() if value is not None}
    return {"type": node.type, "version": node.version, "inputs": inputs, **given}


def _value_json(value: Any) -> Any:
    return [_item_json(item) for item in value] if type(value) is list else _item_json(value)


def _item_json(value: Any) -> Any:
    return value.record() if type(value) is Edge else {"literal": value} if type(value) is dict else value
