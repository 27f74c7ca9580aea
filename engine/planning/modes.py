"""The effect of node modes on a graph: mute removes a node, bypass passes its inputs through."""

from collections.abc import Mapping

from latentloom.engine.document.workflow import Edge, Node, edges_in
from latentloom.engine.planning.graph import Graph
from latentloom.engine.types.registry import NodeType
from latentloom.engine.types.spec import OutputSpec

Nodes = Mapping[str, Node]
Types = Mapping[str, NodeType | None]


def muted(nodes: Nodes) -> set[str]:
    """Return the muted nodes and all nodes that depend on them."""
    first = [id for id, node in nodes.items() if node.mode == "mute"]
    if not first:
        return set()
    needs = {
        id: [edge.node for value in node.inputs.values() for edge in edges_in(value) if edge.node in nodes]
        for id, node in nodes.items()
    }
    return Graph(needs).downstream(first)


def source_of(edge: Edge, nodes: Nodes, types: Types, known: dict[Edge, Edge | None]) -> Edge | None:
    """Return the edge that an edge stands for: a bypassed node passes on its first input of the output's type.

    `known` caches the results, so that no chain of bypassed nodes is followed twice.
    """
    seen: dict[Edge, None] = {}
    found: Edge | None = edge
    while found is not None and found not in known and (output := _bypassed(found, nodes, types)) is not None:
        passed = None if found in seen else _passed(found.node, output, nodes, types)
        seen[found] = None
        found = passed
    found = known.get(found, found) if found is not None else None
    known |= dict.fromkeys(seen, found)
    return found


def _bypassed(edge: Edge, nodes: Nodes, types: Types) -> OutputSpec | None:
    """Return the output that an edge comes from if its node is bypassed, else None."""
    node, found = nodes.get(edge.node), types.get(edge.node)
    if node is None or found is None or node.mode != "bypass":
        return None
    return found.spec.output(edge.output)


def _passed(id: str, output: OutputSpec, nodes: Nodes, types: Types) -> Edge | None:
    found = types[id]
    for port in found.spec.inputs if found else ():
        value = nodes[id].inputs.get(port.name)
        if (port.kind, port.is_list) == (output.kind, output.is_list) and type(value) is Edge:
            return value
    return None
