"""`loom run --sweep`, `--rows` and `--grid`: runs a workflow once for each combination of values."""

import csv
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentloom.api import Session
from latentloom.api.contact_sheet import Cell as Shown
from latentloom.api.contact_sheet import cell_of, contact_sheet, is_picture, label_of
from latentloom.cli import report
from latentloom.cli.errors import CANCELLED, FAILED, print_json, show
from latentloom.cli.imported import opened_workflow
from latentloom.cli.inputs import Asked, assign, bind, named_input
from latentloom.cli.progress import Meter
from latentloom.cli.run import Options, run_job
from latentloom.cli.session import opened
from latentloom.cli.table import print_lines
from latentloom.engine.document.input_texts import port_of, value_of
from latentloom.engine.document.resolve import resolve
from latentloom.engine.document.workflow import Workflow
from latentloom.engine.engine import Job
from latentloom.engine.errors import BadValueError, FileError, Problem, WorkflowError, brief
from latentloom.engine.execution.outcome import Outcome
from latentloom.engine.files.tables import read_rows
from latentloom.engine.planning.sweep import MAX_CELLS, combined, rows_of, run_order
from latentloom.engine.types.literals import RANDOM
from latentloom.engine.types.registry import Registry
from latentloom.engine.types.values import Image

_RANGE = re.compile(r"(-?\d{1,15})\.\.(-?\d{1,15})\Z")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: axes `NAME=A,B,...`, a file of rows, and where the sheet goes."""

    axes: Sequence[str]
    rows: Path | None
    grid: Path | None


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a sweep."""

    inputs: Mapping[str, Any]
    job: Job
    outcome: Outcome | None = None

    @property
    def label(self) -> str:
        """The values of this run, as text."""
        return label_of(self.inputs)

    def record(self) -> dict[str, Any]:
        """Return this cell as JSON."""
        assert self.outcome is not None
        whole = report.record(self.job.workflow.name, report.seeds_of(self.job), self.outcome, Meter())
        kept = ("status", "files", "outputs", "seeds", "seconds", "problems")
        return {"inputs": dict(self.inputs), **{name: whole[name] for name in kept}}


@dataclass(frozen=True, slots=True)
class Sweep:
    """The cells, the order in which they run, and the columns of their sheet."""

    cells: Sequence[Cell]
    order: Sequence[int]
    columns: int


def run_sweep(asked: Asked, sweep: Wanted, options: Options, settings: Mapping[str, Any]) -> int:
    """Run all combinations and print their files. A failed one does not stop the others. Return the exit code.

    Raises LoomError before the first run if a value of any combination is wrong.
    """
    with opened(metadata=options.metadata, label=options.label, **settings) as session:
        with redirect_stdout(sys.stderr) if options.json else nullcontext():
            made = _prepared(asked, sweep, session)
            done = _run_all(made, asked, options, session)
        if sweep.grid is not None:
            _write_grid(sweep.grid, done, made.columns, session.engine.registry)
    statuses = {cell.outcome.status for cell in done if cell.outcome is not None}
    code = CANCELLED if "cancelled" in statuses else FAILED if "failed" in statuses else 0
    if options.json:
        sheet = None if sweep.grid is None else str(sweep.grid)
        print_json({"status": _status(code), "cells": [cell.record() for cell in done], "grid": sheet})
    return code


def _status(code: int) -> str:
    return {CANCELLED: "cancelled", FAILED: "failed"}.get(code, "done")


# What is run


def _prepared(asked: Asked, sweep: Wanted, session: Session) -> Sweep:
    """Return all cells, checked. Random seeds are drawn once, for all cells."""
    registry = session.engine.registry
    workflow = opened_workflow(asked.name, registry)
    inputs, values = bind(workflow, registry, asked.given), assign(workflow, registry, asked.assigned)
    axes = [*_rows(sweep.rows, workflow, registry), *(_axis(text, workflow, registry) for text in sweep.axes)]
    chosen = combined(axes, given=inputs)
    drawn = {name: value for name, value in inputs.items() if value == RANDOM}
    fixed = resolve(workflow, registry, drawn, values)
    inputs = {name: value for name, value in inputs.items() if name not in drawn}
    cells = [Cell(cell, session.engine.prepare(fixed, {**inputs, **cell}, None, asked.outputs)) for cell in chosen]
    return Sweep(cells, run_order(chosen, workflow, registry), len(axes[-1]) if axes else 1)


def _axis(text: str, workflow: Workflow, registry: Registry) -> list[Mapping[str, Any]]:
    """Return the axis of one --sweep."""
    name, equals, rest = text.partition("=")
    if not equals or not rest:
        problem = Problem(code="usage", message="not an axis", expected="NAME=A,B,...", got=brief(text))
        raise WorkflowError([problem])
    named = named_input(workflow, name)
    port = port_of(workflow, registry, named)
    texts = [item for part in next(csv.reader([rest], skipinitialspace=True)) for item in _range(part)]
    return [{named.name: value_of(port, item)} for item in texts]


def _range(text: str) -> Iterator[str]:
    """Iterate over the numbers of `1..4`; anything else is one value."""
    match = _RANGE.match(text)
    if match is None:
        yield text
        return
    first, last = int(match[1]), int(match[2])
    if abs(last - first) >= MAX_CELLS:
        got, expected = f"{abs(last - first) + 1:,}", f"at most {MAX_CELLS}"
        raise WorkflowError([Problem(code="too_large", message="too many values", expected=expected, got=got)])
    step = 1 if last >= first else -1
    yield from map(str, range(first, last + step, step))


def _rows(path: Path | None, workflow: Workflow, registry: Registry) -> Iterator[list[Mapping[str, Any]]]:
    """Yield the axis of --rows: columns are named inputs; an empty field leaves the input as it is."""
    if path is None:
        return
    try:
        rows = read_rows(path.read_bytes(), path.name)
    except OSError as error:
        raise FileError(f"'{path}' cannot be read", got=error.strerror) from None
    if not rows:
        raise BadValueError(f"'{path.name}' has no rows")
    yield list(rows_of(rows, workflow, registry, lambda name: named_input(workflow, name)))


# Running


def _run_all(sweep: Sweep, asked: Asked, options: Options, session: Session) -> list[Cell]:
    """Run the cells, those with the same models together. Return those that ran, in the order of the sweep."""
    found: dict[int, Cell] = {}
    cells = sweep.cells
    for n in sweep.order:
        cell, meter = cells[n], Meter()
        outcome = run_job(cell.job, asked.outputs, options, session, meter)
        found[n] = Cell(cell.inputs, cell.job, outcome)
        if not options.json:
            print_lines([f"[{len(found)}/{len(cells)}] {cell.label or cell.job.workflow.name}"])
            print_lines([f"  {line}" for line in report.lines(outcome, meter)])
            if outcome.error is not None:
                show(outcome.error.problems, outcome.status, as_json=False)
        if outcome.status == "cancelled":
            break
    return [found[n] for n in sorted(found)]


# The sheet


def _write_grid(path: Path, cells: Sequence[Cell], columns: int, registry: Registry) -> None:
    """Write the first picture of each cell on one sheet with labels. Raises FileError, BadValueError."""
    shown = [found for cell in cells if (found := _shown(cell)) is not None]
    if not shown:
        raise BadValueError("no run made a picture for the sheet")
    data = contact_sheet(shown, columns if len(shown) == len(cells) else 0, registry)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise FileError(f"'{path}' cannot be written", got=error.strerror) from None


def _shown(cell: Cell) -> Shown | None:
    """Return the first picture of a run for the sheet: an output, or a saved file."""
    if cell.outcome is None:
        return None
    for name, value in cell.outcome.outputs.items():
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, Image):
            return Shown(cell.inputs, Image(first.numpy()[:1]), cell.outcome.origins.get(name))
    return next((cell_of(cell.inputs, Path(file)) for file in cell.outcome.files if is_picture(file)), None)
