"""The inputs of a workflow as command-line flags, bound to the ports that they set."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from latentloom.api import Session
from latentloom.cli.flags import Given
from latentloom.cli.imported import opened_workflow
from latentloom.engine.document.input_texts import port_of, value_of
from latentloom.engine.document.interfaces import node_types, port_at
from latentloom.engine.document.workflow import RESERVED_INPUTS, NamedInput, Target, Workflow
from latentloom.engine.engine import Job
from latentloom.engine.errors import Problem, WorkflowError, brief, nearest
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.spec import InputSpec

_SET = re.compile(r"(?P<node>[^.=]+)\.(?P<input>[^=]+)=(?P<text>.*)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Asked:
    """The request of a command line: a workflow, values for its inputs, and the wanted outputs (None = all)."""

    name: str
    given: Sequence[Given]
    assigned: Sequence[str]
    outputs: Sequence[str] | None

    def prepare(self, session: Session) -> Job:
        """Return a job that can run. Raises LoomError with all problems."""
        registry = session.engine.registry
        workflow = opened_workflow(self.name, registry)
        inputs = bind(workflow, registry, self.given)
        values = assign(workflow, registry, self.assigned)
        return session.engine.prepare(workflow, inputs, values, self.outputs)


def bind(workflow: Workflow, registry: Registry, given: Sequence[Given]) -> dict[str, Any]:
    """Return the values of named inputs. Raises WorkflowError for unknown, repeated or incomplete flags."""
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    for flag in given:
        try:
            name, value = _bound(workflow, registry, flag)
            if name in found:
                raise WorkflowError([Problem(code="duplicate_flag", message=f"--{flag.name} is given twice")])
            found[name] = value
        except WorkflowError as error:
            problems += error.problems
    if problems:
        raise WorkflowError(problems)
    return found


def _bound(workflow: Workflow, registry: Registry, flag: Given) -> tuple[str, Any]:
    named = _named(workflow, flag.name)
    if named is not None:
        port = port_of(workflow, registry, named)
        if flag.text is not None:
            return named.name, value_of(port, flag.text)
        if port is not None and port.kind == "BOOLEAN":
            return named.name, True
        hint = f"write a value that begins with two dashes as --{flag.name}=VALUE"
        raise WorkflowError([Problem(code="missing_value", message=f"--{flag.name} needs a value", hint=hint)])
    off = _named(workflow, flag.name.removeprefix("no-")) if flag.name.startswith("no-") else None
    if off is not None and flag.text is None:
        port = port_of(workflow, registry, off)
        if port is not None and port.kind == "BOOLEAN":
            return off.name, False
    raise WorkflowError([_unknown(workflow, flag.name)])


def named_input(workflow: Workflow, name: str) -> NamedInput:
    """Return a named input by its name, with '-' or '_'. Raises WorkflowError if there is none."""
    found = _named(workflow, name)
    if found is None:
        raise WorkflowError([_unknown(workflow, name)])
    return found


def _unknown(workflow: Workflow, name: str) -> Problem:
    flags = [f"--{item.name}" for item in workflow.inputs]
    return Problem(
        code="unknown_flag",
        message=f"the workflow has no input '{name}', and the command no such flag",
        expected=", ".join(flags) or "none: the workflow has no named inputs",
        nearest=nearest(f"--{name}", [*flags, *(f"--{own}" for own in RESERVED_INPUTS)]),
    )


def _named(workflow: Workflow, name: str) -> NamedInput | None:
    """Return the named input of a flag. '-' and '_' are equal unless two inputs differ only in them."""
    exact = workflow.input(name)
    alike = [item for item in workflow.inputs if item.name.replace("_", "-") == name.replace("_", "-")]
    return exact or (alike[0] if len(alike) == 1 else None)


def _port(workflow: Workflow, registry: Registry, target: Target) -> InputSpec | None:
    return port_at(workflow, node_types(workflow, registry), target)


def assign(workflow: Workflow, registry: Registry, assigned: Sequence[str]) -> dict[Target, Any]:
    """Return the values of --set. Raises WorkflowError for text that is not NODE.INPUT=VALUE."""
    found: dict[Target, Any] = {}
    problems: list[Problem] = []
    for text in assigned:
        match = _SET.match(text)
        if match is None:
            problems.append(
                Problem(code="usage", message="not an assignment", expected="NODE.INPUT=VALUE", got=brief(text))
            )
            continue
        target = Target(match["node"], match["input"])
        if target.node not in workflow.nodes:
            near = nearest(target.node, workflow.nodes)
            problems.append(Problem(code="unknown_node", message=f"there is no node '{target.node}'", nearest=near))
        found[target] = value_of(_port(workflow, registry, target), match["text"])
    if problems:
        raise WorkflowError(problems)
    return found
