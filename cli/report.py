"""The report of a finished run: files, their sizes, literal outputs and the pace; as lines or as one JSON object."""

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from latentloom.cli.errors import plain
from latentloom.cli.progress import Meter, pace
from latentloom.engine.engine import Job
from latentloom.engine.execution.outcome import Outcome
from latentloom.engine.types.spec import NodeSpec

PLAIN_TYPES = (bool, int, float, str, type(None), dict)
_PNG = b"\x89PNG\r\n\x1a\n"


def lines(outcome: Outcome, meter: Meter) -> list[str]:
    """Return the report as lines: path and pixel size of each file, literal outputs, the sampler's pace, the time."""
    found = [_file_line(Path(path)) for path in outcome.files]
    found += [plain(f"{name}: {value}") for name, value in literals(outcome).items()]
    slow = meter.slowest()
    if slow is not None:
        found.append(f"{slow}: {meter.steps(slow)} steps, {pace(meter.seconds(slow))}")
    found.append(f"{outcome.status} in {outcome.seconds:.3g} s")
    return found


def record(name: str, seeds: Mapping[str, int], outcome: Outcome, meter: Meter) -> dict[str, Any]:
    """Return the report as JSON data, with more details. `name` is that of the workflow."""
    return {
        "status": outcome.status,
        "workflow": name,
        "files": [_file_record(Path(path)) for path in outcome.files],
        "outputs": literals(outcome),
        "seeds": dict(seeds),
        "nodes": {id: _node_record(id, outcome, meter) for id in outcome.nodes},
        "seconds": round(outcome.seconds, 6),
        "problems": [problem.record() for problem in outcome.error.problems] if outcome.error else [],
    }


def literals(outcome: Outcome) -> dict[str, Any]:
    """Return the named outputs that are JSON: strings, numbers and lists of them."""
    return {name: value for name, value in outcome.outputs.items() if _literal(value)}


def _literal(value: Any) -> bool:
    return isinstance(value, PLAIN_TYPES) or (
        isinstance(value, list) and all(isinstance(v, PLAIN_TYPES) for v in value)
    )


def seeds_of(job: Job) -> dict[str, int]:
    """Return all seeds of the run by "node.input", including random ones."""
    return seeds((id, step.spec, step.literals) for id, step in job.checked.steps.items())


def seeds(nodes: Iterable[tuple[str, NodeSpec, Mapping[str, Any]]]) -> dict[str, int]:
    """Return the seeds among the values of nodes by "node.input"."""
    return {
        f"{id}.{port.name}": seed
        for id, spec, values in nodes
        for port in spec.inputs
        if port.seed and isinstance(seed := values.get(port.name), int)
    }


def _node_record(id: str, outcome: Outcome, meter: Meter) -> dict[str, Any]:
    node = outcome.nodes[id]
    data = {"type": node.type, "status": node.status, "seconds": round(node.seconds, 6)}
    seconds = meter.seconds(id)
    return data if seconds is None else {**data, "steps": meter.steps(id), "seconds_per_step": round(seconds, 6)}


def _file_record(path: Path) -> dict[str, Any]:
    size = pixel_size(path)
    return {"path": str(path), **({"width": size[0], "height": size[1]} if size else {})}


def _file_line(path: Path) -> str:
    size = pixel_size(path)
    return plain(f"{path}  {size[0]}x{size[1]}" if size else str(path))


def pixel_size(path: Path) -> tuple[int, int] | None:
    """Return width and height from a PNG's first chunk; None for other files. Imports no picture library."""
    try:
        with path.open("rb") as file:
            head = file.read(24)
    except OSError:  # moved meanwhile
        return None
    return struct.unpack(">II", head[16:24]) if head.startswith(_PNG) and len(head) == 24 else None
