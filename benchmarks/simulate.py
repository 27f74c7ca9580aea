"""Simulated clusters: the server's `route` against first in, first out.

    python benchmarks/simulate.py [--gpus 10 100 1000] [--jobs 15000] [--loads 0.5 0.7 0.85]

Jobs arrive at random (Poisson); each wants one of 300 models of 2 to 17 GB, whose popularity follows Zipf's law. A GPU
holds 24 GB of models, and evicts the least recently used ones; a load takes 1 s and 1 s for each 2.5 GB. A load of 0.7
means that the GPUs would be busy 70 % of the time if no model ever had to be loaded.

Prints a Markdown table: the share of jobs that load a model, the waits until a job is given to a GPU, the GPU seconds
per job that loading takes, and the time of a call of `route`. Only the last one depends on this machine.
"""

import argparse
import bisect
import heapq
import itertools
import random
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from statistics import quantiles

from latentloom.engine.jobs.routing import DEFAULT, QueuedJob, RoutedWorker, route

SIZES = (2.1e9, 2.1e9, 6.9e9, 6.9e9, 12e9, 17e9)  # bytes of the weights
BUDGET, BANDWIDTH = 24e9, 2.5e9  # bytes of a GPU, bytes per second
MODELS = 300
SPREAD, MEAN = (0.8, 1.6), 1.2  # factors of the seconds of a run


def load_seconds(nbytes: float) -> float:
    """Return the seconds of a load."""
    return 1.0 + nbytes / BANDWIDTH


def run_seconds(nbytes: float) -> float:
    """Return the usual seconds of a job: 1.2 s for a model of 2.1 GB, 3.1 s for 6.9 GB, 7.2 s for 17 GB."""
    return 0.35 + 0.4 * nbytes / 1e9


@dataclass(slots=True)
class Gpu:
    """A simulated GPU with the models that it holds, the least recently used one first."""

    name: str
    held: "OrderedDict[str, float]" = field(default_factory=OrderedDict)
    ends: float = 0.0  # when it will probably be idle
    models: frozenset[str] = frozenset()

    def load(self, model: str, nbytes: float) -> float:
        """Hold a model and return the seconds of its load, 0 if it is there."""
        if model in self.held:
            self.held.move_to_end(model)
            return 0.0
        while self.held and sum(self.held.values()) + nbytes > BUDGET:
            self.held.popitem(last=False)
        self.held[model] = nbytes
        self.models = frozenset(self.held)
        return load_seconds(nbytes)

    def seen(self, now: float) -> RoutedWorker:
        """Return the GPU as the router sees it."""
        left = self.ends - now
        return RoutedWorker(self.name, self.models, True, int(BUDGET - sum(self.held.values())), max(left, 0.0))


class Cluster:
    """A run of one policy."""

    def __init__(self, gpus: int, seed: int) -> None:
        self._random = random.Random(seed)
        self.sizes = {f"model-{n}": self._random.choice(SIZES) for n in range(MODELS)}
        self._popularity = list(itertools.accumulate(1 / (n + 1) for n in range(MODELS)))
        self._gpus = {f"gpu-{n}": Gpu(f"gpu-{n}") for n in range(gpus)}
        self._idle = dict.fromkeys(self._gpus)
        self._waiting: dict[str, tuple[float, str]] = {}  # job -> (arrival, model)
        self._passed: dict[str, int] = {}
        self._ends: list[tuple[float, str]] = []
        self.waits: list[float] = []
        self.loads: list[float] = []
        self.calls: list[float] = []

    def run(self, jobs: int, load: float, *, fifo: bool) -> None:
        """Simulate a number of jobs."""
        names = list(self.sizes)
        weights = [b - a for a, b in itertools.pairwise([0.0, *self._popularity])]
        total = sum(w * MEAN * run_seconds(self.sizes[n]) for w, n in zip(weights, names, strict=True))
        rate = len(self._gpus) * load / (total / self._popularity[-1])
        at, arrivals = 0.0, []
        for n in range(jobs):
            at += self._random.expovariate(rate)
            model = names[bisect.bisect(self._popularity, self._random.random() * self._popularity[-1])]
            arrivals.append((at, f"job-{n}", model))
        pending = iter(arrivals)
        coming = next(pending, None)
        while coming or self._ends:
            if coming and (not self._ends or coming[0] <= self._ends[0][0]):
                now = coming[0]
                self._waiting[coming[1]] = coming[0], coming[2]
                coming = next(pending, None)
            else:
                now, name = heapq.heappop(self._ends)
                self._idle[name] = None
            while self._waiting and self._idle and (self._first(now) if fifo else self._route(now)):
                pass

    def _first(self, now: float) -> bool:
        self._start(now, next(iter(self._waiting)), next(iter(self._idle)))
        return True

    def _route(self, now: float) -> bool:
        """Start what `route` says. Returns whether it may say more."""
        head = itertools.islice(self._waiting.items(), DEFAULT.window)
        jobs = [self._queued(id, model) for id, (_, model) in head]
        idle = [self._gpus[name].seen(now) for name in self._idle]
        busy = [gpu.seen(now) for name, gpu in self._gpus.items() if name not in self._idle]
        begin = time.process_time()
        found = route(jobs, idle, busy, lambda model: load_seconds(self.sizes[model]))
        self.calls.append(time.process_time() - begin)
        self._passed.update(found.passed)
        for start in found.starts:
            self._start(now, start.job, start.worker)
        return bool(found.starts)

    def _queued(self, id: str, model: str) -> QueuedJob:
        seconds = MEAN * run_seconds(self.sizes[model])
        return QueuedJob(id, frozenset([model]), seconds=seconds, passed=self._passed.get(id, 0))

    def _start(self, now: float, id: str, name: str) -> None:
        gpu, (arrival, model) = self._gpus[name], self._waiting.pop(id)
        self._passed.pop(id, None)
        del self._idle[name]
        nbytes = self.sizes[model]
        load = gpu.load(model, nbytes)
        gpu.ends = now + load + MEAN * run_seconds(nbytes)  # the estimate; what it takes is drawn
        heapq.heappush(self._ends, (now + load + run_seconds(nbytes) * self._random.uniform(*SPREAD), name))
        self.waits.append(now - arrival)
        self.loads.append(load)


def row(gpus: int, jobs: int, load: float, *, fifo: bool) -> str:
    """Simulate one policy and return a line of the table."""
    cluster = Cluster(gpus, seed=1)
    cluster.run(jobs, load, fifo=fifo)
    cuts = quantiles(cluster.waits, n=100)
    cold = sum(seconds > 0 for seconds in cluster.loads) / jobs
    calls = [1000 * seconds for seconds in cluster.calls] or [0.0, 0.0]
    times = "" if fifo else f"{sum(calls) / len(calls):.2f} / {quantiles(calls, n=100)[98]:.2f}"
    policy = "first in, first out" if fifo else "route"
    waits = f"{cuts[49]:.1f} / {cuts[94]:.1f} / {max(cluster.waits):.1f}"
    return f"| {gpus} | {load} | {policy} | {cold:.0%} | {waits} | {sum(cluster.loads) / jobs:.1f} | {times} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpus", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--jobs", type=int, default=15_000)
    parser.add_argument("--loads", type=float, nargs="+", default=[0.5, 0.7, 0.85])
    asked = parser.parse_args()
    print(
        "| GPUs | Load | Policy | Cold jobs | Wait p50 / p95 / longest (s) | Load (GPU s/job) | Call mean / p99 (ms) |"
    )
    print("|---|---|---|---|---|---|---|")
    for gpus, load, fifo in itertools.product(asked.gpus, asked.loads, (True, False)):
        print(row(gpus, asked.jobs, load, fifo=fifo), flush=True)


if __name__ == "__main__":
    main()
