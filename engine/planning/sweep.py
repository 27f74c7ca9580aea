"""Sweeps: a workflow with many values for its named inputs. Reads rows, combines axes, checks and orders the cells."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any, Literal

from latentloom.engine.document.flatten import flatten
from latentloom.engine.document.input_texts import port_of, value_of
from latentloom.engine.document.interfaces import spec_of_node
from latentloom.engine.document.workflow import NamedInput, Target, Workflow, edges_in
from latentloom.engine.errors import LoomError, Problem, Problems, WorkflowError, brief
from latentloom.engine.planning.graph import Graph
from latentloom.engine.planning.step import Files
from latentloom.engine.planning.validate import choices_of
from latentloom.engine.types.literals import RANDOM, LiteralError, coerce
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.spec import FILE_KINDS, InputSpec

MAX_CELLS = 100_000
Cell = Mapping[str, Any]
"""Values of named inputs for one run."""

Mode = Literal["product", "zip"]


def rows_of(
    rows: Iterable[Mapping[str, Any]], workflow: Workflow, registry: Registry, named: Callable[[str], NamedInput]
) -> list[Cell]:
    """Return the cells of a table's rows. Columns are named inputs; an empty field leaves the input as it is.

    `named` returns the input that a column means, or raises WorkflowError.
    """
    rows = list(rows)
    columns = {name: named(name) for name in dict.fromkeys(name for row in rows for name in row)}
    ports = {name: port_of(workflow, registry, column) for name, column in columns.items()}
    return [
        {
            columns[name].name: value_of(ports[name], value) if isinstance(value, str) else value
            for name, value in row.items()
            if value not in ("", None)
        }
        for row in rows
    ]


def combined(axes: Sequence[Sequence[Cell]], mode: Mode = "product", given: Iterable[str] = ()) -> list[Cell]:
    """Return the cells of some axes: each value of one with each of the others, the last one fastest; or in step.

    `given` are the inputs that have a value already. Raises WorkflowError for more than MAX_CELLS, axes of different
    lengths in step, and inputs that get values from two places.
    """
    _check_names(axes, given)
    lengths = [len(axis) for axis in axes]
    if mode == "zip" and len(set(lengths)) > 1:
        text = "axes in step have different lengths"
        raise _refused("bad_value", text, "one length", ", ".join(map(str, lengths)))
    count = lengths[0] if mode == "zip" and lengths else math.prod(lengths)
    if count > MAX_CELLS:
        raise _refused("too_large", "too many runs", f"at most {MAX_CELLS}", f"{count:,}")
    chosen = zip(*axes, strict=True) if mode == "zip" else product(*axes)
    return [{name: value for part in parts for name, value in part.items()} for parts in chosen]


def _check_names(axes: Sequence[Sequence[Cell]], given: Iterable[str]) -> None:
    names = [*given, *(name for axis in axes for name in dict.fromkeys(name for cell in axis for name in cell))]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        text = f"the input '{doubled[0]}' gets values from two places"
        raise WorkflowError([Problem(code="duplicate_input", message=text, input=doubled[0])])


def _refused(code: str, message: str, expected: str, got: str) -> WorkflowError:
    return WorkflowError([Problem(code=code, message=message, expected=expected, got=got)])


def check_cells(cells: Iterable[Cell], workflow: Workflow, registry: Registry, files: Files) -> None:
    """Check each value of each named input once. Raises WorkflowError for unknown inputs and values out of bounds."""
    targets = _Targets(workflow, registry)
    problems, seen = Problems(), set[tuple[str, str]]()
    for name, value in ((name, value) for cell in cells for name, value in cell.items()):
        key = (name, repr(value))
        if key not in seen:
            seen.add(key)
            problem = targets.problem(name, value, registry, files)
            if problem is not None:
                problems.add(problem)
    if problems:
        raise WorkflowError(problems.told())


def run_order(cells: Sequence[Cell], workflow: Workflow, registry: Registry) -> list[int]:
    """Return the places of the cells in the order in which they should run.

    Inputs that choose a model change least often, then those on which most nodes depend, so that models are switched
    least and work that cells share is done for all of them in a row.
    """
    targets = _Targets(workflow, registry)
    names = list(dict.fromkeys(name for cell in cells for name in cell))
    names.sort(key=targets.weight, reverse=True)
    places: dict[str, dict[str, int]] = {name: {} for name in names}
    keys = [[places[name].setdefault(repr(cell.get(name)), len(places[name])) for name in names] for cell in cells]
    return sorted(range(len(cells)), key=keys.__getitem__)


class _Targets:
    """The inputs of nodes that the named inputs of a workflow set."""

    def __init__(self, workflow: Workflow, registry: Registry) -> None:
        flat = flatten(workflow, registry)
        self._workflow = workflow
        self._flat = flat
        self._to = {item.name: item.to for item in flat.inputs}
        needs = {
            id: [edge.node for value in node.inputs.values() for edge in edges_in(value) if edge.node in flat.nodes]
            for id, node in flat.nodes.items()
        }
        self._graph = Graph(needs)

    def ports(self, name: str) -> list[InputSpec]:
        return [port for target in self._to.get(name, ()) if (port := self._port(target)) is not None]

    def _port(self, target: Target) -> InputSpec | None:
        node, found = self._flat.nodes.get(target.node), self._flat.types.get(target.node)
        return spec_of_node(found.spec, node).by_name.get(target.input) if node and found else None

    def weight(self, name: str) -> tuple[bool, int]:
        """Return whether an input chooses a model, and how many nodes depend on it."""
        nodes = {target.node for target in self._to.get(name, ()) if target.node in self._flat.nodes}
        return any(port.kind == "MODEL_FILE" for port in self.ports(name)), len(self._graph.downstream(nodes))

    def problem(self, name: str, value: Any, registry: Registry, files: Files) -> Problem | None:
        if name not in self._to:
            try:
                self._workflow.with_inputs({name: value})
            except WorkflowError as error:
                return error.problems[0]
        for port in self.ports(name):
            try:
                _accept(port, value, registry, files)
            except LiteralError as error:
                return error.at(None, name)
            except LoomError as error:
                return Problem(**{**error.problem.record(), "input": name})
        return None


def _accept(port: InputSpec, value: Any, registry: Registry, files: Files) -> None:
    """Raise LiteralError or a LoomError if a port does not take a value."""
    if (value is None and port.optional) or (port.seed and value == RANDOM):
        return
    if port.is_list != isinstance(value, list) and port.kind not in ("ANY", "JSON"):
        expected = f"a list of {port.kind}" if port.is_list else port.kind
        raise LiteralError(code="wrong_type", message="wrong type", expected=expected, got=brief(value))
    for item in value if port.is_list and isinstance(value, list) else [value]:
        found = coerce(port, item, choices_of(port, registry))
        if port.kind in FILE_KINDS and found is not None:
            files.check(port.source or "input", found, alike=True)
