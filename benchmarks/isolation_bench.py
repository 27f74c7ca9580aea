"""Calls of an isolated plugin's node: trivial calls per second, and what a tensor of 64 MB costs in and out.

python benchmarks/isolation_bench.py [--calls 2000] [--megabytes 64] [--pairs 10]
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from latentloom.engine import Context, Latent
from latentloom.engine.types.registry import Ref
from latentloom.plugins.isolation.calls import CONTEXT, Home, Isolated, Limits, process_of

CODE = '''
import time
from typing import NamedTuple
from latentloom.engine import Latent, node

class Timed(NamedTuple):
    latent: Latent
    seconds: float

@node("One")
def one(a: int) -> int:
    """One more."""
    return a + 1

@node("Half")
def half(latent: Latent) -> Timed:
    """Half of it, and the seconds of the node itself."""
    begin = time.perf_counter()
    made = Latent(latent.numpy() * 0.5)
    return Timed(made, time.perf_counter() - begin)
'''


def isolated(home: Home, name: str) -> Callable[..., Any]:
    what = Isolated(home, f"bench/{name}", f"isolation_bench_plugin:{name}", (), False, False, False, False)
    return Ref(what.target()).load()  # type: ignore[no-any-return]


def context() -> Context:
    return Context(node="n", services=None, emit=lambda event: None, cancelled=threading.Event())  # type: ignore[arg-type]


def seconds_of(call: Callable[..., Any], calls: int, **given: Any) -> float:
    call(a=0, **given)
    begin = time.perf_counter()
    for n in range(calls):
        assert call(a=n, **given) == n + 1
    return (time.perf_counter() - begin) / calls


def beyond(call: Callable[..., Any], latent: Latent) -> float:
    """Return the seconds of a call beyond the node's own."""
    begin = time.perf_counter()
    made, own = call(latent=latent, **{CONTEXT: context()})
    whole = time.perf_counter() - begin
    assert made.shape == latent.shape
    return float(whole - own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "isolation_bench_plugin.py").write_text(CODE)
        sys.path.insert(0, folder)
        home = Home("bench", "", (), Limits())
        apart = seconds_of(isolated(home, "one"), given.calls, **{CONTEXT: context()})
        here = seconds_of(Ref("isolation_bench_plugin:one").load(), given.calls)
        print(f"trivial calls: {1 / apart:,.0f}/s isolated, {1 / here:,.0f}/s here: {apart / here:,.0f} times the time")
        shape = (1, 4, 512, given.megabytes * 2**20 // (4 * 4 * 512))
        latent = Latent(np.random.default_rng(0).random(shape, np.float32))
        half = isolated(home, "half")
        beyond(half, latent)
        times = [beyond(half, latent) * 1000 for _ in range(given.pairs)]
        copies = []
        for _ in range(given.pairs):
            begin = time.perf_counter()
            latent.numpy().copy()
            copies.append((time.perf_counter() - begin) * 1000)
        median, copy = statistics.median(times), statistics.median(copies)
        print(
            f"{given.megabytes} MB in and out: {median:.1f} ms beyond the node's own time "
            f"({min(times):.1f}..{max(times):.1f}), {median / copy:.1f} times one copy of it ({copy:.1f} ms)"
        )
        process_of(home).end()


if __name__ == "__main__":
    main()
