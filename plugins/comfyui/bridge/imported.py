"""Lets imported workflows use the classes of installed packs: their placeholders become nodes that run."""

from collections.abc import Mapping
from typing import Any

from latentloom.engine.types.registry import NodeType, Registry
from latentloom.engine.types.spec import InputSpec
from latentloom.plugins.comfyui.importing import free_name

COMFYUI = "comfyui"  # the importer
PREFIX = f"{COMFYUI}/"  # of the node types of classes
JOINS = {"IMAGE": ("JoinImages", "images", "image"), "LATENT": ("JoinLatents", "latents", "latent")}


def use_packs(document: dict[str, Any], report: dict[str, Any], registry: Registry) -> None:
    """Change a document and its report in place: each placeholder whose class is installed becomes a node.

    A single value for an input that takes a list becomes a list; values for inputs that a class does not have are lost.
    """
    nodes = document["nodes"]
    for id, node in nodes.items():
        found = registry.nodes.get(node["type"])
        if found is None or not node["type"].startswith(PREFIX):
            continue
        extra = node.get("extra") or {}
        said = f": placeholder: {extra.pop('placeholder', '')}; its data is kept"
        lines = [line for line in report["lines"] if not (line.startswith("node '") and line.endswith(said))]
        lines.append(f"node '{id}': changed: it runs the class of the pack {found.distribution.name}")
        report["lines"] = [*lines, *_fitted(id, node, found, nodes, registry)]
    report["lines"] += _joined(nodes, registry)


def _joined(nodes: dict[str, Any], registry: Registry) -> list[str]:
    """Join each list of pictures or latents where one value is taken; ComfyUI runs the node for each item."""
    made: dict[str, Any] = {}
    for node in nodes.values():
        found = registry.nodes.get(node["type"])
        for name, value in node["inputs"].items() if found else ():
            port = found.spec.by_name.get(name) if found else None
            kind = _listed(value, nodes, registry)
            if kind in JOINS and port is not None and not port.is_list:
                type, input, output = JOINS[kind]
                join = free_name(f"{value['node']}-join", {*nodes, *made})
                made[join] = {"type": type, "version": 1, "inputs": {input: value}}
                node["inputs"][name] = {"node": join, "output": output}
    nodes |= made
    return [f"node '{id}': approximated: a list becomes one batch, which needs one size" for id in made]


def _listed(value: Any, nodes: Mapping[str, Any], registry: Registry) -> str | None:
    """Return the kind of the list that an edge carries from a class of a pack; None for anything else."""
    if type(value) is not dict or value.get("node") not in nodes:
        return None
    type_ = nodes[value["node"]]["type"]
    source = registry.nodes.get(type_) if type_.startswith(PREFIX) else None
    output = source.spec.output(value["output"]) if source is not None else None
    return output.kind if output is not None and output.is_list else None


def _fitted(id: str, node: dict[str, Any], found: NodeType, nodes: Mapping[str, Any], registry: Registry) -> list[str]:
    known = found.spec.by_name
    unknown = sorted(node["inputs"].keys() - known.keys())
    fitted = {
        name: _value(known[name], value, nodes, registry) for name, value in node["inputs"].items() if name in known
    }
    node["inputs"] = fitted
    return [f"node '{id}': lost: '{name}' is no input of the class" for name in unknown]


def _value(port: InputSpec, value: Any, nodes: Mapping[str, Any], registry: Registry) -> Any:
    if type(value) is not dict or "node" not in value or not port.is_list:
        return value
    source = registry.nodes.get(nodes[value["node"]]["type"]) if value["node"] in nodes else None
    output = source.spec.output(value["output"]) if source is not None else None
    return value if output is not None and output.is_list else [value]
