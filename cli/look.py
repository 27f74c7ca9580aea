"""`loom validate` and `loom explain`: what would happen, without running anything."""

from latentloom.cli.inputs import Asked
from latentloom.cli.opening import opened
from latentloom.cli.table import print_lines, print_table


def validate(asked: Asked) -> int:
    """Say that a workflow can run. Raises WorkflowError with every problem."""
    with opened() as session:
        job = asked.prepare(session)
    count = len(job.workflow.nodes)
    print_lines([f"{job.workflow.name or asked.name}: {count} node{'s' * (count != 1)}, no problems"])
    return 0


def explain(asked: Asked, *, device: str | None, dtype: str | None) -> int:
    """Print per node whether its result is known, or what changed. Raises WorkflowError."""
    with opened(device=device, dtype=dtype) as session:
        found = session.engine.explain(asked.prepare(session))
    print_table(("node", "type", "status", "why"), [(e.node, e.type, e.status, e.reason) for e in found])
    return 0
