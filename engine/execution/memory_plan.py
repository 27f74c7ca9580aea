"""The memory plan of a run, computed before it starts: for each node, which weights fit on the device."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from latentloom.engine.document.workflow import Edge, edges_in
from latentloom.engine.errors import LoomError
from latentloom.engine.models.placement import Placement
from latentloom.engine.models.store import ModelStore
from latentloom.engine.planning.step import Checked, Step
from latentloom.engine.types.values import Handle

HANDLES = ("MODEL", "CLIP", "CLIP_VISION", "VAE", "CONTROLNET")


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """The models that a node computes with and the placement of their weights; `why` if the placement is unknown."""

    node: str
    type: str
    models: tuple[str, ...]
    placement: Placement | None
    why: str = ""


def memory_plan(checked: Checked, run: Callable[[Checked], Mapping[str, Any]], store: ModelStore) -> list[MemoryNeed]:
    """Return the memory needs of the nodes that use the device, in run order. `run` executes a part of the workflow."""
    reached = checked.graph.upstream(checked.wanted)
    steps = [checked.steps[id] for id in checked.graph.order() if id in reached]
    devices = {step.id for step in steps if step.spec.device}
    edges = {step.id: _edges(step) for step in steps if step.id in devices}
    known = {edge for found in edges.values() for edge in found if not checked.graph.upstream([edge.node]) & devices}
    handles = _handles(checked, known, run)
    return [
        _need(checked.steps[id], [handles.get(edge) for edge in found], store) for id, found in edges.items() if found
    ]


def _edges(step: Step) -> list[Edge]:
    """Return the edges that connect models to a step."""
    ports = [port.name for port in step.spec.inputs if port.kind in HANDLES]
    return [edge for name in ports for edge in edges_in(step.edges.get(name))]


def _handles(
    checked: Checked, edges: set[Edge], run: Callable[[Checked], Mapping[str, Any]]
) -> dict[Edge, Handle | None]:
    names = {f"{edge.node}/{edge.output}": edge for edge in edges}
    if not names:
        return {}
    part = replace(checked, outputs=names, wanted=sorted({edge.node for edge in edges}))
    found = run(part)
    return {edge: found.get(name) for name, edge in names.items()}


def _need(step: Step, handles: list[Any], store: ModelStore) -> MemoryNeed:
    type = step.spec.type
    if not all(isinstance(handle, Handle) for handle in handles):
        return MemoryNeed(step.id, type, (), None, "its model comes from a node that has to run first")
    names = tuple(dict.fromkeys(file.name for handle in handles for file in handle.files))
    try:
        return MemoryNeed(step.id, type, names, store.plan(handles))
    except LoomError as error:
        return MemoryNeed(step.id, type, names, None, error.problem.message)
