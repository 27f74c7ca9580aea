"""Reads graphs in ComfyUI's API format: nodes by id, with values and links by input name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from latentloom.engine.document.workflow import Mode
from latentloom.engine.errors import Problem, WorkflowError, brief
from latentloom.plugins.comfyui.report import Report


class Link(NamedTuple):
    """A reference to an output of a node, by position."""

    node: str
    slot: int


@dataclass(frozen=True, slots=True)
class SourceNode:
    """A node in the API format."""

    id: str
    type: str
    inputs: Mapping[str, Any]  # literals, or Links
    title: str | None
    raw: Mapping[str, Any]
    mode: Mode = "active"


def is_api_format(data: Any) -> bool:
    """Whether parsed JSON is a graph in the API format: an object whose values all have a class."""
    return type(data) is dict and bool(data) and all(type(v) is dict and "class_type" in v for v in data.values())


def is_ui_format(data: Any) -> bool:
    """Whether parsed JSON is in the editor's format: lists of nodes and links."""
    return type(data) is dict and type(data.get("nodes")) is list and type(data.get("links")) is list


def read_graph(data: Mapping[str, Any], report: Report) -> dict[str, SourceNode]:
    """Read the nodes of a graph in the API format. Raises WorkflowError for a node with wrong types."""
    wrong = [
        Problem(code="bad_document", message=f"the node '{brief(id)[1:-1]}' has no class name or no inputs")
        for id, node in data.items()
        if type(node["class_type"]) is not str or type(node.get("inputs", {})) is not dict
    ]
    if wrong:
        raise WorkflowError(wrong)
    return {id: _node(id, node, data, report) for id, node in data.items()}


def _node(id: str, raw: Mapping[str, Any], graph: Mapping[str, Any], report: Report) -> SourceNode:
    inputs: dict[str, Any] = {}
    for name, value in raw.get("inputs", {}).items():
        link = _link(value)
        if link is not None and link.node not in graph:
            report.note(id, "lost", f"'{name}' comes from the node '{link.node}', which is not in the file")
        elif value is None:
            report.note(id, "lost", f"'{name}' has no value, or a number that is not finite")
        else:
            inputs[name] = link or _plain(value)
    meta = raw.get("_meta")
    title = meta.get("title") if type(meta) is dict else None
    return SourceNode(id, raw["class_type"].strip(), inputs, title if type(title) is str else None, raw)


def _link(value: Any) -> Link | None:
    if type(value) is list and len(value) == 2 and type(value[0]) in (str, int) and type(value[1]) is int:
        return Link(str(value[0]), value[1])
    return None


def _plain(value: Any) -> Any:
    """Return a literal. ComfyUI wraps lists, because a plain list may be a link."""
    return value["__value__"] if type(value) is dict and value.keys() == {"__value__"} else value
