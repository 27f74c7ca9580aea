"""A node that answers with more nodes: a sub-document that the executor runs in its place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Given(NamedTuple):
    """What is wired to an input of the node that expands, or to one item of its list."""

    input: str
    item: int | None = None


@dataclass(frozen=True, slots=True)
class Expansion:
    """Returned by a node instead of its outputs.

    `nodes` has the form of a document's "nodes"; `outputs` names, for each output of the node, the edge
    {"node", "output"} among them that delivers it. Inputs are literals, edges among `nodes`, or `ctx.edge(...)`.
    """

    nodes: Mapping[str, Any]
    outputs: Mapping[str, Any]

    def record(self) -> dict[str, Any]:
        """This expansion as JSON, with everything in the form of a document but what was given."""
        nodes = {
            id: {**node, "inputs": {name: _to_json(value) for name, value in node.get("inputs", {}).items()}}
            for id, node in self.nodes.items()
        }
        return {"nodes": nodes, "outputs": {name: _to_json(edge) for name, edge in self.outputs.items()}}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Expansion":
        """The expansion that `record` wrote."""
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
