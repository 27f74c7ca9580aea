"""The interfaces of sub-workflows: a node spec for each one, with ports taken from what they lead to."""

from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from latentloom.engine.document.workflow import GRAPH, MAX_TURNS, TURNS, Edge, Node, Repeat, Target, Workflow
from latentloom.engine.types.registry import Distribution, NodeType, Registry
from latentloom.engine.types.spec import ANY, InputSpec, NodeSpec, OutputSpec

SpecOf = Callable[[str], NodeSpec | None]
VERSION = 1  # of all nodes that use a sub-workflow
DOCUMENT = Distribution("the document", "1", "graph", "")
TURNS_PORT = InputSpec(
    name=TURNS, kind="INT", minimum=1, maximum=MAX_TURNS, help="How many turns the node runs, one after the other."
)


def graph_specs(graphs: Mapping[str, Workflow], spec_of: SpecOf) -> dict[str, NodeSpec]:
    """Return the spec of each sub-workflow by its type `graph/NAME`. `spec_of` returns those of the node types.

    A port has the kind, the bounds and the help of the first input or output that it leads to, and that input's value
    as its default. A port that leads nowhere, or to a node of an unknown type, accepts any value.
    """
    return _Specs(graphs, spec_of).all() if graphs else {}


def node_types(workflow: Workflow, registry: Registry) -> Mapping[str, NodeType]:
    """Return the types that the nodes of a workflow can have: the registered ones and its sub-workflows."""
    if not workflow.graphs:
        return registry.nodes
    specs = graph_specs(workflow.graphs, registered(registry))
    return ChainMap({type: NodeType(spec, DOCUMENT) for type, spec in specs.items()}, registry.nodes)


def registered(registry: Registry) -> SpecOf:
    """Return the function that returns the spec of a registered node type."""
    return lambda type: registry.nodes[type].spec if type in registry.nodes else None


def value_at(graph: Workflow, target: Target) -> Any:
    """Return the value that a sub-workflow itself has at a target, or None."""
    value = graph.nodes[target.node].inputs.get(target.input)
    if target.item is None:
        return value
    return value[target.item] if type(value) is list and target.item < len(value) else None


def spec_of_node(spec: NodeSpec, node: Node) -> NodeSpec:
    """Return the spec of a node: that of its type, as `repeat` and `each` change it."""
    return mapped(repeated(spec, node.repeat), node.each)


def repeated(spec: NodeSpec, repeat: Repeat | None) -> NodeSpec:
    """Return the spec of a node that runs turn by turn: an input for their number, lists of what it collects."""
    if repeat is None:
        return spec
    inputs = (*(replace(port, lazy=False) for port in spec.inputs if port.name != TURNS), TURNS_PORT)
    outputs = tuple(replace(port, is_list=port.is_list or port.name in repeat.collect) for port in spec.outputs)
    return replace(spec, inputs=inputs, outputs=outputs)


def mapped(spec: NodeSpec, each: tuple[str, ...]) -> NodeSpec:
    """Return the spec of a node that runs once for each item: the named inputs and all outputs are lists."""
    if not each:
        return spec
    inputs = tuple(replace(port, is_list=port.is_list or port.name in each, lazy=False) for port in spec.inputs)
    return replace(spec, inputs=inputs, outputs=tuple(replace(port, is_list=True) for port in spec.outputs))


def port_at(workflow: Workflow, types: Mapping[str, NodeType], target: Target) -> InputSpec | None:
    """Return the spec of a node's input, or None."""
    node = workflow.nodes.get(target.node)
    found = types.get(node.type) if node is not None else None
    return spec_of_node(found.spec, node).by_name.get(target.input) if found and node else None


class _Specs:
    def __init__(self, graphs: Mapping[str, Workflow], spec_of: SpecOf) -> None:
        self._graphs = graphs
        self._spec_of = spec_of
        self._found: dict[str, NodeSpec] = {}

    def all(self) -> dict[str, NodeSpec]:
        return {GRAPH + name: self._spec(name) for name in self._graphs}

    def _of(self, node: Node) -> NodeSpec | None:
        name = node.type.removeprefix(GRAPH)
        found = self._spec(name) if name != node.type and name in self._graphs else self._spec_of(node.type)
        return spec_of_node(found, node) if found is not None else None

    def _spec(self, name: str) -> NodeSpec:
        """Return the spec of a sub-workflow. The recursion is bounded: reading limits how deep they nest."""
        if name not in self._found:
            graph = self._graphs[name]
            self._found[name] = NodeSpec(
                type=GRAPH + name,
                version=VERSION,
                function="",
                category="graph",
                help=graph.name,
                inputs=tuple(self._input(graph, item.name, item.to) for item in graph.inputs),
                outputs=tuple(self._output(graph, item.name, item.source) for item in graph.outputs),
            )
        return self._found[name]

    def _input(self, graph: Workflow, name: str, targets: tuple[Target, ...]) -> InputSpec:
        ports = [(target, port) for target in targets if (port := self._port(graph, target)) is not None]
        if not ports:
            return InputSpec(name=name, kind=ANY, required=False)
        target, first = ports[0]
        value = value_at(graph, target)
        if type(value) is Edge or (type(value) is list and any(type(item) is Edge for item in value)):
            value = None
        required = any(port.required and value_at(graph, target) is None for target, port in ports)
        default = first.default if value is None else value
        return replace(first, name=name, required=required, default=None if required else default, lazy=False)

    def _port(self, graph: Workflow, target: Target) -> InputSpec | None:
        node = graph.nodes.get(target.node)
        spec = self._of(node) if node is not None else None
        port = spec.by_name.get(target.input) if spec is not None else None
        if port is None or target.item is None:
            return port
        return replace(port, is_list=False) if port.is_list else None

    def _output(self, graph: Workflow, name: str, source: Edge) -> OutputSpec:
        node = graph.nodes.get(source.node)
        spec = self._of(node) if node is not None else None
        port = spec.output(source.output) if spec is not None else None
        return OutputSpec(name=name, kind=ANY) if port is None else replace(port, name=name)
