"""`loom validate`, `loom explain` and `loom run --explain-memory`: describe a run without saving anything."""

from collections.abc import Mapping
from typing import Any

from latentloom.cli.inputs import Asked
from latentloom.cli.session import opened
from latentloom.cli.table import print_lines, print_table, size_text
from latentloom.engine.execution.memory_plan import MemoryNeed


def validate(asked: Asked) -> int:
    """Print that a workflow can run. Raises WorkflowError with all problems."""
    with opened() as session:
        job = asked.prepare(session)
    count = len(job.workflow.nodes)
    warnings = [f"warning: {node}: {text}" for node, text in job.checked.deprecated()]
    print_lines([f"{job.workflow.name or asked.name}: {count} node{'s' * (count != 1)}, no problems", *warnings])
    return 0


def explain(asked: Asked, *, device: str | None, dtype: str | None) -> int:
    """Print for each node whether its result is cached, or what changed. Raises WorkflowError."""
    with opened(device=device, dtype=dtype) as session:
        found = session.engine.explain(asked.prepare(session))
    print_table(("node", "type", "status", "why"), [(e.node, e.type, e.status, e.reason) for e in found])
    return 0


def explain_memory(asked: Asked, settings: Mapping[str, Any]) -> int:
    """Print the placement of the weights of each node's models. Raises WorkflowError."""
    with opened(**settings) as session:
        needs = session.engine.memory_plan(asked.prepare(session))
        pool = session.engine.models.pool
        environment = session.engine.environment
    print_lines([f"{environment.device}, {environment.dtype}, models may take {size_text(pool.budget)}"])
    print_table(
        ("node", "type", "models", "stays", "fetched", "buffers", "in place", "packed"),
        [_memory_row(need) for need in needs],
    )
    return 0


def _memory_row(need: MemoryNeed) -> tuple[str, ...]:
    models = ", ".join(need.models)
    if need.placement is None:
        return (need.node, need.type, models, need.why, "", "", "", "")
    found = need.placement
    sizes = (found.resident_bytes, found.streamed_bytes, found.buffers, found.in_place_bytes)
    packed = f"{size_text(found.packed_bytes)} of {size_text(found.unpacked_bytes)}" if found.packed_bytes else ""
    return (need.node, need.type, models, *map(size_text, sizes), packed)
