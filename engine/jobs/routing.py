"""Routing: which waiting job goes to which worker, and why the others wait. A pure function: no clock, no I/O.

A job goes to an idle worker that holds its models. If only a busy worker holds them, the job waits for it as long as
that takes less time than a load elsewhere. Otherwise an idle worker loads them. Jobs behind may overtake a job by this
only a limited number of times, and only jobs of the same priority may take a worker that it could use now.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal, NamedTuple

WARM = 0.5  # a worker counts as warm for a job if its missing models are at most this part of the job's load
HOLDERS = 8  # busy workers that are considered for each model, the first to be free

Models = Literal["none", "warm", "cold"]
"""Whether a worker holds the models of a job, which may need none."""
Costs = Callable[[str], float]
"""Seconds that loading a model takes."""


class QueuedJob(NamedTuple):
    """A waiting job. `models` are identities, which only need to be equal to those of workers."""

    id: str
    models: frozenset[str] = frozenset()
    device: bool = True  # whether it needs a worker with a device
    priority: int = 0
    seconds: float = 1.0  # estimate of its run when its models are loaded
    passed: int = 0  # how often a job behind it was started before it


class RoutedWorker(NamedTuple):
    """A worker and the models that it holds."""

    name: str
    models: frozenset[str] = frozenset()
    device: bool = True
    free: int = 0  # bytes that it can load without an eviction
    seconds: float = 0.0  # estimate until its job has ended; 0 for an idle worker


class Knobs(NamedTuple):
    """The limits of routing."""

    window: int = 64  # how many jobs with and without a device are looked at
    passed: int = 16  # how often a job may be overtaken
    patience: float = 1.0  # a job waits for a busy worker up to this multiple of the seconds of a load


DEFAULT = Knobs()


class Start(NamedTuple):
    """A job that starts now. `load_seconds` is the estimate for the models that its worker lacks."""

    job: str
    worker: str
    load_seconds: float
    models: Models


class Wait(NamedTuple):
    """Why a job waits: "busy" (no worker is free for it), "warm" (a busy worker holds its models), "no_worker".

    It will probably run on `worker`, which can begin it in `seconds`.
    """

    why: Literal["busy", "warm", "no_worker"]
    worker: str | None = None
    seconds: float = 0.0


@dataclass(slots=True)
class Routes:
    """The jobs that start now, and the other jobs of the window: why they wait, and how often they were overtaken."""

    starts: list[Start] = field(default_factory=list)
    waits: dict[str, Wait] = field(default_factory=dict)
    passed: dict[str, int] = field(default_factory=dict)


def route(
    waiting: Sequence[QueuedJob],
    idle: Sequence[RoutedWorker],
    busy: Sequence[RoutedWorker],
    costs: Costs,
    knobs: Knobs = DEFAULT,
) -> Routes:
    """Return what starts now. `waiting` is in the order of the queue, in which the owners take turns.

    Jobs that need no device go to workers without one. A worker with a device takes such a job only if no job that
    needs a device waits, so these jobs wait for no device's models. The result depends on nothing but the arguments.
    """
    routes, window = Routes(), knobs.window
    jobs = [[job for job in waiting if job.device is device][:window] for device in (True, False)]
    cards, helpers = ([worker for worker in idle if worker.device is device] for device in (True, False))
    cards = _Round(jobs[0], cards, [worker for worker in busy if worker.device], costs, knobs).run(routes)
    spare = cards if len(jobs[0]) < window and not any(job.id in routes.waits for job in jobs[0]) else []
    own = [worker for worker in busy if not worker.device]
    _Round(jobs[1], [*helpers, *spare], own if helpers or own else busy, costs, knobs).run(routes)
    return routes


class _Round:
    """The routing of jobs to workers that can all run them."""

    def __init__(
        self,
        jobs: Sequence[QueuedJob],
        idle: Sequence[RoutedWorker],
        busy: Sequence[RoutedWorker],
        costs: Costs,
        knobs: Knobs,
    ) -> None:
        self._jobs = jobs
        self._costs = costs
        self._knobs = knobs
        wanted = Counter(model for job in jobs for model in job.models)
        self._idle = {worker.name: worker for worker in sorted(idle, key=lambda worker: _worth(worker, wanted))}
        self._idle_with = _holders(self._idle.values(), wanted)
        self._busy = sorted(busy, key=lambda worker: (worker.seconds, worker.name))
        self._busy_with = _holders(self._busy, wanted, HOLDERS)
        self._free_in = {worker.name: worker.seconds for worker in self._busy}
        self._next = [(worker.seconds, worker.name) for worker in self._busy]  # a heap, whose seconds may be outdated
        self._by_name = {worker.name: worker for worker in self._busy}
        self._left: list[int] = []  # places of the jobs that were looked at and do not start
        self._starts: dict[int, Start] = {}  # by place
        self._waits: dict[int, Wait] = {}  # of the jobs that wait for a warm worker

    def run(self, routes: Routes) -> list[RoutedWorker]:
        """Add what starts and what waits to the routes. Returns the workers that are idle still."""
        for _, places in groupby(range(len(self._jobs)), key=lambda place: self._jobs[place].priority):
            if not self._idle or not self._group(list(places)):
                break
        routes.starts += self._starts.values()
        for place, job in enumerate(self._jobs):
            if place not in self._starts:
                routes.passed[job.id] = job.passed + self._behind(place)
                routes.waits[job.id] = self._waits.get(place) or self._promise(job, "busy", *self._soonest(job))
        return list(self._idle.values())

    def _group(self, places: Sequence[int]) -> bool:
        """Start jobs of one priority. Returns False if no job behind them may start."""
        mine = list[int]()
        for place in places:
            job = self._jobs[place]
            worker = self._best_idle(job) if self._due(job) else self._warm_idle(job)
            if worker is None:
                mine.append(place)
            elif self._may_pass([*self._left, *mine]):
                self._start(place, worker)
            else:
                self._load(mine)
                return False
        return self._load(mine)

    def _load(self, places: Sequence[int]) -> bool:
        """Start jobs on workers that must load, unless it is sooner to wait. Returns False like `_group`."""
        for place in places:
            job = self._jobs[place]
            worker = self._best_idle(job)
            if worker is None or self._defers(place, self._missing(job, worker)):
                self._left.append(place)
            elif self._may_pass(self._left):
                self._start(place, worker)
            else:
                return False
        return True

    def _start(self, place: int, worker: RoutedWorker) -> None:
        job, missing = self._jobs[place], self._missing(self._jobs[place], worker)
        models: Models = "none" if not job.models else "warm" if self._is_warm(job, missing) else "cold"
        del self._idle[worker.name]
        self._starts[place] = Start(job.id, worker.name, missing, models)

    # Overtaking

    def _due(self, job: QueuedJob) -> bool:
        return job.passed >= self._knobs.passed

    def _may_pass(self, places: Iterable[int]) -> bool:
        """Whether a job behind these places may start before them."""
        most = self._knobs.passed
        return all(self._jobs[place].passed + self._behind(place) < most for place in places)

    def _behind(self, place: int) -> int:
        """Return how many jobs behind a place start now."""
        return sum(other > place for other in self._starts)

    # Workers

    def _missing(self, job: QueuedJob, worker: RoutedWorker) -> float:
        """Return the seconds of the loads of what a worker lacks for a job."""
        return sum(self._costs(model) for model in sorted(job.models - worker.models))

    def _is_warm(self, job: QueuedJob, missing: float) -> bool:
        return missing <= WARM * sum(self._costs(model) for model in sorted(job.models))

    def _warm_idle(self, job: QueuedJob) -> RoutedWorker | None:
        names = dict.fromkeys(name for model in sorted(job.models) for name in self._idle_with.get(model, ()))
        there = [self._idle[name] for name in names if name in self._idle]
        best = min(there, key=lambda worker: self._missing(job, worker), default=None)
        return best if best is not None and self._is_warm(job, self._missing(job, best)) else None

    def _best_idle(self, job: QueuedJob) -> RoutedWorker | None:
        """Return the idle worker that lacks least for a job; if none holds any of it, the one of least worth."""
        return self._warm_idle(job) or next(iter(self._idle.values()), None)

    def _defers(self, place: int, load: float) -> bool:
        """Whether a job waits for a busy worker that is warm for it and can begin it sooner than a load ends."""
        job = self._jobs[place]
        seconds, worker = self._soonest(job, warm=True)
        last = place == self._knobs.window - 1  # more jobs may be behind it, which wait for the same worker
        if worker is None or last or self._due(job) or seconds >= self._knobs.patience * load:
            return False
        self._waits[place] = self._promise(job, "warm", seconds, worker)
        return True

    def _soonest(self, job: QueuedJob, *, warm: bool = False) -> tuple[float, str | None]:
        """Return the busy worker that can begin a job first, with loads. With `warm`, of those that are warm for it."""
        names = dict.fromkeys(name for model in sorted(job.models) for name in self._busy_with.get(model, ()))
        if self._next and not warm:
            names[self._first_free()] = None
        found: tuple[float, str | None] = (0.0, None)
        for name in names:
            missing = self._missing(job, self._by_name[name])
            seconds = self._free_in[name] + missing
            if (found[1] is None or seconds < found[0]) and (not warm or self._is_warm(job, missing)):
                found = seconds, name
        return found

    def _promise(self, job: QueuedJob, why: Literal["busy", "warm"], seconds: float, worker: str | None) -> Wait:
        """Return a job's wait for a worker, which counts as busy with the job afterwards."""
        if worker is None:
            return Wait("busy" if self._idle else "no_worker")
        self._free_in[worker] = seconds + job.seconds
        return Wait(why, worker, seconds)

    def _first_free(self) -> str:
        while (top := self._next[0])[0] < self._free_in[top[1]]:
            heapq.heapreplace(self._next, (self._free_in[top[1]], top[1]))
        return top[1]


def _worth(worker: RoutedWorker, wanted: Counter[str]) -> tuple[int, bool, int, str]:
    """Return the order in which workers load models: first those whose models no job of the window needs."""
    return sum(wanted[model] for model in worker.models), worker.device, -worker.free, worker.name


def _holders(workers: Iterable[RoutedWorker], wanted: Counter[str], most: int | None = None) -> dict[str, list[str]]:
    """Return the first workers that hold each wanted model."""
    found = defaultdict[str, list[str]](list)
    for worker in workers:
        for model in worker.models:
            if model in wanted and (most is None or len(found[model]) < most):
                found[model].append(worker.name)
    return found
