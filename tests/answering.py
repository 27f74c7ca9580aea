"""Servers in the process of a test: one that answers as the test says, and a proxy that notes what is asked."""

import asyncio
import contextlib
import threading

import aiohttp
from aiohttp import web


@contextlib.contextmanager
def answering(handle):
    """An address in this process whose every request is answered by `handle(request)`, and what it was asked."""
    loop, asked, ready = asyncio.new_event_loop(), [], threading.Event()

    async def hear(request):
        asked.append((request.method, request.path, request.headers.get("Idempotency-Key")))
        return await handle(request, len(asked))

    async def begin():
        runner = web.ServerRunner(web.Server(hear), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    runner = loop.run_until_complete(begin())

    def run():
        ready.set()
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.contextmanager
def noting(server):
    """An address that passes every request on to `server`, and the set of (method, path) that it was asked."""
    noted = set()

    async def passed_on(request, n):
        noted.add((request.method, request.path))
        kept = ("Content-Type", "If-Match", "If-None-Match", "Idempotency-Key")
        headers = {name: request.headers[name] for name in kept if name in request.headers}
        data = await request.read()
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, server + request.path_qs, data=data, headers=headers) as response,
        ):
            body = await response.read()
        return web.Response(body=body, status=response.status, content_type=response.content_type)

    with answering(passed_on) as (address, _):
        yield address, noted
