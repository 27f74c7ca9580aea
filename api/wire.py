"""The HTTP data models, which the server validates and documents and clients can use."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from latentloom.engine.jobs.states import State

Key = Field(
    None,
    min_length=1,
    max_length=200,
    description="A repeated request with the same key returns the first one's job or batch.",
)

DOCUMENT = {
    "format": "latentloom/1",
    "name": "Grey",
    "nodes": {"grey": {"type": "ColourImage", "version": 1, "inputs": {"width": 64, "height": 64}}},
    "outputs": [{"name": "image", "from": {"node": "grey", "output": "image"}}],
}
"""A small workflow, for examples."""


class Body(BaseModel):
    """Base of request bodies: unknown fields and values of the wrong type are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    example: ClassVar[Mapping[str, Any]] = {}
    """An example for the description of the API."""


class Answer(BaseModel):
    """Base of answers: newer servers may add fields."""

    model_config = ConfigDict(frozen=True)


class Problem(Answer):
    """One problem: what is wrong, where, and how to fix it."""

    code: str
    message: str
    node: str | None = None
    input: str | None = None
    expected: str | None = None
    got: str | None = None
    nearest: str | None = None
    hint: str | None = None


class Failure(Answer):
    """The body of every error response."""

    code: str
    message: str
    problems: list[Problem]


class OutputReference(Body):
    """A file or a value that an earlier job has made. As the value of an input: {"output": this}."""

    job: str | None = Field(None, max_length=64, description="Id of a job that is done, together with `name`.")
    name: str | None = Field(None, max_length=200, description="A named output of that job.")
    item: int | None = Field(
        None,
        ge=0,
        description="Which file of the output, from 0 (default); which element of a list.",
    )
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="A saved file by its content instead.")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        by_job, by_hash = (self.job, self.name, self.item), self.sha256
        if (
            (self.job is None) != (self.name is None)
            or (self.job is None) == (by_hash is None)
            or (by_hash is not None and any(part is not None for part in by_job))
        ):
            raise ValueError("either `job` and `name`, or `sha256`")
        return self


class WorkflowOrder(Body):
    """A workflow, by document or by name, and values for its named inputs."""

    example: ClassVar[Mapping[str, Any]] = {"workflow_name": "txt2img", "inputs": {"prompt": "a red star", "seed": 7}}

    workflow: dict[str, Any] | None = Field(None, description="A document in the format latentloom/1.")
    workflow_name: str | None = Field(None, max_length=200, description="A saved or shipped workflow instead.")
    inputs: dict[str, Any] = Field(
        default_factory=dict,
        description="Values of named inputs. A picture is the name of a stored file, or "
        '{"base64": ...}. A picture, number or text may be an output of an earlier job: '
        '{"output": {"job": ID, "name": NAME, "item": 0}} or {"output": {"sha256": HEX}}.',
    )
    outputs: list[str] | None = Field(
        None, max_length=1000, description="Compute only these named outputs; default: all."
    )


class JobOrder(WorkflowOrder):
    """A job to be queued."""

    example: ClassVar[Mapping[str, Any]] = {**WorkflowOrder.example, "tags": ["stars"]}

    priority: int = Field(0, ge=-100, le=100, description="Higher runs first.")
    front: bool = Field(False, description="Queue the job before all waiting jobs of the same priority.")
    idempotency_key: str | None = Key
    tags: list[Annotated[str, Field(max_length=200)]] = Field(
        default_factory=list, max_length=20, description="Tags to find the job and its files by."
    )
    webhook: str | None = Field(
        None,
        max_length=2000,
        description="URL that receives the job by POST when it ends; see `webhook_hosts`.",
    )


class OutputFile(Answer):
    """A saved file. Its content is at outputs/{sha256}/content, a small WebP at outputs/{sha256}/thumbnail."""

    id: int
    sha256: str
    path: str = Field(description="Path in the server's output folder.")
    job: str
    node: str
    item: int
    workflow: str
    media: str
    bytes: int
    width: int | None
    height: int | None
    created: float
    texts: str = Field(description="Prompts and other texts used to make it.")
    models: list[str]
    seed: str | None
    tags: list[str]
    outputs: list[str] = Field(
        default_factory=list, description="The named outputs of the workflow that it belongs to; empty if none."
    )


class Job(Answer):
    """A job. `attempt` increases with every attempt of any job; times are seconds since 1970."""

    id: str
    state: State
    name: str
    priority: int
    owner: str
    tags: list[str]
    device: bool
    retry_of: str | None
    webhook: str | None
    created: float
    started: float | None
    finished: float | None
    attempt: int
    deaths: int = Field(description="Number of workers that died while running it.")
    outputs: list[str] | None
    result: dict[str, Any] = Field(
        description="After the end: the outputs that JSON can represent, and a report for each node. Omitted in lists."
    )
    problems: list[Problem]
    files: list[OutputFile] | None = Field(None, description="Its saved files; only if a single job is requested.")

    def files_of(self, output: str) -> list[OutputFile]:
        """Return the saved files of a named output, in the order in which they were saved."""
        return [file for file in self.files or () if output in file.outputs]


class WebhookMessage(Answer):
    """The message to a webhook when a job has ended (Standard Webhooks)."""

    type: str = Field(description="`job.done`, `job.failed` or `job.cancelled`.")
    timestamp: str = Field(description="Time of the end, in RFC 3339 format.")
    data: Job


class JobPage(Answer):
    """Jobs, newest first."""

    jobs: list[Job]
    next: int | None = Field(description="Pass it as `before` to get the next page.")


class Queue(Answer):
    """The queue: the number of jobs in each state, and the next jobs."""

    paused: bool
    counts: dict[str, int]
    waiting: list[str] = Field(description="Ids of the next jobs, in the order in which they will run.")


class QueueChange(Body):
    """Whether the queue is paused: no new jobs start."""

    example: ClassVar[Mapping[str, Any]] = {"paused": True}

    paused: bool


class Move(Body):
    """The new position of a queued job: `to` or `before`."""

    example: ClassVar[Mapping[str, Any]] = {"to": "front"}

    to: Literal["front", "back"] | None = None
    before: str | None = Field(None, max_length=64, description="Id of another queued job.")


class Cancelled(Answer):
    """The jobs that were cancelled, or are being cancelled."""

    cancelled: list[str]


class EventPage(Answer):
    """Events with their numbers, oldest first."""

    events: list[dict[str, Any]]
    next: int = Field(description="Pass it as `after` to get the following events.")
    stream: str = Field(
        description="Stream of these numbers. Pass it as `stream` to get an error if the numbers are no longer valid."
    )


class WorkflowInfo(Answer):
    """A workflow on the server. Version 0 ships with Latentloom."""

    name: str
    version: int
    saved: float | None
    block: bool = Field(False, description="A shipped part of other workflows, whose inputs need edges.")


class WorkflowList(Answer):
    """Workflows, or versions of one."""

    workflows: list[WorkflowInfo]


class Document(Body):
    """A workflow document."""

    example: ClassVar[Mapping[str, Any]] = {"workflow": DOCUMENT}

    workflow: dict[str, Any]


class SavedWorkflow(WorkflowInfo):
    """A version of a workflow."""

    workflow: dict[str, Any]


class DraftInfo(Answer):
    """An unfinished document saved by an editor."""

    id: str
    name: str
    revision: int
    saved: float


class SavedDraft(DraftInfo):
    """A draft with its document, which need not be a valid workflow."""

    workflow: dict[str, Any]


class DraftList(Answer):
    """Drafts, newest first."""

    drafts: list[DraftInfo]


class OutputPage(Answer):
    """Saved files, newest first."""

    outputs: list[OutputFile]
    next: int | None = Field(description="Pass it as `before` to get the next page.")


class Making(Answer):
    """The workflow and the record stored in a picture."""

    workflow: dict[str, Any]
    record: dict[str, Any]


class Imported(Answer):
    """The workflow in a file, and the report of its importer; null for Latentloom's own files."""

    workflow: dict[str, Any]
    report: Any = None


class StoredFile(Answer):
    """A picture in the input folder; workflows refer to it by `name`."""

    name: str
    sha256: str
    bytes: int
    width: int
    height: int


class FileList(Answer):
    """The pictures that workflows can use."""

    files: list[str]


class Worker(Answer):
    """A worker: "starting", "idle" or "busy". `job` is null, too, if the job is not for the caller to see."""

    name: str
    device: bool
    state: str
    job: str | None
    pid: int | None
    memory: int
    starts: int
    environment: dict[str, str]


class System(Answer):
    """The server itself."""

    version: str
    owner: str = Field("", description="The owner of what the caller creates.")
    role: str = Field("", description="The role of the caller's token: admin, user or viewer.")
    workers: list[Worker]
    queue: dict[str, int]
    paused: bool
    ready: bool = Field(description="Whether jobs are accepted: false until the built-in nodes were inspected.")
    inspecting: list[str] = Field(description="Plugins that are inspected now; jobs that need them are refused.")
    memory: int
    disk_free: int
    event: int = Field(description="Number of the newest event.")
    stream: str = Field(description="Stream of that number.")


class Health(Answer):
    """Whether the server works."""

    status: Literal["ok", "failing"]
    checks: dict[str, bool]
    warnings: list[str] = Field(
        description="Known faults of the software that the server runs on, and plugins that are not inspected yet."
    )


class Operation(Answer):
    """Work that continues after the response. It is forgotten when the server stops."""

    id: str
    kind: str
    about: dict[str, Any] = Field(description="Parameters of the operation.")
    state: Literal["running", "done", "failed"]
    done: int = Field(description="Progress out of `total`; both are 0 until the total is known.")
    total: int
    result: dict[str, Any] | None = Field(description="The result; null until it is done.")
    problems: list[Problem]


class Login(Body):
    """A token, exchanged for a cookie."""

    example: ClassVar[Mapping[str, Any]] = {"token": "SECRET"}

    token: str = Field(max_length=500)


class Empty(Answer):
    """An empty object."""
