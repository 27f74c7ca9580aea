"""Clients of a server: submit, follow, wait, download. They reconnect automatically and miss no event."""

import asyncio
import contextlib
import hashlib
import json
import ssl
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode

import aiohttp

from latentloom.api.connection import (
    AddressError,
    Connection,
    DamagedError,
    ServerError,
    UnreachableError,
)
from latentloom.api.session import Source
from latentloom.api.wire import Job, JobPage, OutputFile, OutputPage, Queue, SavedWorkflow
from latentloom.api.workflow_files import load_workflow
from latentloom.engine.document.writing import to_json
from latentloom.engine.files.catalog import safe_join
from latentloom.engine.jobs.states import FINAL

__all__ = ["AddressError", "AsyncClient", "Client", "DamagedError", "ServerError", "UnreachableError"]

T = TypeVar("T")
DEFAULT_SERVER = "http://localhost:8420"
ENDS = tuple(f"job_{state}" for state in FINAL)
POLL_SECONDS = 20
_MEDIA = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif"}
_RESET = 410  # the server's event stream does not contain this position


class AsyncClient:
    """A client for asyncio. Close it with `async with AsyncClient() as client:` or `close`."""

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        token: str | None = None,
        patience: float = 60.0,
        ssl_context: ssl.SSLContext | None = None,
        proxies: bool = False,
    ) -> None:
        """`patience` is how long, in seconds, requests are retried if the server does not answer. Use `ssl_context` for
        your own certificate authority. With `proxies`, HTTPS_PROXY and NO_PROXY are used.

        Raises AddressError.
        """
        self._connection = Connection(server, token, patience, context=ssl_context, proxies=proxies)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. The next call opens a new one."""
        await self._connection.close()

    # Jobs

    async def submit(
        self,
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

        `workflow_name` is a workflow that is saved on the server, instead of `workflow`.
        With `wait` (0..60 seconds), the job as it is when it has ended, with its files, or as it is after that time.
        Use `inputs` for inputs with the names of parameters of this method. Raises ServerError with all problems,
        UnreachableError.
        """
        given = {**(inputs or {}), **named}
        body = {
            "workflow": None if workflow is None else to_json(load_workflow(workflow)),
            "workflow_name": workflow_name,
            "inputs": {name: await self._input(value) for name, value in given.items()},
            "outputs": None if outputs is None else list(outputs),
            "priority": priority,
            "front": front,
            "tags": list(tags),
            "webhook": webhook,
        }
        data, path = json.dumps(body).encode(), f"jobs?wait={wait}" if wait else "jobs"
        return Job.model_validate(await self._connection.json("POST", path, data, key=idempotency_key))

    async def job(self, id: str) -> Job:
        """Return the current state of a job, with its files. Raises ServerError."""
        return Job.model_validate(await self.request("GET", f"jobs/{id}"))

    async def wait(self, id: str) -> Job:
        """Wait until a job has ended ("done", "failed" or "cancelled"). Raises ServerError, UnreachableError."""
        async for _ in self.stream(id):
            pass
        return await self.job(id)

    async def cancel(self, id: str) -> Job:
        """Cancel a job. Raises ServerError."""
        return Job.model_validate(await self.request("POST", f"jobs/{id}/cancel"))

    async def retry(self, id: str) -> Job:
        """Queue a failed or cancelled job again as a new job, and return that one. Raises ServerError."""
        return Job.model_validate(await self.request("POST", f"jobs/{id}/retry"))

    async def pause(self, paused: bool = True) -> Queue:
        """Pause the queue, or resume it. Running jobs continue. Raises ServerError."""
        return Queue.model_validate(await self.request("PATCH", "queue", {"paused": paused}))

    async def jobs(self, **conditions: str | int) -> JobPage:
        """Return a page of jobs, newest first, by the parameters of GET jobs (state, tag, ...). Raises ServerError."""
        return JobPage.model_validate(await self.request("GET", f"jobs?{urlencode(conditions)}"))

    async def search(self, **conditions: str | int) -> OutputPage:
        """Return a page of saved files, newest first, by the parameters of GET outputs (q, model, seed, tag, ...).

        Raises ServerError.
        """
        return OutputPage.model_validate(await self.request("GET", f"outputs?{urlencode(conditions)}"))

    async def stream(self, id: str, *, after: int = 0, live: bool = False) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the events of a job, each once, until it has ended. With `live`, also progress without a number.

        If the server's event stream was replaced, because its queue was removed or restored, the events start again
        from the first. Raises ServerError, UnreachableError.
        """
        place = _Place(id, after)
        patience = self._connection.patience()
        while True:
            ended = (await self.job(id)).state in FINAL
            pages = self._polled(place, 0) if ended else self._pages(place)
            try:
                async with contextlib.aclosing(pages):
                    async for page in pages:
                        patience.renew()
                        if live and "live" in page:
                            yield page["live"]
                        for event in page.get("events", ()):
                            yield event
                            if event["event"] in ENDS:
                                return
                        place.move(page)
                if ended and not place.reset:
                    return  # `after` is beyond its end
            except aiohttp.ClientConnectionError:
                pass
            if not place.started_over():
                await patience.pause()

    async def _pages(self, place: "_Place") -> AsyncGenerator[dict[str, Any], None]:
        """Yield pages over a WebSocket, or by long polling if WebSockets are refused, for instance by a proxy."""
        if not place.polls:
            try:
                async with self._connection.socket("events/socket", place.parameters()) as socket:
                    async for message in socket:
                        if message.type is aiohttp.WSMsgType.TEXT:
                            yield json.loads(message.data)
                return
            except aiohttp.WSServerHandshakeError:
                place.polls = True
        async with contextlib.aclosing(self._polled(place, POLL_SECONDS)) as pages:
            async for page in pages:
                yield page

    async def _polled(self, place: "_Place", seconds: int) -> AsyncGenerator[dict[str, Any], None]:
        """Yield pages by polling: until one is empty if `seconds` is 0, otherwise endlessly."""
        while True:
            query = "&".join(f"{name}={value}" for name, value in place.parameters().items())
            try:
                page = await self.request("GET", f"events?{query}&wait={seconds}")
            except ServerError as error:
                if error.status != _RESET:
                    raise
                yield {"reset": {}}
                return
            yield page
            if not page["events"] and not seconds:
                return

    async def download(self, job: Job, folder: str | Path) -> list[Path]:
        """Download the files of a job to a folder under their own names, and return their paths.

        Existing files with the same content are not fetched again; others are not replaced. Raises ServerError,
        UnreachableError, DamagedError.
        """
        found = []
        for file in (await self.job(job.id)).files or ():
            path = safe_join(Path(folder), file.path)
            if path.exists() and await asyncio.to_thread(_sha256, path) != file.sha256:
                path = path.with_stem(f"{path.stem}-{file.sha256[:8]}")
            if not path.exists():
                await self.fetch(file, path)
            found.append(path)
        return found

    async def fetch(self, file: OutputFile, path: Path) -> None:
        """Download a file, which appears at `path` when it is complete. Raises ServerError, DamagedError."""
        await self._connection.fetch(f"outputs/{file.sha256}/content", path, file.sha256)

    async def _input(self, value: Any) -> Any:
        if not isinstance(value, Path):
            return value
        media = _MEDIA.get(value.suffix.lower(), "image/png")
        return (await self._connection.send_file("files", value, media))["name"]

    async def workflow(self, name: str, version: int | None = None) -> SavedWorkflow:
        """Return a saved or shipped workflow, the newest version unless one is named. Raises ServerError."""
        query = "" if version is None else f"?version={version}"
        return SavedWorkflow.model_validate(await self.request("GET", f"workflows/{quote(name, safe='')}{query}"))

    async def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, data: bytes = b"", media: str = ""
    ) -> Any:
        """Request a route in /api/v1 and return the JSON answer. Retried if the server does not answer.

        Raises ServerError, UnreachableError.
        """
        text = json.dumps(body).encode() if body is not None else data
        return await self._connection.json(method, path, text, "application/json" if body is not None else media)


class _Place:
    """A reader's position in the events of a job."""

    def __init__(self, job: str, after: int) -> None:
        self._job = job
        self._after = after
        self._stream = ""
        self.polls = False  # whether WebSockets are refused
        self.reset = False

    def parameters(self) -> dict[str, str]:
        """Return the query parameters for this position."""
        found = {"job": self._job, "after": str(self._after)}
        return {**found, "stream": self._stream} if self._stream else found

    def move(self, page: Mapping[str, Any]) -> None:
        """Move to the end of a page, or to the start of another stream after a reset."""
        if "reset" in page:
            self._after, self._stream, self.reset = 0, "", True
        self._after, self._stream = page.get("next", self._after), page.get("stream", self._stream)

    def started_over(self) -> bool:
        """Whether a reset occurred since the last call."""
        found, self.reset = self.reset, False
        return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Client:
    """A blocking client with the methods of AsyncClient. Close it with `with Client() as client:` or `close`."""

    def __init__(self, server: str = DEFAULT_SERVER, **options: Any) -> None:
        """See `AsyncClient`."""
        self._client = AsyncClient(server, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections. The next call opens a new one."""
        with self._starting:
            loop, self._loop = self._loop, None
        if loop is not None:
            self._at_exit.detach()
            asyncio.run_coroutine_threadsafe(self._client.close(), loop).result()
            loop.call_soon_threadsafe(loop.stop)

    def _running(self) -> asyncio.AbstractEventLoop:
        """Return the event loop. Its thread starts with the first call."""
        with self._starting:
            if self._loop is None:
                self._loop = loop = asyncio.new_event_loop()
                threading.Thread(target=_run, args=(loop,), name="latentloom-client", daemon=True).start()
                self._at_exit = weakref.finalize(self, _stop, loop, self._client)
            return self._loop

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._running())
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def submit(self, workflow: Source | None = None, **options: Any) -> Job:
        """See `AsyncClient.submit`."""
        return self._do(self._client.submit(workflow, **options))

    def job(self, id: str) -> Job:
        """See `AsyncClient.job`."""
        return self._do(self._client.job(id))

    def wait(self, id: str) -> Job:
        """See `AsyncClient.wait`."""
        return self._do(self._client.wait(id))

    def cancel(self, id: str) -> Job:
        """See `AsyncClient.cancel`."""
        return self._do(self._client.cancel(id))

    def retry(self, id: str) -> Job:
        """See `AsyncClient.retry`."""
        return self._do(self._client.retry(id))

    def pause(self, paused: bool = True) -> Queue:
        """See `AsyncClient.pause`."""
        return self._do(self._client.pause(paused))

    def jobs(self, **conditions: str | int) -> JobPage:
        """See `AsyncClient.jobs`."""
        return self._do(self._client.jobs(**conditions))

    def search(self, **conditions: str | int) -> OutputPage:
        """See `AsyncClient.search`."""
        return self._do(self._client.search(**conditions))

    def stream(self, id: str, *, after: int = 0, live: bool = False) -> Iterator[dict[str, Any]]:
        """See `AsyncClient.stream`."""
        events = self._client.stream(id, after=after, live=live)
        try:
            while (event := self._do(_next(events))) is not None:
                yield event
        finally:
            self._do(_closed(events))

    def download(self, job: Job, folder: str | Path) -> list[Path]:
        """See `AsyncClient.download`."""
        return self._do(self._client.download(job, folder))

    def workflow(self, name: str, version: int | None = None) -> SavedWorkflow:
        """See `AsyncClient.workflow`."""
        return self._do(self._client.workflow(name, version))

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """See `AsyncClient.request`."""
        return self._do(self._client.request(method, path, body))


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def _stop(loop: asyncio.AbstractEventLoop, client: AsyncClient) -> None:
    """Close a client that is no longer referenced, or at the end of the program."""
    if loop.is_running():
        closing = asyncio.run_coroutine_threadsafe(client.close(), loop)
        closing.add_done_callback(lambda _: loop.call_soon_threadsafe(loop.stop))


async def _next(events: AsyncIterator[dict[str, Any]]) -> dict[str, Any] | None:
    return await anext(events, None)


async def _closed(events: AsyncGenerator[dict[str, Any], None]) -> None:
    await events.aclose()
