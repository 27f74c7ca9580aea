"""Lets imported workflows use the classes of installed packs: their placeholders become nodes that run."""

from collections.abc import Mapping
from typing import Any

from latentloom.engine.types.registry import NodeType, Registry

COMFYUI = "comfyui"  # the importer
PREFIX = f"{COMFYUI}/"  # of the node types of classes


def use_packs(document: dict[str, Any], report: dict[str, Any], registry: Registry) -> None:
    """Change a document and its report in place: each placeholder whose class is installed becomes a node.

    As in ComfyUI, a node that gets a list where it takes one value runs once for each item, and a class that takes
    lists gets a single value as a list of one.
    """
    nodes = document["nodes"]
    types = {id: registry.nodes[node["type"]] for id, node in nodes.items() if node["type"] in registry.nodes}
    own = {id: found for id, found in types.items() if nodes[id]["type"].startswith(PREFIX)}
    for id, found in own.items():
        report["lines"] = [*_without_placeholder(report["lines"], nodes[id]), *_fitted(id, nodes[id], found)]
    if own:
        report["lines"] += _item_by_item(nodes, types)
    for id, found in own.items():
        for port in found.spec.inputs:
            value = nodes[id]["inputs"].get(port.name)
            if port.is_list and _is_edge(value) and not _is_list(value, nodes, types):
                nodes[id]["inputs"][port.name] = [value]


def _without_placeholder(lines: list[str], node: dict[str, Any]) -> list[str]:
    """Return the lines of a report without the one for a node's placeholder."""
    extra = node.get("extra") or {}
    said = f": placeholder: {extra.pop('placeholder', '')}; its data is kept"
    return [line for line in lines if not (line.startswith("node '") and line.endswith(said))]


def _fitted(id: str, node: dict[str, Any], found: NodeType) -> list[str]:
    """Drop the inputs that a class does not have; return the lines of the report."""
    unknown = sorted(node["inputs"].keys() - found.spec.by_name.keys())
    node["inputs"] = {name: value for name, value in node["inputs"].items() if name not in unknown}
    lines = [f"node '{id}': changed: it runs the class of the pack {found.distribution.name}"]
    return [*lines, *(f"node '{id}': lost: '{name}' is no input of the class" for name in unknown)]


def _item_by_item(nodes: dict[str, Any], types: Mapping[str, NodeType]) -> list[str]:
    """Let nodes run once for each item of the lists that they get; return the lines of the report."""
    changed = True
    while changed:
        changed = False
        for id, found in types.items():
            each = [
                name
                for name, value in nodes[id]["inputs"].items()
                if not getattr(found.spec.by_name.get(name), "is_list", True) and _is_list(value, nodes, types)
            ]
            if each and each != nodes[id].get("each"):
                nodes[id]["each"], changed = each, True
    return [
        f"node '{id}': changed: it runs once for each item of {', '.join(node['each'])}"
        for id, node in nodes.items()
        if "each" in node
    ]


def _is_edge(value: Any) -> bool:
    return type(value) is dict and "node" in value and "output" in value


def _is_list(value: Any, nodes: Mapping[str, Any], types: Mapping[str, NodeType]) -> bool:
    """Whether an edge carries a list: from a list output, or from a node that runs item by item."""
    if not _is_edge(value) or value["node"] not in types:
        return False
    output = types[value["node"]].spec.output(value["output"])
    return output is not None and (output.is_list or "each" in nodes[value["node"]])
