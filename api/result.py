"""The result of a run. Notebooks show its pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentloom.engine.document.workflow import Workflow
from latentloom.engine.engine import Job
from latentloom.engine.execution.outcome import NodeReport, Outcome
from latentloom.engine.types.values import Image

if TYPE_CHECKING:
    from PIL import Image as Pil


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
    def pictures(self) -> "list[Pil.Image]":
        """All pictures in the outputs, as PIL images."""
        from PIL import Image as Pil

        from latentloom.engine.files.pictures import to_bytes

        images = [value for value in self.outputs.values() if isinstance(value, Image)]
        return [Pil.fromarray(to_bytes(pixels)) for image in images for pixels in image.numpy()]


def result_of(outcome: Outcome, job: Job) -> Result:
    """Return the result of a run. Raises the error of the node that failed, or Cancelled."""
    if outcome.error is not None:
        raise outcome.error
    files = [Path(file) for file in outcome.files]
    return Result(outcome.outputs, files, outcome.nodes, outcome.seconds, job.workflow)
