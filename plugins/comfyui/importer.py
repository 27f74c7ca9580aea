"""Converts the nodes of a ComfyUI graph to a workflow document."""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from latentloom.engine.document.workflow import FORMAT, RESERVED_INPUTS, Edge
from latentloom.engine.errors import brief
from latentloom.plugins.comfyui.absent import REASONS
from latentloom.plugins.comfyui.classes import FOLDED, RULES
from latentloom.plugins.comfyui.graph import Link, SourceNode
from latentloom.plugins.comfyui.report import Report
from latentloom.plugins.comfyui.rules import Inner, Known, Made, Named, Passed, Result, Scene, Unmappable, Use

TITLE = 200  # maximum characters of a title
PLAIN = (bool, int, float, str)
NO_ID = re.compile(r"[^A-Za-z0-9_-]")


class Importer:
    """Converts a graph to a document. `ids` maps ComfyUI's ids to ours, `inner` the further nodes of rules to their
    ids, `placeholders` each node without a counterpart to the reason.
    """

    def __init__(self, graph: Mapping[str, SourceNode], report: Report) -> None:
        self._graph = graph
        self._report = report
        self.ids = _ids(graph)
        self._scene = Scene(graph, report)
        self.placeholders: dict[str, str] = {}  # id -> why the node has no counterpart
        self._names: dict[str, Mapping[str, str]] = {}  # our input names by ComfyUI's
        self._results = {id: self._result(node) for id, node in graph.items() if node.type not in FOLDED}
        self.inner = self._inner_ids()

    @property
    def made(self) -> Collection[str]:
        """The file's ids of the nodes that became nodes of the document."""
        return [id for id, result in self._results.items() if result is None or isinstance(result, Made)]

    def nodes_of(self, id: str) -> dict[str, str]:
        """Return the ids of the nodes that a node of the file became: its own with the name "", and further ones."""
        result = self._results.get(id)
        if isinstance(result, Made):
            return {"": self.ids[id], **{name: self.inner[id, name] for name in result.inner}}
        return {"": self.ids[id]} if id in self.placeholders else {}

    def name_of(self, id: str, theirs: str) -> str:
        """Return our name of a node's input."""
        return self._names.get(id, {}).get(theirs, theirs)

    def _inner_ids(self) -> dict[tuple[str, str], str]:
        """Return the ids of the further nodes that rules made, by (node, name)."""
        taken, found = set(self.ids.values()), {}
        for id, result in self._results.items():
            for name in result.inner if isinstance(result, Made) else ():
                found[id, name] = free_name(f"{self.ids[id]}-{NO_ID.sub('_', name)[:15]}", taken)
                taken.add(found[id, name])
        return found

    def document(self) -> dict[str, Any]:
        """Return the document without its layout."""
        nodes = {self.ids[id]: self._node(id, result) for id, result in self._results.items()}
        kept = {id: node for id, node in nodes.items() if node is not None} | self._inner_nodes()
        named = [(id, found) for id, found in self._results.items() if isinstance(found, Named)]
        outputs = [
            {"name": found.name if count == 0 else f"{found.name}-{count + 1}", "from": edge}
            for count, (id, found) in enumerate(named)
            if self._runs(id) and (edge := self._edge(id, found.source)) is not None
        ]
        return {"format": FORMAT, "nodes": kept, "outputs": outputs}

    def form(self, shown: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
        """Return the named inputs for the widgets that the form shows."""
        found: dict[str, dict[str, Any]] = {}
        for id, theirs in shown:
            ours = self._names.get(id, {}).get(theirs)
            if ours is None:
                self._report.note(id, "lost", f"the form shows '{brief(theirs)[1:-1]}', which is no input here")
                continue
            name = free_name(_input_name(theirs), found.keys() | {item.replace("-", "_") for item in RESERVED_INPUTS})
            found[name] = {"name": name, "to": [{"node": self.ids[id], "input": ours}]}
        return list(found.values())

    def _runs(self, id: str) -> bool:
        if self._graph[id].mode != "active":
            self._report.note(id, "lost", "it does not run, and becomes no output of the workflow")
        return self._graph[id].mode == "active"

    def _result(self, node: SourceNode) -> Result | None:
        """Return the conversion result of a node; None for a placeholder."""
        rule = RULES.get(node.type)
        use = Use(node, self._scene)
        try:
            if rule is None:
                raise Unmappable(REASONS.get(node.type, f"ComfyUI's {node.type} has no counterpart here"))
            found = rule(use)
        except Unmappable as error:
            self.placeholders[node.id] = str(error)
            self._report.note(node.id, "placeholder", f"{error}; its data is kept")
            return None
        use.end()
        self._names[node.id] = use.names if isinstance(found, Made) else {}
        return found

    def _node(self, id: str, result: Result | None) -> dict[str, Any] | None:
        mode = self._graph[id].mode
        if result is None:
            node, mode = self._placeholder(self._graph[id]), "mute" if mode == "bypass" else mode
        elif isinstance(result, Made):
            node = self._made(id, result)
        else:
            return None
        return self._titled(id, node if mode == "active" else {**node, "mode": mode})

    def _made(self, id: str, made: Made) -> dict[str, Any]:
        return {"type": made.type, "version": made.version, "inputs": self._inputs(id, made)}

    def _inner_nodes(self) -> dict[str, dict[str, Any]]:
        """Return the further nodes that rules made, with the mode of their node."""
        found = {}
        for id, result in self._results.items():
            for name, made in result.inner.items() if isinstance(result, Made) else ():
                mode = self._graph[id].mode
                node = self._made(id, made)
                found[self.inner[id, name]] = node if mode == "active" else {**node, "mode": mode}
        return found

    def _titled(self, id: str, node: dict[str, Any]) -> dict[str, Any]:
        source = self._graph[id]
        if source.title and source.title != source.type:
            if len(source.title) > TITLE:
                self._report.note(id, "changed", f"its title is cut to {TITLE} characters")
            node["title"] = source.title[:TITLE]
        return node

    def _placeholder(self, node: SourceNode) -> dict[str, Any]:
        known = {name: self._value(node.id, value) for name, value in node.inputs.items() if type(value) is Link}
        plain = {name: value for name, value in node.inputs.items() if type(value) in PLAIN}
        kept = {name: value for name, value in known.items() if value is not None}
        kept |= {name: {"literal": value} for name, value in node.inputs.items() if type(value) in (list, dict)}
        extra = {"placeholder": self.placeholders[node.id], "comfyui": node.raw}
        return {"type": f"comfyui/{node.type}", "version": 1, "inputs": {**plain, **kept}, "extra": extra}

    def _inputs(self, id: str, made: Made) -> dict[str, Any]:
        values = {name: self._value(id, value) for name, value in made.inputs.items()}
        return {name: value for name, value in values.items() if value is not None}

    def _value(self, id: str, value: Any) -> Any:
        if type(value) is Link:
            literal = self._literal(value)
            return self._edge(id, value) if literal is None else literal
        if type(value) is Inner:
            return {"node": self.inner[id, value.name], "output": value.output}
        if type(value) is list:
            return [item for part in value if (item := self._value(id, part)) is not None]
        return {"literal": value} if type(value) is dict else value

    def _origin(self, link: Link) -> Link:
        """Follow a link back through nodes that only pass values on. Stops in a cycle of such nodes."""
        seen = set()
        while isinstance(result := self._results.get(link.node), (Passed, Made)):
            if link in seen or not 0 <= link.slot < len(result.outputs):
                break
            seen.add(link)
            output = result.outputs[link.slot]
            if not isinstance(output, Link):
                break
            link = output
        return link

    def _literal(self, link: Link) -> Any:
        """Return the literal behind a link, or None."""
        link = self._origin(link)
        result = self._results.get(link.node)
        known = isinstance(result, Known) and 0 <= link.slot < len(result.values)
        return result.values[link.slot] if known and isinstance(result, Known) else None

    def _edge(self, id: str, link: Link) -> dict[str, str] | None:
        """Return the edge for a link, through nodes that only pass values on. If it has no source, report it and return
        None.
        """
        found = self.source(link)
        if found is not None:
            return found.record()
        link = self._origin(link)
        self._report.note(id, "lost", f"the link from output {link.slot} of the node '{link.node}' leads nowhere")
        return None

    def source(self, link: Link) -> Edge | None:
        """Return the edge for a link, through nodes that only pass values on; None if it has no source."""
        link = self._origin(link)
        result = self._results.get(link.node)
        output = (
            result.outputs[link.slot] if isinstance(result, Made) and link.slot in range(len(result.outputs)) else 0
        )
        if isinstance(output, Inner):
            return Edge(self.inner[link.node, output.name], output.output)
        if isinstance(output, str):
            return Edge(self.ids[link.node], output)
        if link.node in self.placeholders:
            return Edge(self.ids[link.node], f"output-{link.slot}")
        return None


def _ids(graph: Mapping[str, SourceNode]) -> dict[str, str]:
    """Return a unique id for each node: only letters, digits, '_' and '-', at most 200 characters."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for id in graph:
        found[id] = free_name(NO_ID.sub("_", id)[:180] or "node", taken)
        taken.add(found[id])
    return found


def free_name(base: str, taken: Collection[str]) -> str:
    """Return a free name: the base, if necessary with a number appended."""
    name, count = base, 2
    while name in taken:
        name, count = f"{base}-{count}", count + 1
    return name


def _input_name(theirs: str) -> str:
    """Return a valid name for a named input of a workflow."""
    name = NO_ID.sub("_", theirs)[:90].replace("-", "_")
    return name if name[:1].isascii() and name[:1].isalpha() else f"input_{name}"
