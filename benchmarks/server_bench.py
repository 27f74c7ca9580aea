"""The server's figures: start, memory, small cached jobs, and a thousand jobs with a hundred clients.

python benchmarks/server_bench.py [--jobs 400]
"""

import argparse
import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

PLANT = Path(__file__).parents[1] / "tests" / "web" / "plant"  # has a node that listens to nobody
LOOM = [sys.executable, "-c", "import sys; from latentloom.cli.main import main; sys.exit(main())"]
SMALL = {
    "format": "latentloom/1",
    "name": "small",
    "nodes": {
        "a": {"type": "Text", "version": 1, "inputs": {"text": "a"}},
        "b": {"type": "Text", "version": 1, "inputs": {"text": "b"}},
        "c": {"type": "JoinText", "version": 1, "inputs": {"texts": [{"node": n, "output": "value"} for n in "ab"]}},
    },
    "outputs": [{"name": "text", "from": {"node": "c", "output": "value"}}],
}

STUBBORN = {
    "format": "latentloom/1",
    "name": "stubborn",
    "nodes": {"s": {"type": "plant/Stubborn", "version": 1, "inputs": {}}},
    "outputs": [{"name": "s", "from": {"node": "s", "output": "value"}}],
}


def environment(home: str) -> dict[str, str]:
    """What a process of the home sees."""
    return {**os.environ, "LATENTLOOM_HOME": home, "PYTHONPATH": str(PLANT)}


def saving(name: str) -> dict[str, Any]:
    """Load a picture and save it."""
    return {
        "format": "latentloom/1",
        "name": "saving",
        "nodes": {
            "load": {"type": "LoadImage", "version": 1, "inputs": {"image": name}},
            "save": {"type": "SaveImage", "version": 1, "inputs": {"images": {"node": "load", "output": "image"}}},
        },
    }


class Serving:
    """A server of its own, and a client of it."""

    def __init__(self, home: str) -> None:
        self.begin = time.perf_counter()
        self.process = subprocess.Popen(
            [*LOOM, "serve", "--port", "0"],
            env=environment(home),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1].replace("localhost", "127.0.0.1") + "/api/v1/"

    def memory(self) -> float:
        """Resident MiB of the server process."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


class Done:
    """Follows all events and tells when jobs are done, and when each event arrived."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._done: set[str] = set()
        self.lags: list[float] = []
        self.ready = asyncio.Event()

    async def follow(self) -> None:
        """Run until cancelled."""
        async with self._session.ws_connect(f"{self._url}events/socket") as socket:
            self.ready.set()
            async for message in socket:
                now = time.time()
                for event in json.loads(message.data).get("events", ()):
                    self.lags.append(now - event["time"])
                    if event["event"] in ("job_done", "job_failed", "job_cancelled"):
                        self._done.add(event["job"])
                        if event["job"] in self._waiting:
                            self._waiting.pop(event["job"]).set_result(None)

    async def wait(self, job: str) -> None:
        """Until that job is done."""
        if job not in self._done:
            self._waiting[job] = asyncio.get_running_loop().create_future()
            await self._waiting[job]


async def submit(session: aiohttp.ClientSession, url: str, workflow: dict[str, Any]) -> str:
    """Queue a job; its id."""
    while True:
        async with session.post(f"{url}jobs", json={"workflow": workflow}) as response:
            if response.status == 503:
                await asyncio.sleep(0.05)
                continue
            assert response.status == 201, await response.text()
            return str((await response.json())["id"])


async def timed(act: Callable[[], Awaitable[Any]], times: int) -> list[float]:
    """Milliseconds of each of so many calls, one after another."""
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        await act()
        found.append((time.perf_counter() - begin) * 1000)
    return found


def p(values: list[float], part: float) -> float:
    """A percentile."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


async def small_jobs(
    session: aiohttp.ClientSession, url: str, done: Done, workflow: dict[str, Any], jobs: int
) -> tuple[float, float]:
    """p50 in milliseconds of one client, and jobs per second of eight."""

    async def one() -> None:
        await done.wait(await submit(session, url, workflow))

    await timed(one, 20)
    alone = await timed(one, jobs // 4)
    begin = time.perf_counter()
    await asyncio.gather(*(timed(one, jobs // 8) for _ in range(8)))
    return statistics.median(alone), jobs // 8 * 8 / (time.perf_counter() - begin)


async def events_of(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[dict[str, Any]]:
    """Stored events and steps of the moment, as they come."""
    async for message in socket:
        page = json.loads(message.data)
        for event in (*page.get("events", ()), *([page["live"]] if "live" in page else [])):
            yield event


async def cancels(session: aiohttp.ClientSession, url: str, times: int = 40) -> list[tuple[str, str, str]]:
    """From the cancel of a picture under way to the end of its job, beside what a step takes."""
    waits, paces = [], []
    for seed in range(times):
        order = {"workflow_name": "txt2img", "inputs": {"steps": 1000, "seed": 10_000 + seed}}
        async with session.post(f"{url}jobs", json=order) as response:
            id = (await response.json())["id"]
        steps: list[tuple[int, float]] = []
        async with session.ws_connect(f"{url}events/socket?job={id}") as socket:
            async for event in events_of(socket):
                if event["event"] == "node_progress" and len(steps) < 4:
                    steps.append((event["step"], time.perf_counter()))
                    if len(steps) == 4:
                        begin = time.perf_counter()
                        async with session.post(f"{url}jobs/{id}/cancel"):
                            pass
                if event["event"] == "job_cancelled":
                    waits.append((time.perf_counter() - begin) * 1000)
                    break
        paces.append((steps[3][1] - steps[0][1]) / (steps[3][0] - steps[0][0]) * 1000)
    found = f"{p(waits, 0.5):.0f} and {p(waits, 0.99):.0f} ms"
    return [("cancel to the job's end, p50 and p99", found, f"one step: {statistics.median(paces):.0f} ms")]


async def ignored(session: aiohttp.ClientSession, url: str) -> list[tuple[str, str, str]]:
    """From the cancel of a node that does not listen to the end of its job, and to a new worker."""

    async def until(path: str, good: Callable[[dict[str, Any]], bool]) -> float:
        while True:
            async with session.get(url + path) as response:
                if good(await response.json()):
                    return time.perf_counter()
            await asyncio.sleep(0.01)

    job = await submit(session, url, STUBBORN)
    await until(f"jobs/{job}", lambda found: found["state"] == "running")
    begin = time.perf_counter()
    async with session.post(f"{url}jobs/{job}/cancel"):
        pass
    ended = await until(f"jobs/{job}", lambda found: found["state"] == "cancelled") - begin
    again = await until("system", lambda found: all(w["state"] == "idle" for w in found["workers"])) - begin
    found = f"{ended:.1f} s; {again:.1f} s"
    return [("cancel of a node that ignores it to the job's end; to a new worker", found, "10 s")]


async def tokenizing(session: aiohttp.ClientSession, url: str) -> list[tuple[str, str, str]]:
    """A prompt of sixty words that grows while somebody types, on a worker that has warmed up."""
    typed = itertools.count(1)

    async def one() -> None:
        body = {"text": f"a ({'small red circle ' * 20}:1.2) {next(typed)}", "name": "shapes"}
        async with session.post(f"{url}tokenize", json=body) as response:
            assert response.status == 200, await response.text()

    await one()
    found = await timed(one, 200)
    return [("tokens of a prompt, p50 and p99", f"{p(found, 0.5):.1f} and {p(found, 0.99):.1f} ms", "")]


async def crowd(session: aiohttp.ClientSession, serving: Serving, done: Done) -> list[tuple[str, str, str]]:
    """A thousand waiting jobs, ninety clients that follow, ten that never read."""
    url, before = serving.url, serving.memory()
    async with session.patch(f"{url}queue", json={"paused": True}):
        pass
    sockets = [await session.ws_connect(f"{url}events/socket") for _ in range(100)]
    for deaf in sockets[:10]:
        deaf._response.connection.transport.pause_reading()  # type: ignore[union-attr]
    readers = [asyncio.create_task(_drain(socket)) for socket in sockets[10:]]
    done.lags.clear()
    submits = await timed(lambda: submit(session, url, SMALL), 1000)
    lags = list(done.lags)

    async def listing() -> None:
        async with session.get(f"{url}jobs?limit=100") as response:
            await response.read()

    lists = await timed(listing, 100)
    grown = serving.memory() - before
    for reader in readers:
        reader.cancel()
    async with session.post(f"{url}queue/cancel"):
        pass
    async with session.patch(f"{url}queue", json={"paused": False}):
        pass
    return [
        ("submit p99, 1,000 waiting, 100 clients", f"{p(submits, 0.99):.1f} ms", "50 ms"),
        ("list of 100 p99", f"{p(lists, 0.99):.1f} ms", "50 ms"),
        ("server memory grew by", f"{grown:.0f} MiB", "50 MB"),
        ("event lag p99, 10 clients never read", f"{p(lags, 0.99) * 1000:.0f} ms", "250 ms"),
    ]


async def _drain(socket: aiohttp.ClientWebSocketResponse) -> None:
    async for _ in socket:
        pass


async def measure(home: str, jobs: int) -> list[tuple[str, str, str]]:
    """Every row: what, measured, aim."""
    subprocess.run([*LOOM, "nodes"], env=environment(home), stdout=subprocess.DEVNULL, check=True)
    serving = Serving(home)
    try:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            first = await submit(session, serving.url, SMALL)
            started = time.perf_counter() - serving.begin
            done = Done(session, serving.url)
            following = asyncio.create_task(done.follow())
            await done.ready.wait()
            await submit(session, serving.url, SMALL)
            await asyncio.sleep(8)
            idle = serving.memory()
            assert first
            p50, rate = await small_jobs(session, serving.url, done, SMALL, jobs)
            async with session.post(f"{serving.url}files", data=_picture(), headers=_PNG) as response:
                name = (await response.json())["name"]
            save50, save_rate = await small_jobs(session, serving.url, done, saving(name), jobs // 4)
            others = [*await cancels(session, serving.url), *await tokenizing(session, serving.url)]
            others += await ignored(session, serving.url)
            many = await crowd(session, serving, done)
            following.cancel()
    finally:
        serving.stop()
    return [
        ("start to the first accepted job", f"{started:.2f} s", "1.5 s"),
        ("idle server process", f"{idle:.0f} MiB", "120 MB"),
        ("cached small workflow, submit to done, p50", f"{p50:.1f} ms", "20 ms"),
        ("the same, 8 clients", f"{rate:.0f} jobs/s", "200"),
        ("with one 128x128 SaveImage, p50", f"{save50:.1f} ms", "60 ms"),
        ("the same, 8 clients", f"{save_rate:.0f} jobs/s", "20"),
        *others,
        *many,
    ]


_PNG = {"Content-Type": "image/png"}


def _picture() -> bytes:
    import io

    import numpy as np
    from PIL import Image

    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(out, "PNG")
    return out.getvalue()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=400)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        for row in asyncio.run(measure(home, given.jobs)):
            print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
