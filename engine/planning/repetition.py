"""Validates nodes that run more than once: once for each item of their lists, or turn by turn."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from latentloom.engine.document.interfaces import DOCUMENT, repeated
from latentloom.engine.document.workflow import TURNS, Edge, NamedOutput, Node, Repeat, Workflow
from latentloom.engine.errors import Problem, Problems
from latentloom.engine.planning.connections import accepts
from latentloom.engine.planning.step import ITEM, Checked, Each, Loop, Step
from latentloom.engine.types.registry import NodeType
from latentloom.engine.types.spec import InputSpec, NodeSpec, OutputSpec


class Repetition:
    """Turns validated nodes into steps that run more than once."""

    def __init__(
        self,
        graphs: Mapping[str, Workflow],
        problems: Problems,
        missing: Callable[[str, InputSpec], None],
        validated: Callable[[Workflow, NodeType], Checked],
    ) -> None:
        """`missing` reports an input without a value. `validated` validates a template, which reads from ITEM."""
        self._graphs = graphs
        self._problems = problems
        self._missing = missing
        self._validated = validated

    def step(self, step: Step, node: Node, found: NodeType) -> Step:
        """Return the step of a node with `each` or `repeat`. `found` is the type that the node names."""
        if node.each:
            return self._mapped(step, node, found)
        assert node.repeat is not None
        return self._loop(step, node, node.repeat, found)

    # Once for each item

    def _mapped(self, step: Step, node: Node, found: NodeType) -> Step:
        spec = repeated(found.spec, node.repeat)
        for name in node.each:
            self._check_each(step.id, name, spec, given=name in node.inputs)
        for output in (port for port in spec.outputs if port.is_list):
            self.problem("each_of_lists", f"the output '{output.name}' is a list already", node=step.id)
        ports = [port for port in spec.inputs if port.required or port.name in node.inputs]
        template = self._template(step, replace(node, each=(), on_error="stop"), ports, spec)
        return _made(step, template, each=Each(node.each, node.on_error, step.id, template))

    def _check_each(self, id: str, name: str, spec: NodeSpec, *, given: bool) -> None:
        port = spec.by_name.get(name)
        if port is None:
            self._unknown_input(id, spec, name, "which 'each' names")
        elif port.is_list:
            self.problem("each_of_lists", "it takes a whole list, which cannot go item by item", node=id, input=name)
        elif not given and not port.required:
            self._missing(id, replace(port, is_list=True))

    # Turn by turn

    def _loop(self, step: Step, node: Node, repeat: Repeat, found: NodeType) -> Step:
        """Return a step that runs turn by turn. In the first turn, an input without a value keeps what is inside."""
        spec = found.spec
        self._check_repeat(step.id, spec, repeat)
        once = replace(node, repeat=None)
        given = {port.name for port in spec.inputs if port.required or port.name in node.inputs} | {repeat.number}
        ports = [port for port in spec.inputs if port.name in given]
        first = self._template(step, once, ports, spec)
        later = first
        if carried := [port for port in spec.inputs if port.name in repeat.carry and port.name not in given]:
            later = self._template(step, once, [*ports, *carried], spec)
        return _made(step, first, loop=Loop(repeat, step.id, first, later))

    def _check_repeat(self, id: str, spec: NodeSpec, repeat: Repeat) -> None:
        if TURNS in spec.by_name:
            self.problem("bad_repeat", f"{spec.type} has an input '{TURNS}' itself, so it cannot be repeated", node=id)
        for input, output in repeat.carry.items():
            self._check_carry(id, spec, input, output)
        for name in repeat.collect:
            port = self._output(id, spec, name, "which 'repeat' collects")
            if port is not None and port.is_list:
                self.problem("bad_repeat", f"the output '{name}' is a list already, so it cannot be collected", node=id)
        if repeat.until is not None:
            port = self._output(id, spec, repeat.until, "which ends the loop")
            if port is not None and (port.is_list or port.kind != "BOOLEAN"):
                text = f"the output '{repeat.until}' cannot end the loop"
                self.problem("type_mismatch", text, node=id, expected="BOOLEAN", got=_kind(port))
        if repeat.number is not None:
            self._check_number(id, spec, repeat, repeat.number)

    def _check_carry(self, id: str, spec: NodeSpec, input: str, output: str) -> None:
        port = spec.by_name.get(input)
        source = self._output(id, spec, output, f"which 'repeat' carries to '{input}'")
        if port is None:
            self._unknown_input(id, spec, input, f"to which 'repeat' carries '{output}'")
        elif source is not None and not accepts(port, source):
            text = f"the output '{output}', which 'repeat' carries to it, does not fit"
            facts = {"expected": _kind(port), "got": _kind(source)}
            self.problem("type_mismatch", text, node=id, input=input, **facts)

    def _check_number(self, id: str, spec: NodeSpec, repeat: Repeat, name: str) -> None:
        port = spec.by_name.get(name)
        if port is None:
            self._unknown_input(id, spec, name, "which gets the number of the turn")
        elif port.is_list or port.kind not in ("INT", "FLOAT", "ANY"):
            text = "the number of the turn does not fit"
            self.problem("type_mismatch", text, node=id, input=name, expected=_kind(port), got="INT")
        elif name in repeat.carry:
            self.problem(
                "bad_repeat", "it cannot get both a carried output and the number of the turn", node=id, input=name
            )

    # Templates

    def _template(self, step: Step, node: Node, ports: Collection[InputSpec], spec: NodeSpec) -> Checked:
        """Return the validated steps of one item or turn, which reads the inputs of the node from ITEM."""
        outputs = tuple(OutputSpec(name=port.name, kind=port.kind, is_list=port.is_list) for port in ports)
        item = NodeType(NodeSpec(type=ITEM, version=1, function="", outputs=outputs), DOCUMENT)
        inner = replace(node, inputs={port.name: Edge(ITEM, port.name) for port in ports}, title=None, extra=None)
        ends = tuple(NamedOutput(port.name, Edge(step.id, port.name)) for port in spec.outputs)
        template = self._validated(Workflow({step.id: inner}, outputs=ends, graphs=self._graphs), item)
        for problem in template.problems:
            self._problems.add(problem)
        for name, edge in template.outputs.items():
            if edge.node == ITEM:
                text = f"the output '{name}' is a bypassed node inside, which passes on an input"
                hint = "unbypass it, or do not make it an output"
                self.problem("bypass_impossible", text, node=step.id, input=edge.output, hint=hint)
        return template

    # Problems

    def _output(self, id: str, spec: NodeSpec, name: str, role: str) -> OutputSpec | None:
        port = spec.output(name)
        if port is None:
            near = self._problems.nearest(name, [port.name for port in spec.outputs])
            self.problem("unknown_output", f"{spec.type} has no output '{name}', {role}", node=id, nearest=near)
        return port

    def _unknown_input(self, id: str, spec: NodeSpec, name: str, role: str) -> None:
        near = self._problems.nearest(name, spec.by_name)
        self.problem("unknown_input", f"{spec.type} has no input '{name}', {role}", node=id, input=name, nearest=near)

    def problem(self, code: str, message: str, **facts: str | None) -> None:
        """Report a problem."""
        self._problems.add(Problem(code=code, message=message, **facts))


def _made(step: Step, template: Checked, **repetition: Any) -> Step:
    """Return a step that stands for the steps of its template."""
    sinks = any(inner.spec.purity == "sink" for inner in template.steps.values())
    spec = replace(step.spec, purity="sink" if sinks else "pure", device=template.needs_device)
    return Step(step.id, replace(step.type, spec=spec), step.literals, step.edges, **repetition)


def _kind(port: InputSpec | OutputSpec) -> str:
    return f"list of {port.kind}" if port.is_list else port.kind
