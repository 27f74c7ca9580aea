"""How sub-workflows use each other: circles, levels, and how many nodes all uses together are."""

from collections import Counter
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from latentloom.engine.document.workflow import GRAPH, Workflow
from latentloom.engine.errors import Problem

MAX_LEVELS = 32  # levels of sub-workflows inside each other


def nesting_problem(workflow: Workflow, most: int) -> Problem | None:
    """Return why a document's sub-workflows cannot be flattened, or None.

    They use themselves, directly or through others; they nest in more than MAX_LEVELS levels; or the document has more
    than `most` nodes if each use counts with all nodes inside.
    """
    if not workflow.graphs:
        return None
    uses = {name: _uses(graph, workflow.graphs) for name, graph in workflow.graphs.items()}
    try:
        order = list(TopologicalSorter(uses).static_order())
    except CycleError as error:
        circle = list(reversed(error.args[1]))
        shown = " -> ".join([*circle[:12], *(["..."] if len(circle) > 12 else [])])
        text = f"the sub-workflow '{circle[0]}' uses itself"
        return Problem(
            code="recursive_graph",
            message=text,
            got=shown,
            hint="a sub-workflow must not use itself, directly or through others",
        )
    return _levels(order, uses) or _size(workflow, order, uses, most)


def _uses(graph: Workflow, graphs: Mapping[str, Workflow]) -> Counter[str]:
    """Return how often a workflow uses each sub-workflow."""
    names = (node.type.removeprefix(GRAPH) for node in graph.nodes.values() if node.type.startswith(GRAPH))
    return Counter(name for name in names if name in graphs)


def _levels(order: list[str], uses: Mapping[str, Counter[str]]) -> Problem | None:
    levels: dict[str, int] = {}
    for name in order:
        levels[name] = 1 + max((levels[other] for other in uses[name]), default=0)
    most = max(levels.values())
    if most <= MAX_LEVELS:
        return None
    expected, got = f"at most {MAX_LEVELS}", str(most)
    return Problem(code="too_large", message="too many levels of sub-workflows", expected=expected, got=got)


def _size(workflow: Workflow, order: list[str], uses: Mapping[str, Counter[str]], most: int) -> Problem | None:
    sizes: dict[str, int] = {}
    for name in order:
        sizes[name] = len(workflow.graphs[name].nodes) + _inside(uses[name], sizes)
    count = len(workflow.nodes) + _inside(_uses(workflow, workflow.graphs), sizes)
    if count <= most:
        return None
    text = "too many nodes, counting those of each use of a sub-workflow"
    got = f"{count:,}" if count < 10**15 else f"about 10^{len(str(count)) - 1}"
    return Problem(code="too_large", message=text, expected=f"at most {most}", got=got)


def _inside(uses: Counter[str], sizes: Mapping[str, int]) -> int:
    return sum(count * sizes[name] for name, count in uses.items())
