"""Resolves a saved document for a run: migrates nodes to installed versions, sets inputs, draws random seeds."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from latentloom.engine.document.interfaces import node_types, port_at
from latentloom.engine.document.workflow import Node, Target, Workflow
from latentloom.engine.errors import Problem, WorkflowError
from latentloom.engine.types.literals import RANDOM
from latentloom.engine.types.registry import NodeType, Registry


def draw_seed() -> int:
    """Draw a seed from the operating system, 0..2^32-1: torch's CPU generator uses only 32 bits of a seed."""
    return secrets.randbelow(2**32)


def migrate(workflow: Workflow, registry: Registry) -> Workflow:
    """Migrate all nodes to their installed versions if their types can. Raises WorkflowError if a migration fails."""
    problems: list[Problem] = []

    def migrated(scope: Workflow) -> Workflow:
        nodes = {id: _migrated(id, node, registry.nodes.get(node.type), problems) for id, node in scope.nodes.items()}
        return replace(scope, nodes=nodes)

    found = workflow.with_scopes(migrated)
    if problems:
        raise WorkflowError(problems)
    return found


def _migrated(id: str, node: Node, found: NodeType | None, problems: list[Problem]) -> Node:
    if found is None or node.version >= found.spec.version or not found.spec.migrates:
        return node
    try:
        bring = found.definition().migrate
        inputs = bring(dict(node.inputs), node.version) if bring is not None else None
        if not isinstance(inputs, dict):
            raise TypeError(f"migrate returned {type(inputs).__name__}, not a dict")
    except (Exception, SystemExit) as error:  # plugin code may raise anything
        text = f"{node.type} could not be migrated from version {node.version} to {found.spec.version}: {error}"
        problems.append(Problem(code="older_version", message=text, node=id))
        return node
    return replace(node, inputs=inputs, version=found.spec.version)


def resolve(
    workflow: Workflow,
    registry: Registry,
    inputs: Mapping[str, Any] | None = None,
    values: Mapping[Target, Any] | None = None,
    draw: Callable[[], int] = draw_seed,
) -> Workflow:
    """Return the document that runs and is stored: set named inputs, then values by node and input, then draw seeds.

    If one named input sets several seeds to "random", they all get the same number. A seed inside a sub-workflow is
    drawn once, for all of its uses. Raises WorkflowError.
    """
    found = migrate(workflow, registry).with_inputs(inputs or {})
    unknown = [target for target in values or {} if target.node not in found.nodes]
    if unknown:
        raise WorkflowError([_no_node(target.node, found) for target in unknown])
    types = node_types(found, registry)
    return found.with_values(values or {}).with_scopes(lambda scope: _with_seeds(scope, types, draw))


def _no_node(id: str, workflow: Workflow) -> Problem:
    use = id.partition("/")[0]
    inside = "/" in id and use in workflow.nodes
    hint = f"set an input of '{use}': its sub-workflow may be used elsewhere too" if inside else None
    return Problem(code="unknown_node", message=f"there is no node '{id}'", hint=hint)


def _with_seeds(workflow: Workflow, types: Mapping[str, NodeType], draw: Callable[[], int]) -> Workflow:
    drawn: dict[Target, int] = {}
    for named in workflow.inputs:
        targets = [target for target in named.to if _is_random(workflow, types, target)]
        drawn |= dict.fromkeys(targets, draw()) if targets else {}
    for id, node in workflow.nodes.items():
        for name, value in node.inputs.items():
            if value == RANDOM and Target(id, name) not in drawn and _is_random(workflow, types, Target(id, name)):
                drawn[Target(id, name)] = draw()
    return workflow.with_values(drawn) if drawn else workflow


def _is_random(workflow: Workflow, types: Mapping[str, NodeType], target: Target) -> bool:
    node = workflow.nodes.get(target.node)
    if node is None or node.inputs.get(target.input) != RANDOM:
        return False
    port = port_at(workflow, types, target)
    return port is not None and port.seed
