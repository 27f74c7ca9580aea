"""Packs nodes of a workflow into a sub-workflow."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from latentloom.engine.document.interfaces import VERSION
from latentloom.engine.document.workflow import (
    GRAPH,
    Edge,
    NamedInput,
    NamedOutput,
    Node,
    Target,
    Workflow,
    edges_in,
)

_PORT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,89}\Z")


def pack(
    workflow: Workflow,
    ids: Collection[str],
    graph: str,
    use: str,
    inner: Mapping[str, str] | None = None,
    ports: Mapping[Target, str] | None = None,
    outputs: Mapping[Edge, str] | None = None,
) -> Workflow:
    """Return a workflow in which nodes are replaced by one node `use` of a new sub-workflow `graph`.

    Inputs with edges from other nodes, or set by named inputs, become ports; so do outputs that are used elsewhere.
    `inner` maps the nodes' ids to those that they get inside. `ports` names further inputs that become ports, with the
    names of these ports; their values move to the node. `outputs` names outputs of the nodes, also ones that are not
    used elsewhere. The flattened workflow has the same nodes and edges as before.
    """
    return _Packing(workflow, set(ids), graph, use, inner or {}, ports or {}, outputs or {}).packed()


@dataclass(slots=True)
class _Port:
    """A port of the new sub-workflow. `value` is what the node gets; None if the inputs inside keep their own."""

    name: str
    named: tuple[str, ...]
    value: Any
    to: list[Target]


class _Packing:
    def __init__(
        self,
        workflow: Workflow,
        ids: set[str],
        graph: str,
        use: str,
        inner: Mapping[str, str],
        ports: Mapping[Target, str],
        outputs: Mapping[Edge, str],
    ) -> None:
        self._workflow = workflow
        self._ids = ids
        self._graph = graph
        self._use = use
        self._inner = {id: inner.get(id, id) for id in ids}
        self._wanted = ports
        self._named: dict[Target, tuple[str, ...]] = {}
        for item in workflow.inputs:
            for target in item.to:
                self._named[target] = (*self._named.get(target, ()), item.name)
        self._ports: dict[tuple[Any, ...], _Port] = {}
        self._outputs: dict[Edge, str] = {}
        for edge, name in outputs.items():
            self._outputs[edge] = _free(name, self._outputs.values(), "output")

    def packed(self) -> Workflow:
        nodes = {id: node for id, node in self._workflow.nodes.items() if id not in self._ids}
        outside = {id: replace(node, inputs=self._outside(node.inputs)) for id, node in nodes.items()}
        outputs = tuple(NamedOutput(item.name, self._seen(item.source)) for item in self._workflow.outputs)
        inside = {self._inner[id]: self._node(id) for id in self._workflow.nodes if id in self._ids}
        values = {port.name: port.value for port in self._ports.values() if port.value is not None}
        graph = Workflow(
            inside,
            inputs=tuple(NamedInput(port.name, tuple(port.to)) for port in self._ports.values()),
            outputs=tuple(NamedOutput(name, self._edge(edge)) for edge, name in self._outputs.items()),
            layout=self._layout(lambda id: self._inner.get(id)),
        )
        return replace(
            self._workflow,
            nodes={**outside, self._use: Node(GRAPH + self._graph, VERSION, values)},
            inputs=tuple(NamedInput(item.name, self._targets(item)) for item in self._workflow.inputs),
            outputs=outputs,
            layout=self._outer_layout(),
            graphs={**self._workflow.graphs, self._graph: graph},
        )

    # Outside

    def _outside(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._seen_in(value) for name, value in inputs.items()}

    def _seen_in(self, value: Any) -> Any:
        """Return an input's value with edges from the packed nodes replaced by edges from the new node."""
        if type(value) is list:
            return [self._seen(item) if type(item) is Edge else item for item in value]
        return self._seen(value) if type(value) is Edge else value

    def _seen(self, edge: Edge) -> Edge:
        if edge.node not in self._ids:
            return edge
        if edge not in self._outputs:
            self._outputs[edge] = _free(edge.output, self._outputs.values(), "output")
        return Edge(self._use, self._outputs[edge])

    def _targets(self, item: NamedInput) -> tuple[Target, ...]:
        kept = [target for target in item.to if target.node not in self._ids]
        mine = [Target(self._use, port.name) for port in self._ports.values() if item.name in port.named]
        return (*kept, *mine)

    # Inside

    def _node(self, id: str) -> Node:
        node = self._workflow.nodes[id]
        inputs = {name: self._input(Target(id, name), value) for name, value in node.inputs.items()}
        for target in (*self._named, *self._wanted):
            if target.node == id and target.input not in inputs:
                self._port(target, self._wanted.get(target), None)
        return replace(node, inputs={name: value for name, value in inputs.items() if value is not _MOVED})

    def _input(self, target: Target, value: Any) -> Any:
        """Return an input's value inside; _MOVED if it has become a port and its value moved to the new node."""
        wanted, edges = self._wanted.get(target), list(edges_in(value))
        outer = [edge for edge in edges if edge.node not in self._ids]
        if wanted is not None or (edges and len(outer) == len(edges)) or (outer and target in self._named):
            self._port(target, wanted, value)
            return _MOVED
        if target in self._named:
            self._port(target, None, None)
        if not outer:
            return self._inside(value)
        for n, item in enumerate(value):
            if type(item) is Edge and item.node not in self._ids:
                self._port(target._replace(item=n), None, item)
        return [None if item in outer else self._inside(item) for item in value]

    def _inside(self, value: Any) -> Any:
        if type(value) is list:
            return [self._edge(item) if type(item) is Edge else item for item in value]
        return self._edge(value) if type(value) is Edge else value

    def _edge(self, edge: Edge) -> Edge:
        return Edge(self._inner[edge.node], edge.output)

    def _port(self, target: Target, wanted: str | None, value: Any) -> None:
        """Add a port. Inputs with the same edge and the same named inputs share one."""
        named = self._named.get(target, ())
        value = self._seen_in(value)
        key = (wanted, named, repr(value)) if value is not None else (wanted, named)
        if key not in self._ports:
            name = _free(wanted or target.input, [port.name for port in self._ports.values()], "input")
            self._ports[key] = _Port(name, named, value, [])
        self._ports[key].to.append(target._replace(node=self._inner[target.node]))

    # Layout

    def _layout(self, place: Any) -> Any:
        places = _places(self._workflow)
        return {"nodes": {place(id): at for id, at in places.items() if place(id)}, "groups": [], "notes": []}

    def _outer_layout(self) -> Any:
        places = _places(self._workflow)
        mine = [at for id, at in places.items() if id in self._ids]
        if not mine:
            return self._workflow.layout
        middle = {axis: sum(float(at.get(axis, 0)) for at in mine) / len(mine) for axis in ("x", "y")}
        kept = {id: at for id, at in places.items() if id not in self._ids}
        return {**self._workflow.layout, "nodes": {**kept, self._use: middle}}


_MOVED = object()


def _places(workflow: Workflow) -> dict[str, Any]:
    layout = workflow.layout
    return dict(layout["nodes"]) if type(layout) is dict and type(layout.get("nodes")) is dict else {}


def _free(name: str, taken: Collection[str], fallback: str) -> str:
    """Return a name for a port that is not taken."""
    base = name if _PORT.match(name) else fallback
    found, count = base, 1
    while found in taken:
        count += 1
        found = f"{base}-{count}"
    return found
