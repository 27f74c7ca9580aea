"""The client for programs without asyncio: the methods of AsyncClient, run by an event loop in a thread."""

import asyncio
import functools
import ssl
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from latentloom.api.client.asynchronous import AsyncClient
from latentloom.api.client.requests import DEFAULT_SERVER
from latentloom.api.wire_events import EventRecord

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["Client", P], T]:
    """Return the method of Client that waits for a method of AsyncClient."""

    @functools.wraps(method)
    def call(client: "Client", /, *arguments: P.args, **options: P.kwargs) -> T:
        return client._do(method(client._client, *arguments, **options))

    return call


class Client:
    """A blocking client with the methods of AsyncClient. Close it with `with Client() as client:` or `close`."""

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        token: str | None = None,
        patience: float = 60.0,
        ssl_context: ssl.SSLContext | None = None,
        proxies: bool = False,
    ) -> None:
        """See `AsyncClient`."""
        self._client = AsyncClient(server, token=token, patience=patience, ssl_context=ssl_context, proxies=proxies)
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

    request = _blocking(AsyncClient.request)

    submit = _blocking(AsyncClient.submit)
    job = _blocking(AsyncClient.job)
    job_workflow = _blocking(AsyncClient.job_workflow)
    jobs = _blocking(AsyncClient.jobs)
    wait = _blocking(AsyncClient.wait)
    cancel = _blocking(AsyncClient.cancel)
    cancel_all = _blocking(AsyncClient.cancel_all)
    retry = _blocking(AsyncClient.retry)
    move = _blocking(AsyncClient.move)
    queue = _blocking(AsyncClient.queue)
    pause = _blocking(AsyncClient.pause)
    download = _blocking(AsyncClient.download)
    events = _blocking(AsyncClient.events)

    batch = _blocking(AsyncClient.batch)
    batches = _blocking(AsyncClient.batches)
    show_batch = _blocking(AsyncClient.show_batch)
    wait_batch = _blocking(AsyncClient.wait_batch)
    cancel_batch = _blocking(AsyncClient.cancel_batch)
    retry_batch = _blocking(AsyncClient.retry_batch)
    cells = _blocking(AsyncClient.cells)
    batch_csv = _blocking(AsyncClient.batch_csv)
    batch_sheet = _blocking(AsyncClient.batch_sheet)

    upload = _blocking(AsyncClient.upload)
    files = _blocking(AsyncClient.files)
    file = _blocking(AsyncClient.file)
    remove_file = _blocking(AsyncClient.remove_file)
    read_workflow = _blocking(AsyncClient.read_workflow)
    search = _blocking(AsyncClient.search)
    output = _blocking(AsyncClient.output)
    content = _blocking(AsyncClient.content)
    thumbnail = _blocking(AsyncClient.thumbnail)
    making = _blocking(AsyncClient.making)
    tag_outputs = _blocking(AsyncClient.tag_outputs)
    remove_output = _blocking(AsyncClient.remove_output)
    remove_outputs = _blocking(AsyncClient.remove_outputs)
    fetch = _blocking(AsyncClient.fetch)
    save = _blocking(AsyncClient.save)

    workflows = _blocking(AsyncClient.workflows)
    workflow = _blocking(AsyncClient.workflow)
    versions = _blocking(AsyncClient.versions)
    save_workflow = _blocking(AsyncClient.save_workflow)
    remove_workflow = _blocking(AsyncClient.remove_workflow)
    drafts = _blocking(AsyncClient.drafts)
    draft = _blocking(AsyncClient.draft)
    save_draft = _blocking(AsyncClient.save_draft)
    remove_draft = _blocking(AsyncClient.remove_draft)

    nodes = _blocking(AsyncClient.nodes)
    choices = _blocking(AsyncClient.choices)
    plugins = _blocking(AsyncClient.plugins)
    validate = _blocking(AsyncClient.validate)
    explain = _blocking(AsyncClient.explain)
    compare = _blocking(AsyncClient.compare)

    models = _blocking(AsyncClient.models)
    model_facts = _blocking(AsyncClient.model_facts)
    hash_model = _blocking(AsyncClient.hash_model)
    operation = _blocking(AsyncClient.operation)
    tokenize = _blocking(AsyncClient.tokenize)

    system = _blocking(AsyncClient.system)

    def stream(self, id: str, *, after: int = 0, live: bool = False) -> Iterator[EventRecord]:
        """See `AsyncClient.stream`."""
        events = self._client.stream(id, after=after, live=live)
        try:
            while (event := self._do(_next(events))) is not None:
                yield event
        finally:
            self._do(_closed(events))


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


async def _next(events: AsyncIterator[EventRecord]) -> EventRecord | None:
    return await anext(events, None)


async def _closed(events: AsyncGenerator[EventRecord, None]) -> None:
    await events.aclose()
