"""The result of a run. Notebooks show its pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentloom.api.notebook import Pictures, result_html
from latentloom.engine.document.workflow import Workflow
from latentloom.engine.engine import Job
from latentloom.engine.execution.outcome import NodeReport, Outcome
from latentloom.engine.types.values import Image


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a run."""

    outputs: dict[str, Any]
    files: list[Path]
    nodes: dict[str, NodeReport]
    seconds: float
    workflow: Workflow

    def __getitem__(self, name: str) -> Any:
        return self.outputs[name]

    @property
    def pictures(self) -> Pictures:
        """All pictures in the outputs, as PIL images."""
        values = [item for value in self.outputs.values() for item in (value if isinstance(value, list) else [value])]
        return Pictures(picture for value in values if isinstance(value, Image) for picture in value.pictures())

    def _repr_html_(self) -> str:
        """Return pictures, outputs and files for a notebook."""
        return result_html(self.pictures, self.outputs, self.files, self.seconds)


def result_of(outcome: Outcome, job: Job) -> Result:
    """Return the result of a run. Raises the error of the node that failed, or Cancelled."""
    if outcome.error is not None:
        raise outcome.error
    files = [Path(file) for file in outcome.files]
    return Result(outcome.outputs, files, outcome.nodes, outcome.seconds, job.workflow)
