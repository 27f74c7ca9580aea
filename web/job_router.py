"""What the router needs to know: estimates from measured loads and runs, and how often each job was overtaken."""

from collections.abc import Iterable, Sequence

from latentloom.engine.jobs.routing import DEFAULT, QueuedJob, RoutedWorker, Routes, Wait, route
from latentloom.web.worker_process import WorkerProcess

UNKNOWN_LOAD, UNKNOWN_RUN = 5.0, 10.0  # seconds, until something was measured
NEWEST = 0.3  # weight of the newest measurement in a mean of runs
WINDOW = DEFAULT.window


class JobRouter:
    """Says which waiting job goes to which worker. The rule itself is `engine.jobs.routing.route`."""

    def __init__(self) -> None:
        self._loads: dict[str, float] = {}  # seconds by name of a model file
        self._runs: dict[frozenset[str], float] = {}  # seconds by the models of a job
        self._passed: dict[str, int] = {}
        self.waits: dict[str, Wait] = {}
        """Why the next jobs waited when the routes were planned last, by id."""

    def measured(self, loads: dict[str, float]) -> None:
        """Note how long a worker's loads took."""
        self._loads |= {model: seconds for model, seconds in loads.items() if seconds}

    def ran(self, models: Iterable[str], seconds: float, load: float) -> None:
        """Note how long a job ran; `load` is the estimate of its loads, which does not count."""
        key, own = frozenset(models), max(0.0, seconds - load)
        self._runs[key] = NEWEST * own + (1 - NEWEST) * self._runs.get(key, own)

    def plan(self, waiting: Sequence[QueuedJob], workers: Iterable[WorkerProcess], now: float) -> Routes:
        """Return which of the next jobs start now. `now`: time on the monotonic clock."""
        jobs = [job._replace(seconds=self._run(job.models), passed=self._passed.get(job.id, 0)) for job in waiting]
        up = [worker for worker in workers if worker.state != "starting" and not worker.stale]
        idle = [_routed(worker, 0.0) for worker in up if worker.state == "idle"]
        busy = [_routed(worker, worker.remaining(now)) for worker in up if worker.state != "idle"]
        routes = route(jobs, idle, busy, self.load)
        self._passed, self.waits = routes.passed, routes.waits
        return routes

    def load(self, model: str) -> float:
        """Return the estimated seconds of a load."""
        return self._loads.get(model, UNKNOWN_LOAD)

    def expected(self, models: Iterable[str], load: float) -> float:
        """Return the estimated seconds of a job with its loads."""
        return self._run(frozenset(models)) + load

    def _run(self, models: frozenset[str]) -> float:
        return self._runs.get(models, UNKNOWN_RUN)


def _routed(worker: WorkerProcess, seconds: float) -> RoutedWorker:
    return RoutedWorker(worker.name, frozenset(worker.models), worker.device, worker.free, seconds)
