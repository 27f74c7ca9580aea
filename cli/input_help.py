"""The section of `--help` about the inputs of a workflow."""

import json

from latentloom.api.workflow_files import import_workflow
from latentloom.cli.input_values import bounds, metavar
from latentloom.cli.session import opened
from latentloom.engine.document.input_texts import port_of
from latentloom.engine.document.workflow import Edge, NamedInput, Workflow
from latentloom.engine.planning.validate import CHOICE_SOURCES
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.spec import InputSpec


def describe(name: str) -> tuple[str, list[tuple[str, str]]]:
    """Return a title, and the flag and the allowed values of each named input. Raises LoomError."""
    with opened() as session:
        registry = session.engine.registry
        workflow = import_workflow(name, registry).workflow
        rows = [_row(workflow, registry, named) for named in workflow.inputs]
    return f"Inputs of {workflow.name or name}", rows


def _row(workflow: Workflow, registry: Registry, named: NamedInput) -> tuple[str, str]:
    port = port_of(workflow, registry, named)
    if port is None:
        return f"--{named.name}", "is connected to a node that is not installed"
    facts = [port.help, _choices(port, registry), bounds(port), _default(workflow, named, port)]
    return f"--{named.name} {metavar(port)}", "; ".join(fact for fact in facts if fact).replace(".;", ";")


def _choices(port: InputSpec, registry: Registry) -> str:
    if port.kind != "CHOICE" or metavar(port) != "CHOICE":
        return ""
    names = port.choices or registry.extensions(CHOICE_SOURCES.get(port.source or "", port.source or ""))
    return f"one of {', '.join(names)}"


def _default(workflow: Workflow, named: NamedInput, port: InputSpec) -> str:
    value = port.default
    for target in named.to:
        node = workflow.nodes.get(target.node)
        if node is not None and target.input in node.inputs:
            value = node.inputs[target.input]
    if type(value) is Edge or (value is None and port.required):
        return "" if type(value) is Edge else "needed"
    return f"default {value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)}"
