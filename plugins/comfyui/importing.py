"""From the bytes of a file of ComfyUI's to a workflow document and a report."""

import re
from collections.abc import Mapping
from typing import Any

from latentloom.engine.document.workflow import FORMAT
from latentloom.engine.errors import Problem, WorkflowError
from latentloom.plugins.comfyui.carriers import graphs_in
from latentloom.plugins.comfyui.core_nodes import FOLDED, RULES
from latentloom.plugins.comfyui.graph import Link, SourceNode, is_api_format, is_ui_format, read_graph
from latentloom.plugins.comfyui.report import Report
from latentloom.plugins.comfyui.rules import Made, Named, Passed, Result, Unmappable, Use

TITLE = 200  # characters that a title may have here
PLAIN = (bool, int, float, str)
_NO_ID = re.compile(r"[^A-Za-z0-9_-]")


def import_file(data: bytes) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The workflow document of a file that ComfyUI saved, and the report; None for any other file.

    Raises WorkflowError for a file of ComfyUI's that cannot be read.
    """
    found = graphs_in(data)
    graph = next((found[name] for name in ("prompt", "file") if is_api_format(found.get(name))), None)
    if graph is not None:
        return import_graph(graph)
    if any(is_ui_format(value) for value in found.values()):
        message = "the file holds only the form that ComfyUI's editor saves, which cannot be read yet"
        hint = "export the workflow in the API format, or use a picture that ComfyUI saved"
        raise WorkflowError([Problem(code="unknown_format", message=message, hint=hint)])
    return None


def import_graph(graph: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The workflow document of a graph in the API format, and the report. Raises WorkflowError."""
    report = Report()
    return _Importer(read_graph(graph, report), report).document(), report.record()


class _Importer:
    def __init__(self, graph: Mapping[str, SourceNode], report: Report) -> None:
        self._graph = graph
        self._report = report
        self._ids = _ids(graph)
        self._placeholders: dict[str, str] = {}  # why a node has no counterpart
        self._results = {id: self._result(node) for id, node in graph.items() if node.type not in FOLDED}

    def document(self) -> dict[str, Any]:
        nodes = {self._ids[id]: self._node(id, result) for id, result in self._results.items()}
        kept = {id: node for id, node in nodes.items() if node is not None}
        named = [(id, found) for id, found in self._results.items() if isinstance(found, Named)]
        outputs = [
            {"name": found.name if count == 0 else f"{found.name}-{count + 1}", "from": edge}
            for count, (id, found) in enumerate(named)
            if (edge := self._edge(id, found.source)) is not None
        ]
        return {"format": FORMAT, "nodes": kept, "outputs": outputs}

    def _result(self, node: SourceNode) -> Result | None:
        """What a node becomes; None for a placeholder."""
        rule = RULES.get(node.type)
        use = Use(node, self._graph, self._report)
        try:
            if rule is None:
                raise Unmappable(f"ComfyUI's {node.type} has no counterpart here")
            found = rule(use)
        except Unmappable as error:
            self._placeholders[node.id] = str(error)
            self._report.note(node.id, "placeholder", f"{error}; its data is kept")
            return None
        use.end()
        return found

    def _node(self, id: str, result: Result | None) -> dict[str, Any] | None:
        if result is None:
            return self._titled(id, self._placeholder(self._graph[id]))
        if not isinstance(result, Made):
            return None
        return self._titled(id, {"type": result.type, "version": result.version, "inputs": self._inputs(id, result)})

    def _titled(self, id: str, node: dict[str, Any]) -> dict[str, Any]:
        source = self._graph[id]
        if source.title and source.title != source.type:
            if len(source.title) > TITLE:
                self._report.note(id, "changed", f"its title is cut to {TITLE} characters")
            node["title"] = source.title[:TITLE]
        return node

    def _placeholder(self, node: SourceNode) -> dict[str, Any]:
        edges = {name: self._edge(node.id, value) for name, value in node.inputs.items() if type(value) is Link}
        plain = {name: value for name, value in node.inputs.items() if type(value) in PLAIN}
        kept = {name: edge for name, edge in edges.items() if edge is not None}
        extra = {"placeholder": self._placeholders[node.id], "comfyui": node.raw}
        return {"type": f"comfyui/{node.type}", "version": 1, "inputs": {**plain, **kept}, "extra": extra}

    def _inputs(self, id: str, made: Made) -> dict[str, Any]:
        values = {name: self._value(id, value) for name, value in made.inputs.items()}
        return {name: value for name, value in values.items() if value is not None}

    def _value(self, id: str, value: Any) -> Any:
        if type(value) is Link:
            return self._edge(id, value)
        if type(value) is list:
            return [item for part in value if (item := self._value(id, part)) is not None]
        return {"literal": value} if type(value) is dict else value

    def _edge(self, id: str, link: Link) -> dict[str, str] | None:
        """Where a link leads, through nodes that only pass on; None, and a line, where that is nowhere."""
        seen = set()
        while (result := self._results.get(link.node)) is not None and isinstance(result, Passed):
            if link in seen or not 0 <= link.slot < len(result.outputs):
                break
            seen.add(link)
            link = result.outputs[link.slot]
        if isinstance(result, Made) and 0 <= link.slot < len(result.outputs):
            return {"node": self._ids[link.node], "output": result.outputs[link.slot]}
        if link.node in self._placeholders:
            return {"node": self._ids[link.node], "output": f"output-{link.slot}"}
        self._report.note(id, "lost", f"the link from output {link.slot} of the node '{link.node}' leads nowhere")
        return None


def _ids(graph: Mapping[str, SourceNode]) -> dict[str, str]:
    """Our ids: letters, digits, '_' and '-' only, at most 200; still one for each node."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for id in graph:
        base = _NO_ID.sub("_", id)[:180] or "node"
        name, count = base, 2
        while name in taken:
            name, count = f"{base}-{count}", count + 1
        taken.add(name)
        found[id] = name
    return found
