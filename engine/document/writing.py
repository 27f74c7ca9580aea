"""Writes workflow documents in canonical form."""

import json
from typing import Any

from latentloom.engine.document.interfaces import SpecOf, graph_specs
from latentloom.engine.document.workflow import EXACT_INTEGER, FORMAT, Edge, Node, Workflow
from latentloom.engine.types.spec import NodeSpec


def to_json(workflow: Workflow, spec_of: SpecOf = lambda _: None) -> dict[str, Any]:
    """Return the document as JSON data. Numbers are converted to the declared type of their input, if it is known."""
    specs = graph_specs(workflow.graphs, spec_of)

    def known(type: str) -> NodeSpec | None:
        return specs.get(type) or spec_of(type)

    graphs = {name: _scope_json(graph, known) for name, graph in workflow.graphs.items()}
    return {"format": FORMAT, **_scope_json(workflow, known), **({"graphs": graphs} if graphs else {})}


def _scope_json(workflow: Workflow, spec_of: SpecOf) -> dict[str, Any]:
    """Return a workflow without its sub-workflows as JSON data."""
    data: dict[str, Any] = {
        "name": workflow.name,
        "inputs": [{"name": i.name, "to": [t.record() for t in i.to]} for i in workflow.inputs],
        "outputs": [{"name": o.name, "from": o.source.record()} for o in workflow.outputs],
        "nodes": {id: _node_json(node, spec_of(node.type)) for id, node in workflow.nodes.items()},
    }
    optional = {"layout": workflow.layout, "extra": workflow.extra}
    return data | {name: value for name, value in optional.items() if value is not None}


def _node_json(node: Node, spec: NodeSpec | None) -> dict[str, Any]:
    ports = {} if spec is None else spec.by_name
    inputs = {
        name: _value_json(value, ports[name].kind if name in ports else None) for name, value in node.inputs.items()
    }
    data: dict[str, Any] = {"type": node.type, "version": node.version, "inputs": inputs}
    data |= {"title": node.title} if node.title is not None else {}
    data |= {"mode": node.mode} if node.mode != "active" else {}
    data |= {"each": list(node.each)} if node.each else {}
    data |= {"on_error": node.on_error} if node.on_error != "stop" else {}
    data |= {"repeat": node.repeat.record()} if node.repeat else {}
    return data | ({"extra": node.extra} if node.extra is not None else {})


def _value_json(value: Any, kind: str | None) -> Any:
    """Convert an input's value. Only the value or the items of a list are wrapped and converted, not nested values."""
    if type(value) is list:
        return [_item_json(item, kind) for item in value]
    return _item_json(value, kind)


def _item_json(value: Any, kind: str | None) -> Any:
    if type(value) is Edge:
        return value.record()
    if type(value) is dict:
        return {"literal": value}
    if kind == "FLOAT" and type(value) is int and value.bit_length() < 1000:
        return float(value)
    if kind == "INT" and type(value) is float and value.is_integer() and abs(value) <= EXACT_INTEGER:
        return int(value)
    if kind in ("INT", None) and type(value) is int and abs(value) > EXACT_INTEGER:
        return str(value)
    return value


def write(workflow: Workflow, spec_of: SpecOf = lambda _: None) -> str:
    """Return the canonical text: sorted keys, 2-space indent, a final newline. `read` gives an equal workflow."""
    return json.dumps(to_json(workflow, spec_of), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
