"""The validator: checks a workflow against the registered NodeSpecs and reports all problems at once."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from latentloom.engine.document.flatten import Flat, flatten
from latentloom.engine.document.interfaces import spec_of_node
from latentloom.engine.document.workflow import GRAPH, MAX_NAMED, Edge, Node, Target, Workflow
from latentloom.engine.errors import LoomError, Problem, Problems
from latentloom.engine.planning.captions import caption_problems
from latentloom.engine.planning.connections import accepts, fits
from latentloom.engine.planning.graph import Graph
from latentloom.engine.planning.modes import muted, source_of
from latentloom.engine.planning.repetition import Repetition
from latentloom.engine.planning.step import ITEM, Checked, Files, Step
from latentloom.engine.types.literals import RANDOM, LiteralError, coerce
from latentloom.engine.types.registry import NodeType, Registry
from latentloom.engine.types.spec import FILE_KINDS, InputSpec, NodeSpec, OutputSpec

CHOICE_SOURCES = {"samplers": "sampler", "schedules": "schedule", "patches": "patch", "model_kinds": "model_kind"}


def validate(
    workflow: Workflow,
    registry: Registry,
    files: Files,
    wanted: Collection[str] | None = None,
    outer: Mapping[str, NodeType] | None = None,
) -> Checked:
    """Validate a flattened workflow. `wanted` names the outputs to compute; None means all named outputs and sinks.

    `outer` contains nodes of an enclosing graph that edges may come from.
    """
    return _Validator(flatten(workflow, registry), workflow, registry, files, outer or {}).run(wanted)


class _Validator:
    def __init__(
        self, flat: Flat, workflow: Workflow, registry: Registry, files: Files, outer: Mapping[str, NodeType]
    ) -> None:
        self.flat = flat
        self.nodes = flat.nodes
        self.workflow = workflow
        self.registry = registry
        self.files = files
        self.problems = Problems()
        self.choices: dict[str, Collection[str] | None] = {}
        self.sources: dict[Edge, Edge | None] = {}
        self.given = {target[:2]: item.name for item in reversed(flat.inputs) for target in item.to}
        self.types: dict[str, NodeType | None] = {**outer, **flat.types}
        for id, node in self.nodes.items():
            found = flat.types[id]
            if (node.each or node.repeat) and node.mode == "active" and found is not None:
                self.types[id] = replace(found, spec=spec_of_node(found.spec, node))
        self.repetition = Repetition(workflow.graphs, self.problems, self._missing, self._template)

    def problem(self, code: str, message: str, **facts: str | None) -> None:
        self.problems.add(Problem(code=code, message=message, **facts))

    def run(self, wanted: Collection[str] | None) -> Checked:
        for problem in self.flat.problems:
            self.problems.add(problem)
        skipped = muted(self.nodes)
        steps = {}
        for id, node in self.nodes.items():
            found = self._step(id, node, skipped)
            if found is not None:
                steps[id] = found
        self._named_inputs()
        graph = Graph({id: [s for s in step.sources(lazy=True) if s in steps] for id, step in steps.items()})
        self._cycle(graph)
        outputs = self._outputs(wanted, skipped)
        targets = [edge.node for edge in outputs.values()]
        if wanted is None:
            targets += [id for id, step in steps.items() if step.spec.purity == "sink"]
        if not targets and not self.problems:
            self.problem("no_outputs", "there is nothing to run", hint="add a SaveImage node, or name an output")
        problems = [self._with_port(problem) for problem in self.problems.told()]
        return Checked(steps, outputs, list(dict.fromkeys(targets)), problems, graph)

    def _with_port(self, problem: Problem) -> Problem:
        """Return a problem of an input inside a sub-workflow with the input of the outer node that leads there."""
        outer = None if problem.hint else self.flat.ports.get(Target(problem.node or "", problem.input or ""))
        return replace(problem, hint=f"it is the input '{outer.input}' of '{outer.node}'") if outer else problem

    # One node

    def _step(self, id: str, node: Node, skipped: Collection[str]) -> Step | None:
        found = self.types[id]
        if found is None:
            if id not in skipped:
                self._unknown_type(id, node)
            return None
        if id in skipped or node.mode == "bypass" or not self._version(id, node, found.spec):
            return None
        step = Step(id, found)
        spec = found.spec
        if node.inputs.keys() - spec.by_name.keys():
            self._unknown_inputs(id, node, spec)
        for port in spec.inputs:
            if port.name in node.inputs:
                self._input(step, port, node.inputs[port.name])
            elif port.required:
                self._missing(id, port)
            else:
                step.literals[port.name] = port.default
        for problem in caption_problems(step, self.files):
            self.problems.add(problem)
        own = self.flat.types[id]
        return self.repetition.step(step, node, own) if own is not None and (node.each or node.repeat) else step

    def _template(self, workflow: Workflow, item: NodeType) -> Checked:
        return validate(workflow, self.registry, self.files, outer={ITEM: item})

    def _unknown_type(self, id: str, node: Node) -> None:
        if node.type.startswith(GRAPH):
            name = node.type.removeprefix(GRAPH)
            near = self.problems.nearest(name, self.workflow.graphs)
            self.problem("unknown_node_type", f"there is no sub-workflow '{name}'", node=id, nearest=near)
            return
        plugin, slash, _ = node.type.rpartition("/")
        hint = f"it comes from the plugin '{plugin}', which is not installed" if slash else None
        if slash and plugin in self.registry.distributions:
            hint = None
        if type(node.extra) is dict and type(node.extra.get("placeholder")) is str:
            hint = f"not runnable: {node.extra['placeholder']}"
        self.problem(
            "unknown_node_type",
            f"there is no node type '{node.type}'",
            node=id,
            nearest=self.problems.nearest(node.type, self.registry.nodes),
            hint=hint,
        )

    def _version(self, id: str, node: Node, spec: NodeSpec) -> bool:
        if node.version == spec.version:
            return True
        newer = node.version > spec.version
        self.problem(
            "newer_version" if newer else "older_version",
            f"{spec.type} was saved with version {node.version}",
            node=id,
            expected=str(spec.version),
            got=str(node.version),
            hint="update the distribution that brings it" if newer else "this version cannot be migrated",
        )
        return False

    def _unknown_inputs(self, id: str, node: Node, spec: NodeSpec) -> None:
        for name in node.inputs:
            if name not in spec.by_name:
                self.problem(
                    "unknown_input",
                    f"{spec.type} has no input '{name}'",
                    node=id,
                    input=name,
                    nearest=self.problems.nearest(name, spec.by_name),
                )

    def _missing(self, id: str, port: InputSpec) -> None:
        want = "a value" if port.literal else f"an edge from a {port.kind} output"
        name = self.given.get((id, port.name))
        hint = f"set the workflow's input '{name}'" if name else None
        self.problem("missing_input", "needs a value", node=id, input=port.name, expected=want, hint=hint)

    def _input(self, step: Step, port: InputSpec, value: Any) -> None:
        if type(value) is Edge:
            edge = self._edge(step.id, port, value, element=False)
            if edge is not None:
                step.edges[port.name] = edge
        elif port.is_list and type(value) is list:
            items = [
                self._edge(step.id, port, item, element=True)
                if type(item) is Edge
                else self._literal(step.id, port, item)
                for item in value
            ]
            (step.edges if any(type(item) is Edge for item in items) else step.literals)[port.name] = items
        elif port.is_list and not (value is None and port.optional):
            self.problem(
                "wrong_type",
                "wrong type",
                node=step.id,
                input=port.name,
                expected=f"a list of {port.kind}",
                got=type(value).__name__,
            )
        else:
            step.literals[port.name] = self._literal(step.id, port, value)

    def _literal(self, id: str, port: InputSpec, value: Any) -> Any:
        if value is None and port.optional:
            return None
        if not port.literal:
            self._missing(id, port)
            return None
        if port.seed and value == RANDOM:
            return value
        try:
            value = coerce(port, value, self._choices_of(port))
            if port.kind in FILE_KINDS:
                self.files.check(port.source or "input", value, alike=self.problems.suggesting)
        except LiteralError as error:
            self.problems.add(error.at(id, port.name))
        except LoomError as error:
            self.problems.compared()
            facts = {k: v for k, v in error.problem.record().items() if k not in ("node", "input")}
            self.problems.add(Problem(node=id, input=port.name, **facts))
        return value

    def _choices_of(self, port: InputSpec) -> Collection[str] | None:
        if port.source is None:
            return None
        if port.source not in self.choices:
            self.choices[port.source] = choices_of(port, self.registry)
        return self.choices[port.source]

    # Edges

    def _edge(self, id: str, port: InputSpec, edge: Edge, *, element: bool) -> Edge | None:
        output = self._output(id, port.name, edge)
        if output is None:
            return None
        source = source_of(edge, self.nodes, self.types, self.sources)
        if source is None:
            self.problem(
                "bypass_impossible",
                f"the bypassed node '{edge.node}' has no edge of type {output.kind} to pass on",
                node=id,
                input=port.name,
                hint="give it an input of that type, or mute it",
            )
            return None
        if source is not edge:
            output = self._output(id, port.name, source)
        if output is not None and not accepts(port, output, element=element):
            self._mismatch(id, port, edge, output, element=element)
            return None
        return source

    def _output(self, id: str | None, input: str | None, edge: Edge) -> OutputSpec | None:
        if edge.node not in self.types:
            self.problem(
                "unknown_node",
                f"there is no node '{edge.node}'",
                node=id,
                input=input,
                nearest=self.problems.nearest(edge.node, self.nodes),
            )
            return None
        found = self.types[edge.node]
        if found is None:
            return None  # reported at that node
        output = found.spec.output(edge.output)
        if output is None:
            names = [port.name for port in found.spec.outputs]
            self.problem(
                "unknown_output",
                f"{found.spec.type} '{edge.node}' has no output '{edge.output}'",
                node=id,
                input=input,
                expected=", ".join(names) or "it has no outputs",
                nearest=self.problems.nearest(edge.output, names),
            )
        return output

    def _mismatch(self, id: str, port: InputSpec, edge: Edge, output: OutputSpec, *, element: bool) -> None:
        wants_list = port.is_list and not element
        hint = None
        if fits(output.kind, port.kind):
            hint = "put the edge into a list" if wants_list else "the output is a list; this input takes one value"
        self.problem(
            "type_mismatch",
            f"the output '{edge.output}' of '{edge.node}' does not fit",
            node=id,
            input=port.name,
            expected=f"list of {port.kind}" if wants_list else port.kind,
            got=f"list of {output.kind}" if output.is_list else output.kind,
            hint=hint,
        )

    # The whole workflow

    def _cycle(self, graph: Graph) -> None:
        cycle = graph.cycle()
        if cycle:
            path = " -> ".join([*cycle[:12], *(["..."] if len(cycle) > 12 else []), cycle[0]])
            self.problem("cycle", "the nodes form a cycle", node=cycle[0], got=path)

    def _named_inputs(self) -> None:
        for named in self.workflow.inputs:
            for node, name, _ in named.to:
                if node not in self.workflow.nodes:
                    self.problem(
                        "unknown_node",
                        f"the input '{named.name}' is connected to '{node}', which is not a node",
                        nearest=self.problems.nearest(node, self.workflow.nodes),
                    )
                elif (found := self.types[node]) and name not in found.spec.by_name:
                    self.problem(
                        "unknown_input",
                        f"the input '{named.name}' is connected to '{name}' of '{node}', which "
                        f"{found.spec.type} does not have",
                        nearest=self.problems.nearest(name, found.spec.by_name),
                    )

    def _outputs(self, wanted: Collection[str] | None, skipped: Collection[str]) -> dict[str, Edge]:
        named = {item.name: item.source for item in self.flat.outputs}
        for name in wanted or ():
            if name not in named:
                self.problem(
                    "unknown_workflow_output",
                    f"the workflow has no output '{name}'",
                    expected=", ".join(islice(named, MAX_NAMED)) or "none",
                    nearest=self.problems.nearest(name, named),
                )
        found: dict[str, Edge] = {}
        for name, edge in named.items():
            if wanted is None or name in wanted:
                source = self._wanted(name, edge, skipped)
                found |= {name: source} if source else {}
        return found

    def _wanted(self, name: str, edge: Edge, skipped: Collection[str]) -> Edge | None:
        if self._output(None, None, edge) is None:
            return None
        source = source_of(edge, self.nodes, self.types, self.sources)
        if edge.node in skipped or (source and source.node in skipped):
            self.problem(
                "muted_output",
                f"the output '{name}' depends on a muted node",
                got=edge.node,
                hint="unmute it, or ask for other outputs",
            )
        elif source is None:
            self.problem(
                "bypass_impossible",
                f"the output '{name}' is a bypassed node that has nothing of its type to pass on",
                got=edge.node,
            )
        elif source is edge or self._output(None, None, source) is not None:
            return source
        return None


def choices_of(port: InputSpec, registry: Registry) -> Collection[str] | None:
    """Return the choices of a CHOICE input with a source; None for any other input."""
    if port.kind != "CHOICE" or port.source is None:
        return None
    return tuple(registry.extensions(CHOICE_SOURCES.get(port.source, port.source)))


def unresolved(steps: Mapping[str, Step]) -> list[tuple[str, str]]:
    """Return the (node, input) pairs whose seed is still "random"."""
    return [
        (id, port.name)
        for id, step in steps.items()
        for port in step.spec.inputs
        if port.seed and step.literals.get(port.name) == RANDOM
    ]
