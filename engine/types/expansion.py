"""Expansion: a node returns a sub-document of nodes, which the executor runs in its place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Given(NamedTuple):
    """What is connected to an input of the expanded node, or to one item of a list input."""

    input: str
    item: int | None = None


@dataclass(frozen=True, slots=True)
class Expansion:
    """Returned by a node instead of its outputs.

    `nodes` has the format of a document's "nodes". `outputs` maps each output of the node to the edge
    {"node", "output"} that delivers it. Inputs are literals, edges between `nodes`, or `ctx.edge(...)`.
    """

    nodes: Mapping[str, Any]
    outputs: Mapping[str, Any]

    def record(self) -> dict[str, Any]:
        """Return this expansion as JSON in the format of a document; a Given becomes {"given": [input, item]}."""
        nodes = {
            id: {**node, "inputs": {name: _to_json(value) for name, value in node.get("inputs", {}).items()}}
            for id, node in self.nodes.items()
        }
        return {"nodes": nodes, "outputs": {name: _to_json(edge) for name, edge in self.outputs.items()}}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Expansion":
        """Return the expansion that `record` wrote."""
        nodes = {
            id: {**node, "inputs": {name: _from_json(value) for name, value in node["inputs"].items()}}
            for id, node in record["nodes"].items()
        }
        return cls(nodes, {name: _from_json(edge) for name, edge in record["outputs"].items()})


def _to_json(value: Any) -> Any:
    if type(value) is Given:
        return {"given": list(value)}
    return [_to_json(item) for item in value] if type(value) is list else value


def _from_json(value: Any) -> Any:
    if type(value) is dict and value.keys() == {"given"}:
        return Given(*value["given"])
    return [_from_json(item) for item in value] if type(value) is list else value
