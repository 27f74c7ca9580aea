"""Clients of a server: submit, follow, wait, download. They reconnect by themselves and miss no event."""

import asyncio
import hashlib
import json
import threading
import uuid
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp

from latentloom.api.session import Source
from latentloom.api.wire import Job
from latentloom.api.workflow_files import load_workflow
from latentloom.engine.document.writing import to_json
from latentloom.engine.errors import LoomError, Problem
from latentloom.engine.files.catalog import safe_join
from latentloom.engine.files.partial import partial_path
from latentloom.engine.jobs.states import FINAL

T = TypeVar("T")
DEFAULT_SERVER = "http://localhost:8420"
PAUSES = (0.1, 0.3, 1.0, 2.0, 5.0)  # between attempts to reach a server; the last one again and again
ENDS = tuple(f"job_{state}" for state in FINAL)
_MEDIA = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif"}


class ServerError(LoomError):
    """The server refused; `problems` holds what it said, `status` is HTTP's."""

    code = "server_refused"

    def __init__(self, status: int, message: str, problems: Collection[Problem]) -> None:
        super().__init__(message)
        self.status = status
        self._problems = tuple(problems) or (self.problem,)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The server's own problems."""
        return self._problems


class UnreachableError(LoomError):
    """No server answers at that address."""

    code = "server_unreachable"


class AsyncClient:
    """A client for asyncio: `async with AsyncClient() as client:`."""

    def __init__(self, server: str = DEFAULT_SERVER, *, token: str | None = None, patience: float = 60.0) -> None:
        """`patience` is for how many seconds a server that does not answer is tried again."""
        self._server = server.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._patience = patience
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=aiohttp.ClientTimeout(total=None))
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._session is not None:
            await self._session.close()

    # Jobs

    async def submit(
        self,
        workflow: Source,
        *,
        outputs: Collection[str] | None = None,
        priority: int = 0,
        front: bool = False,
        tags: Collection[str] = (),
        idempotency_key: str | None = None,
        **inputs: Any,
    ) -> Job:
        """Queue a workflow with its named inputs; a Path among them is uploaded. Never queued twice by a retry.

        Raises ServerError with every problem at once, UnreachableError.
        """
        body = {
            "workflow": to_json(load_workflow(workflow)),
            "inputs": {name: await self._input(value) for name, value in inputs.items()},
            "outputs": None if outputs is None else list(outputs),
            "priority": priority,
            "front": front,
            "tags": list(tags),
            "idempotency_key": idempotency_key or uuid.uuid4().hex,
        }
        return Job.model_validate(await self.request("POST", "jobs", body))

    async def job(self, id: str) -> Job:
        """A job as it is now, with its files. Raises ServerError."""
        return Job.model_validate(await self.request("GET", f"jobs/{id}"))

    async def wait(self, id: str) -> Job:
        """A job once it has ended: "done", "failed" or "cancelled". Raises ServerError, UnreachableError."""
        async for _ in self.stream(id):
            pass
        return await self.job(id)

    async def cancel(self, id: str) -> Job:
        """Cancel a job. Raises ServerError."""
        return Job.model_validate(await self.request("POST", f"jobs/{id}/cancel"))

    async def stream(self, id: str, *, after: int = 0, live: bool = False) -> AsyncIterator[dict[str, Any]]:
        """The events of a job, each once, until it has ended. With `live` also steps of progress without a number.

        Raises ServerError, UnreachableError.
        """
        await self.job(id)
        clock, pauses, lost = asyncio.get_running_loop().time, iter(PAUSES), None
        while True:
            try:
                async for page in self._pages(id, after):
                    lost, pauses = None, iter(PAUSES)
                    if live and "live" in page:
                        yield page["live"]
                    for event in page.get("events", ()):
                        yield event
                        if event["event"] in ENDS:
                            return
                    after = page.get("next", after)
            except (aiohttp.ClientConnectionError, aiohttp.WSServerHandshakeError):
                pass
            lost = clock() if lost is None else lost
            if clock() - lost > self._patience:
                raise self._unreachable()
            await asyncio.sleep(next(pauses, PAUSES[-1]))

    async def _pages(self, id: str, after: int) -> AsyncIterator[dict[str, Any]]:
        parameters = {"job": id, "after": str(after)}
        async with self._open.ws_connect(
            f"{self._server}/api/v1/events/socket", params=parameters, heartbeat=20, max_msg_size=64 * 2**20
        ) as socket:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    yield json.loads(message.data)

    async def download(self, job: Job, folder: str | Path) -> list[Path]:
        """The files of a job, under their own names below a folder. What is there already is not fetched again, and a
        file of that name with other content is left alone.

        Raises ServerError, UnreachableError.
        """
        found = []
        for file in (await self.job(job.id)).files or ():
            path = safe_join(Path(folder), file.path)
            if path.exists() and _sha256(path) != file.sha256:
                path = path.with_stem(f"{path.stem}-{file.sha256[:8]}")
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = partial_path(path.parent)
                partial.write_bytes(await self._bytes(f"outputs/{file.sha256}/content"))
                partial.replace(path)
            found.append(path)
        return found

    async def _input(self, value: Any) -> Any:
        if not isinstance(value, Path):
            return value
        media = _MEDIA.get(value.suffix.lower(), "image/png")
        return (await self.request("POST", "files", data=value.read_bytes(), media=media))["name"]

    # HTTP

    async def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, data: bytes = b"", media: str = ""
    ) -> Any:
        """The JSON answer of a route below /api/v1. A server that does not answer yet is tried again.

        Raises ServerError, UnreachableError.
        """
        text = json.dumps(body).encode() if body is not None else data
        headers = {"Content-Type": "application/json" if body is not None else media} if text else {}
        return json.loads(await self._bytes(path, method, text, headers))

    async def _bytes(
        self, path: str, method: str = "GET", data: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> bytes:
        clock, pauses = asyncio.get_running_loop().time, iter(PAUSES)
        begin = clock()
        while True:
            try:
                async with self._open.request(
                    method, f"{self._server}/api/v1/{path}", data=data or None, headers=headers
                ) as response:
                    content = await response.read()
                    if response.status < 400:
                        return content
                    fault = _fault(response.status, content)
                if fault.status != 503 or clock() - begin > self._patience:
                    raise fault
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
                if clock() - begin > self._patience:
                    raise self._unreachable() from None
            await asyncio.sleep(next(pauses, PAUSES[-1]))

    @property
    def _open(self) -> aiohttp.ClientSession:
        assert self._session is not None, "use it in a with-block"
        return self._session

    def _unreachable(self) -> UnreachableError:
        return UnreachableError(f"no server answers at {self._server}", hint="`loom serve` starts one")


def _fault(status: int, content: bytes) -> ServerError:
    try:
        data = json.loads(content)
        problems = [Problem(**problem) for problem in data["problems"]]
        return ServerError(status, data["message"], problems)
    except (ValueError, KeyError, TypeError):
        return ServerError(status, f"the server answered {status}", ())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Client:
    """A client for ordinary code: `with Client() as client:`. The same methods as AsyncClient, blocking."""

    def __init__(self, server: str = DEFAULT_SERVER, *, token: str | None = None, patience: float = 60.0) -> None:
        """See `AsyncClient`."""
        self._client = AsyncClient(server, token=token, patience=patience)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="latentloom-client", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._client.__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        self._do(self._client.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def submit(self, workflow: Source, **options: Any) -> Job:
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

    def stream(self, id: str, *, after: int = 0, live: bool = False) -> Iterator[dict[str, Any]]:
        """See `AsyncClient.stream`."""
        events = self._client.stream(id, after=after, live=live)
        while True:
            event = self._do(_next(events))
            if event is None:
                return
            yield event

    def download(self, job: Job, folder: str | Path) -> list[Path]:
        """See `AsyncClient.download`."""
        return self._do(self._client.download(job, folder))

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """See `AsyncClient.request`."""
        return self._do(self._client.request(method, path, body))


async def _next(events: AsyncIterator[dict[str, Any]]) -> dict[str, Any] | None:
    return await anext(events, None)
