"""The HTTP data models of batches."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from latentloom.api.wire import Answer, Body, Key, OutputFile, Problem, WorkflowOrder
from latentloom.engine.jobs.batches import BatchState, CellState
from latentloom.engine.planning.sweep import Mode


class Axis(Body):
    """A named input and its values."""

    input: str = Field(max_length=200)
    values: list[Any] = Field(min_length=1)


class BatchOrder(WorkflowOrder):
    """Many runs of one workflow: axes, rows, or both, with `inputs` for what does not change."""

    example: ClassVar[Mapping[str, Any]] = {
        "workflow_name": "txt2img",
        "inputs": {"prompt": "a red star"},
        "axes": [{"input": "cfg", "values": [3, 5, 7]}, {"input": "seed", "values": [1, 2]}],
    }

    axes: list[Axis] = Field(default_factory=list, max_length=20, description="Named inputs with several values.")
    mode: Mode = Field("product", description="product: all combinations; zip: the axes go in step.")
    rows: list[dict[str, Any]] | None = Field(
        None,
        description="A run for each row: values by named input. An empty one leaves the input as it is.",
    )
    rows_file: str | None = Field(
        None, max_length=1000, description="A CSV or JSONL file in the input folder instead of `rows`."
    )
    priority: int = Field(0, ge=-100, le=100, description="Higher runs first.")
    idempotency_key: str | None = Key
    tags: list[Annotated[str, Field(max_length=200)]] = Field(
        default_factory=list, max_length=19, description="Tags of the jobs; they also have the tag `batch:ID`."
    )
    webhook: str | None = Field(
        None, max_length=2000, description="URL that receives the batch by POST once, when it has ended."
    )


class Batch(Answer):
    """A batch. `counts` has the number of its cells by state: waiting, open (a job), done, failed, cancelled."""

    id: str
    state: BatchState = Field(description="`failed` if a cell failed, `cancelled` if one was cancelled.")
    name: str
    owner: str
    priority: int
    tags: list[str]
    outputs: list[str] | None
    webhook: str | None
    created: float
    finished: float | None
    total: int = Field(description="Number of its cells.")
    counts: dict[CellState, int]


class BatchPage(Answer):
    """Batches, newest first."""

    batches: list[Batch]
    next: int | None = Field(description="The value of `before` for the next page.")


class BatchCell(Answer):
    """One run of a batch. `place` is its number in the table, from 0."""

    place: int
    inputs: dict[str, Any]
    state: CellState
    job: str | None
    seed: str | None
    seconds: float | None
    files: list[OutputFile]
    error: Problem | None


class BatchTable(Answer):
    """Cells in the order of the table."""

    cells: list[BatchCell]
    next: int | None = Field(description="The value of `after` for the next page.")


class BatchMessage(Answer):
    """The message to a webhook when a batch has ended (Standard Webhooks)."""

    type: str = Field(description="`batch.done`, `batch.failed` or `batch.cancelled`.")
    timestamp: str = Field(description="Time of the end, in RFC 3339 format.")
    data: Batch
