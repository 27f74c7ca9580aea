"""Methods for jobs and the queue."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from latentloom.api.client.events import EventMethods
from latentloom.api.client.files import FileMethods
from latentloom.api.client.requests import document, path_of
from latentloom.api.session import Source
from latentloom.api.wire import Cancelled, Job, JobPage, OutputFile, Queue


class JobMethods(FileMethods, EventMethods):
    """The routes for jobs and the queue."""

    async def submit(
        self,
        /,
        workflow: Source | None = None,
        *,
        workflow_name: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        outputs: Collection[str] | None = None,
        priority: int = 0,
        front: bool = False,
        tags: Collection[str] = (),
        webhook: str | None = None,
        idempotency_key: str | None = None,
        wait: float = 0,
        **named: Any,
    ) -> Job:
        """Queue a workflow with its named inputs. A Path is uploaded. A retry never queues it twice.

        An OutputFile of an earlier job is used where it is.
        `workflow_name` is a workflow that is saved on the server, instead of `workflow`.
        With `wait` (0..60 seconds), the job as it is when it has ended, with its files, or as it is after that time.
        Use `inputs` for inputs with the names of parameters of this method. Raises ServerError with all problems,
        UnreachableError.
        """
        body = {
            **await self._order(workflow, workflow_name, {**(inputs or {}), **named}, outputs),
            "priority": priority,
            "front": front,
            "tags": list(tags),
            "webhook": webhook,
        }
        return await self._ask(Job, "POST", path_of("jobs", wait=wait or None), body, key=idempotency_key)

    async def _order(
        self,
        workflow: Source | None,
        workflow_name: str | None,
        inputs: Mapping[str, Any],
        outputs: Collection[str] | None,
    ) -> dict[str, Any]:
        """Return a workflow with values for its named inputs, as the server takes it. Paths are uploaded."""
        return {
            "workflow": None if workflow is None else document(workflow),
            "workflow_name": workflow_name,
            "inputs": {name: await self._input(value) for name, value in inputs.items()},
            "outputs": None if outputs is None else list(outputs),
        }

    async def _input(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [await self._input(item) for item in value]
        if isinstance(value, OutputFile):
            return {"output": {"sha256": value.sha256}}
        return (await self.upload(value)).name if isinstance(value, Path) else value

    async def job(self, id: str) -> Job:
        """Return the current state of a job, with its files. Raises ServerError."""
        return await self._ask(Job, "GET", path_of("jobs", id))

    async def job_workflow(self, id: str) -> dict[str, Any]:
        """Return the resolved document that a job runs. Raises ServerError."""
        return dict(await self.request("GET", path_of("jobs", id, "workflow")))

    async def jobs(
        self,
        *,
        state: str | None = None,
        owner: str | None = None,
        tag: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> JobPage:
        """Return a page of jobs, newest first. `state` may be several, separated by commas. Raises ServerError.

        `before` is the `next` of the previous page.
        """
        query = {"state": state, "owner": owner, "tag": tag, "before": before, "limit": limit}
        return await self._ask(JobPage, "GET", path_of("jobs", **query))

    async def wait(self, id: str) -> Job:
        """Wait until a job has ended ("done", "failed" or "cancelled"). Raises ServerError, UnreachableError."""
        async for _ in self.stream(id):
            pass
        return await self.job(id)

    async def cancel(self, id: str) -> Job:
        """Cancel a job. Raises ServerError."""
        return await self._ask(Job, "POST", path_of("jobs", id, "cancel"))

    async def cancel_all(self) -> list[str]:
        """Cancel all waiting and running jobs, and return their ids. Raises ServerError."""
        return (await self._ask(Cancelled, "POST", "queue/cancel")).cancelled

    async def retry(self, id: str) -> Job:
        """Queue a failed or cancelled job again as a new job, and return that one. Raises ServerError."""
        return await self._ask(Job, "POST", path_of("jobs", id, "retry"))

    async def move(self, id: str, to: Literal["front", "back"] | None = None, *, before: str | None = None) -> Job:
        """Move a waiting job to the front or the back, or before another one. Raises ServerError."""
        return await self._ask(Job, "POST", path_of("jobs", id, "move"), {"to": to, "before": before})

    async def queue(self) -> Queue:
        """Return the number of jobs in each state, and the ids of the next jobs. Raises ServerError."""
        return await self._ask(Queue, "GET", "queue")

    async def pause(self, paused: bool = True) -> Queue:
        """Pause the queue, or resume it. Running jobs continue. Raises ServerError."""
        return await self._ask(Queue, "PATCH", "queue", {"paused": paused})

    async def download(self, job: Job, folder: str | Path) -> list[Path]:
        """Download the files of a job to a folder under their own names, and return their paths.

        Existing files with the same content are not fetched again; others are not replaced. Raises ServerError,
        UnreachableError, DamagedError.
        """
        files = (await self.job(job.id)).files or ()
        return [await self.save(file, Path(folder)) for file in files]
