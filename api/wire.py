"""The HTTP data models, which the server validates and documents and clients can use."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from latentloom.engine.jobs.states import State

Key = Field(None, min_length=1, max_length=200, description="The same key and request again give the same job.")


class Body(BaseModel):
    """Base of request bodies: unknown fields are an error, and so is a value of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Answer(BaseModel):
    """Base of answers: newer servers may add fields."""

    model_config = ConfigDict(frozen=True)


class Problem(Answer):
    """One fault: what, where, and what to do."""

    code: str
    message: str
    node: str | None = None
    input: str | None = None
    expected: str | None = None
    got: str | None = None
    nearest: str | None = None
    hint: str | None = None


class Failure(Answer):
    """The body of every answer that is not a success."""

    code: str
    message: str
    problems: list[Problem]


class WorkflowOrder(Body):
    """A workflow, by document or by name, and values for its named inputs."""

    workflow: dict[str, Any] | None = Field(None, description="A document in the format latentloom/1.")
    workflow_name: str | None = Field(None, max_length=200, description="A saved or shipped workflow instead.")
    inputs: dict[str, Any] = Field(
        default_factory=dict, description='Named inputs. A picture is a stored file\'s name, or {"base64": ...}.'
    )
    outputs: list[str] | None = Field(None, max_length=1000, description="Only these named outputs; default all.")


class JobOrder(WorkflowOrder):
    """A job to be queued."""

    priority: int = Field(0, ge=-100, le=100, description="Higher goes first.")
    front: bool = Field(False, description="Before all that wait with the same priority.")
    idempotency_key: str | None = Key
    tags: list[Annotated[str, Field(max_length=200)]] = Field(
        default_factory=list, max_length=20, description="Words to find the job and its files by."
    )
    webhook: str | None = Field(
        None,
        max_length=2000,
        description="An address that gets the job by POST when it has ended; see `webhook_hosts`.",
    )


class OutputFile(Answer):
    """A saved file. Its content is at outputs/{sha256}/content, a small WebP at outputs/{sha256}/thumbnail."""

    id: int
    sha256: str
    path: str = Field(description="Below the server's output folder.")
    job: str
    node: str
    item: int
    workflow: str
    media: str
    bytes: int
    width: int | None
    height: int | None
    created: float
    texts: str = Field(description="The prompts and other texts that went into it.")
    models: list[str]
    seed: str | None
    tags: list[str]


class Job(Answer):
    """A job. `attempt` counts up with every try, over all jobs; times are seconds since 1970."""

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
    deaths: int = Field(description="Workers that died over it.")
    outputs: list[str] | None
    result: dict[str, Any] = Field(
        description="When it ended: outputs that JSON can hold, and a report per node. Left out of lists."
    )
    problems: list[Problem]
    files: list[OutputFile] | None = Field(None, description="Its saved files; only where one job is asked for.")


class WebhookMessage(Answer):
    """What an address is told when a job has ended: a Standard Webhook."""

    type: str = Field(description="`job.done`, `job.failed` or `job.cancelled`.")
    timestamp: str = Field(description="When the job ended, as in RFC 3339.")
    data: Job


class JobPage(Answer):
    """Jobs, the newest first."""

    jobs: list[Job]
    next: int | None = Field(description="Pass as `before` for the following page.")


class Queue(Answer):
    """The queue: how many jobs are in each state, and who is next."""

    paused: bool
    counts: dict[str, int]
    waiting: list[str] = Field(description="The ids of the next jobs, in the order in which they will be claimed.")


class QueueChange(Body):
    """Whether jobs are handed out."""

    paused: bool


class Move(Body):
    """Where a queued job goes: one of the two."""

    to: Literal["front", "back"] | None = None
    before: str | None = Field(None, max_length=64, description="The id of another queued job.")


class Cancelled(Answer):
    """The jobs that were cancelled, or are being cancelled."""

    cancelled: list[str]


class EventPage(Answer):
    """Events with their numbers, oldest first."""

    events: list[dict[str, Any]]
    next: int = Field(description="Pass as `after` for what comes next.")
    stream: str = Field(description="Whose numbers these are: pass as `stream` to be told when they no longer hold.")


class WorkflowInfo(Answer):
    """A workflow on the server. Version 0 ships with Latentloom."""

    name: str
    version: int
    saved: float | None


class WorkflowList(Answer):
    """Workflows, or versions of one."""

    workflows: list[WorkflowInfo]


class Document(Body):
    """A workflow document."""

    workflow: dict[str, Any]


class SavedWorkflow(WorkflowInfo):
    """A version of a workflow."""

    workflow: dict[str, Any]


class DraftInfo(Answer):
    """An unfinished document, as an editor left it."""

    id: str
    name: str
    revision: int
    saved: float


class SavedDraft(DraftInfo):
    """A draft with its document, which need not be a valid workflow."""

    workflow: dict[str, Any]


class DraftList(Answer):
    """Drafts, the newest first."""

    drafts: list[DraftInfo]


class OutputPage(Answer):
    """Saved files, the newest first."""

    outputs: list[OutputFile]
    next: int | None = Field(description="Pass as `before` for the following page.")


class Making(Answer):
    """The workflow that a picture carries, and the record of its making."""

    workflow: dict[str, Any]
    record: dict[str, Any]


class Imported(Answer):
    """The workflow in a file, and what its importer has to say; nothing for files of our own."""

    workflow: dict[str, Any]
    report: Any = None


class StoredFile(Answer):
    """A picture in the input folder; `name` may stand in a workflow."""

    name: str
    sha256: str
    bytes: int
    width: int
    height: int


class FileList(Answer):
    """The pictures that workflows may name."""

    files: list[str]


class Worker(Answer):
    """A worker: "starting", "idle" or "busy"."""

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
    workers: list[Worker]
    queue: dict[str, int]
    paused: bool
    ready: bool = Field(description="False while plugins are being looked at for the first time.")
    memory: int
    disk_free: int
    event: int = Field(description="The number of the newest event.")
    stream: str = Field(description="Whose number that is.")


class Health(Answer):
    """Whether the server does its work."""

    status: Literal["ok", "failing"]
    checks: dict[str, bool]
    warnings: list[str] = Field(description="What works now and may not for ever: known faults of what it runs on.")


class Operation(Answer):
    """Work that goes on after its request was answered. It is forgotten when the server ends."""

    id: str
    kind: str
    about: dict[str, Any] = Field(description="What it was begun with.")
    state: Literal["running", "done", "failed"]
    done: int = Field(description="Of `total`, as far as it is known; 0 of 0 before that.")
    total: int
    result: dict[str, Any] | None = Field(description="Once it is done.")
    problems: list[Problem]


class Login(Body):
    """A secret, in exchange for a cookie."""

    token: str = Field(max_length=500)


class Empty(Answer):
    """Nothing more to say."""
