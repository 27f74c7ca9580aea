"""What `--comfy` adds to a cached job: the same workflow by ComfyUI's protocol and by our API, in interleaved pairs.

python benchmarks/comfy_bench.py [--pairs 200]

A job's time is from the request to the message that it has ended. Both clients follow by a socket that is open before.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import aiohttp
from server_bench import Done, Serving, submit

from latentloom.plugins.comfyui.importing import import_graph

CLIENT = "bench"


def graph() -> dict[str, object]:
    """Return a graph of seven nodes that saves a picture."""

    def node(kind: str, **inputs: object) -> dict[str, object]:
        return {"class_type": kind, "inputs": inputs}

    return {
        "1": node("EmptyImage", width=128, height=128, batch_size=1, color=0xFF8000),
        **{str(n): node("ImageInvert", image=[str(n - 1), 0]) for n in range(2, 7)},
        "7": node("SaveImage", images=["6", 0], filename_prefix="bench"),
    }


async def theirs(session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse, root: str) -> float:
    """Return the milliseconds of a job by ComfyUI's protocol."""
    begin = time.perf_counter()
    async with session.post(f"{root}/prompt", json={"prompt": graph(), "client_id": CLIENT}) as response:
        id = (await response.json())["prompt_id"]
    while True:
        message = json.loads((await socket.receive()).data)
        if message["type"] == "executing" and message["data"] == {"node": None, "prompt_id": id}:
            return (time.perf_counter() - begin) * 1000


async def ours(session: aiohttp.ClientSession, done: Done, url: str, document: dict[str, object]) -> float:
    """Return the milliseconds of the same job by our API."""
    begin = time.perf_counter()
    await done.wait(await submit(session, url, document))
    return (time.perf_counter() - begin) * 1000


async def measure(home: str, pairs: int) -> tuple[list[float], list[float]]:
    """Return the times of both."""
    Path(home).mkdir(exist_ok=True)
    serving = Serving(home)
    root = serving.url.removesuffix("/api/v1/")
    document, _ = import_graph(graph())
    try:
        async with aiohttp.ClientSession() as session:
            done = Done(session, serving.url)
            following = asyncio.create_task(done.follow())
            await done.ready.wait()
            async with session.ws_connect(f"{root}/ws?clientId={CLIENT}") as socket:
                for _ in range(5):
                    await ours(session, done, serving.url, document)
                    await theirs(session, socket, root)
                one, two = [], []
                for _ in range(pairs):
                    one.append(await ours(session, done, serving.url, document))
                    two.append(await theirs(session, socket, root))
            following.cancel()
    finally:
        serving.stop()
    return one, two


def main() -> None:
    """Print the medians, and the median of the ratios of the pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=200)
    given = parser.parse_args()
    os.environ["LATENTLOOM_COMFY"] = "true"
    with tempfile.TemporaryDirectory() as home:
        one, two = asyncio.run(measure(home, given.pairs))
    ratio = statistics.median(second / first for first, second in zip(one, two, strict=True))
    print(f"| our API, p50 | {statistics.median(one):.1f} ms |")
    print(f"| ComfyUI's protocol, p50 | {statistics.median(two):.1f} ms |")
    print(f"| median ratio of {given.pairs} pairs | {ratio:.3f} |")


if __name__ == "__main__":
    main()
