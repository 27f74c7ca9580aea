"""Flattens a workflow: each use of a sub-workflow is replaced by the nodes inside, with ids `parent/child`.

Identity and cache keys know nothing of sub-workflows, so that packing, unpacking and renaming re-run nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from latentloom.engine.document.interfaces import VERSION, node_types
from latentloom.engine.document.workflow import GRAPH, Edge, NamedInput, NamedOutput, Node, Target, Workflow
from latentloom.engine.errors import Problem, nearest
from latentloom.engine.types.registry import NodeType, Registry

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Flat:
    """A workflow without sub-workflows. A use that is muted, bypassed or runs more than once remains one node."""

    nodes: Mapping[str, Node]
    types: Mapping[str, NodeType | None]
    """The type of each node and of each use of a sub-workflow, by id."""
    inputs: tuple[NamedInput, ...]
    """The named inputs with the inputs inside that they set."""
    outputs: tuple[NamedOutput, ...]
    ports: Mapping[Target, Target] = field(default_factory=dict)
    """Inputs inside, with the input of the outermost use that leads there."""
    problems: tuple[Problem, ...] = ()
    """Ports that lead nowhere, and inputs that a sub-workflow does not have."""


def flatten(workflow: Workflow, registry: Registry) -> Flat:
    """Return a workflow with each use of a sub-workflow replaced by the nodes inside."""
    types = node_types(workflow, registry)
    if not workflow.graphs:
        known = {id: types.get(node.type) for id, node in workflow.nodes.items()}
        return Flat(workflow.nodes, known, workflow.inputs, workflow.outputs)
    return _Flattening(workflow, types).flat()


class _Given(NamedTuple):
    """A value from outside for an input inside, and the input of the outermost use that it comes through."""

    value: Any
    origin: Target


_Values = dict[str, dict[Target, _Given]]  # by node


class _Flattening:
    def __init__(self, workflow: Workflow, types: Mapping[str, NodeType]) -> None:
        self._workflow = workflow
        self._types = types
        self._nodes: dict[str, Node] = {}
        self._known: dict[str, NodeType | None] = {}
        self._ports: dict[Target, Target] = {}
        self._problems: list[Problem] = []
        self._checked: set[str] = set()
        self._outputs = {
            name: {item.name: item.source for item in graph.outputs} for name, graph in workflow.graphs.items()
        }

    def flat(self) -> Flat:
        root = self._workflow
        self._scope("", root, {})
        outputs = tuple(NamedOutput(item.name, self._source("", root, item.source)) for item in root.outputs)
        inputs = tuple(NamedInput(item.name, self._targets("", root, item.to)) for item in root.inputs)
        return Flat(self._nodes, self._known, inputs, outputs, self._ports, tuple(self._problems))

    def _graph(self, node: Node | None) -> str | None:
        """Return the name of the sub-workflow that a node stands for; None if it remains a node."""
        if node is None or node.mode != "active" or node.version != VERSION or node.each or node.repeat:
            return None
        name = node.type.removeprefix(GRAPH)
        return name if name != node.type and name in self._workflow.graphs else None

    def _scope(self, prefix: str, scope: Workflow, given: _Values) -> None:
        """Add the nodes of a workflow. `given` contains the values from outside."""
        for id, node in scope.nodes.items():
            full = prefix + id
            self._known[full] = self._types.get(node.type)
            inputs = {name: self._placed(prefix, scope, value) for name, value in node.inputs.items()}
            origins: dict[str, Target] = {}
            for target, (value, origin) in given.get(id, {}).items():
                origins[target.input] = origin
                _set(inputs, target, value)
            name = self._graph(node)
            if name is not None:
                self._use(full, name, inputs, origins)
                continue
            self._ports |= {Target(full, input): origin for input, origin in origins.items()}
            self._nodes[full] = node if not prefix and inputs == node.inputs else replace(node, inputs=inputs)

    def _use(self, full: str, name: str, inputs: dict[str, Any], origins: Mapping[str, Target]) -> None:
        """Add the nodes of one use of a sub-workflow. `origins` names the outer inputs that lead to its inputs."""
        graph = self._workflow.graphs[name]
        self._check(full, name, graph)
        values: _Values = {}
        for port in graph.inputs:
            origin = origins.get(port.name, Target(full, port.name))
            value = _Given(inputs.pop(port.name, _ABSENT), origin)
            for target in port.to:
                values.setdefault(target.node, {})[target] = value
        for unknown in inputs:
            self._unknown_port(full, name, unknown, [port.name for port in graph.inputs])
        self._scope(f"{full}/", graph, values)

    # Edges

    def _placed(self, prefix: str, scope: Workflow, value: Any) -> Any:
        if type(value) is list:
            return [self._source(prefix, scope, item) if type(item) is Edge else item for item in value]
        return self._source(prefix, scope, value) if type(value) is Edge else value

    def _source(self, prefix: str, scope: Workflow, edge: Edge) -> Edge:
        """Return the edge from the node inside that delivers an output."""
        while (name := self._graph(scope.nodes.get(edge.node))) is not None:
            graph, source = self._workflow.graphs[name], self._outputs[name].get(edge.output)
            if source is None or source.node not in graph.nodes:
                break
            prefix, scope, edge = f"{prefix}{edge.node}/", graph, source
        return Edge(prefix + edge.node, edge.output) if prefix else edge

    def _targets(self, prefix: str, scope: Workflow, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        """Return the inputs inside that a named input sets."""
        found: list[Target] = []
        for target in targets:
            name = self._graph(scope.nodes.get(target.node))
            graph = self._workflow.graphs[name] if name is not None else None
            port = graph.input(target.input) if graph is not None else None
            if graph is None or port is None:
                found.append(target._replace(node=prefix + target.node))
            else:
                found += self._targets(f"{prefix}{target.node}/", graph, port.to)
        return tuple(found)

    # Problems

    def _check(self, full: str, name: str, graph: Workflow) -> None:
        """Report the ports of a sub-workflow that lead nowhere, once, at its first use."""
        if name in self._checked:
            return
        self._checked.add(name)
        for item in graph.inputs:
            for target in item.to:
                self._check_target(full, name, graph, item.name, target)
        for output in graph.outputs:
            self._check_source(full, name, graph, output)

    def _check_target(self, full: str, name: str, graph: Workflow, port: str, target: Target) -> None:
        place = f"the input '{port}' of the sub-workflow '{name}' is connected to"
        node = graph.nodes.get(target.node)
        if node is None:
            near = nearest(target.node, graph.nodes)
            self._problem("unknown_node", f"{place} '{target.node}', which is not a node", full, port, near)
        elif (found := self._types.get(node.type)) is None:
            return  # reported at that node
        elif target.input not in found.spec.by_name:
            text = f"{place} '{target.input}' of '{target.node}', which {found.spec.type} does not have"
            self._problem("unknown_input", text, full, port, nearest(target.input, found.spec.by_name))
        elif target.item is not None and not _has_item(node, target):
            text = f"{place} item {target.item} of '{target.input}' of '{target.node}', which its list does not have"
            self._problem("unknown_input", text, full, port)

    def _check_source(self, full: str, name: str, graph: Workflow, output: NamedOutput) -> None:
        place = f"the output '{output.name}' of the sub-workflow '{name}' comes from"
        node = graph.nodes.get(output.source.node)
        if node is None:
            near = nearest(output.source.node, graph.nodes)
            self._problem("unknown_node", f"{place} '{output.source.node}', which is not a node", full, None, near)
        elif (found := self._types.get(node.type)) and found.spec.output(output.source.output) is None:
            names = [port.name for port in found.spec.outputs]
            text = f"{place} '{output.source.output}' of '{output.source.node}', which {found.spec.type} does not have"
            self._problem("unknown_output", text, full, None, nearest(output.source.output, names))

    def _unknown_port(self, full: str, name: str, port: str, ports: list[str]) -> None:
        near = nearest(port, ports)
        self._problem("unknown_input", f"the sub-workflow '{name}' has no input '{port}'", full, port, near)

    def _problem(self, code: str, text: str, node: str, input: str | None, near: str | None = None) -> None:
        self._problems.append(Problem(code=code, message=text, node=node, input=input, nearest=near))


def _has_item(node: Node, target: Target) -> bool:
    value = node.inputs.get(target.input)
    return type(value) is list and target.item is not None and target.item < len(value)


def _set(inputs: dict[str, Any], target: Target, value: Any) -> None:
    """Set an input, or one item of its list. A value that is not given leaves what the sub-workflow has."""
    if value is _ABSENT:
        return
    if target.item is None:
        inputs[target.input] = value
    elif type(items := inputs.get(target.input)) is list and target.item < len(items):
        inputs[target.input] = [*items[: target.item], value, *items[target.item + 1 :]]
