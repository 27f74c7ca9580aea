"""The metrics at /metrics, in Prometheus' text format."""

import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from latentloom.engine.jobs.job import Job
from latentloom.engine.jobs.routing import Models
from latentloom.engine.jobs.states import STATES

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
_ANSWER_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
SWITCHED = 101  # the status of a WebSocket, whose answer takes as long as the client stays
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Metrics:
    """The metrics of a server, in their own registry."""

    def __init__(self) -> None:
        self._registry = made = CollectorRegistry()
        self._jobs = Gauge("latentloom_jobs", "Number of jobs by state.", ["state"], registry=made)
        self._wait = Histogram(
            "latentloom_job_wait_seconds", "Seconds from submission to start.", buckets=_SECONDS, registry=made
        )
        self._routed = Counter(
            "latentloom_jobs_routed",
            "Started jobs by their worker: warm, cold, or none needed.",
            ["models"],
            registry=made,
        )
        self._run = Histogram(
            "latentloom_job_run_seconds", "Seconds from start to end.", ["state"], buckets=_SECONDS, registry=made
        )
        self._failures = Counter(
            "latentloom_job_failures", "Failed jobs by the code of their first problem.", ["code"], registry=made
        )
        self._node = Histogram(
            "latentloom_node_seconds", "Seconds per node.", ["type"], buckets=_SECONDS, registry=made
        )
        self._cached = Counter("latentloom_nodes_cached", "Nodes whose result was cached.", registry=made)
        self._lost = Counter("latentloom_workers_lost", "Workers that died while running a job.", registry=made)
        self._faults = Counter("latentloom_faults", "Restarts of background tasks.", ["task"], registry=made)
        self._workers = Gauge("latentloom_workers", "Number of workers by state.", ["state"], registry=made)
        self._memory = Gauge("latentloom_memory_bytes", "Resident memory by process.", ["process"], registry=made)
        self._clients = Gauge("latentloom_event_clients", "Clients connected to the event stream.", registry=made)
        self._oldest = Gauge("latentloom_oldest_waiting_seconds", "Age of the longest waiting job.", registry=made)
        self._totals = {
            "cache_hits": Counter("latentloom_cache_hits", "Results found in the cache.", registry=made),
            "cache_misses": Counter("latentloom_cache_misses", "Results not found in the cache.", registry=made),
            "model_loads": Counter("latentloom_model_loads", "Models loaded from files.", registry=made),
            "model_evictions": Counter("latentloom_model_evictions", "Models evicted to free memory.", registry=made),
        }
        self._cache = Gauge("latentloom_cache_bytes", "Size of the cached results by place.", ["place"], registry=made)
        self._models = Gauge("latentloom_model_bytes", "Weights on a worker's device.", ["process"], registry=made)
        self._budget = Gauge(
            "latentloom_device_budget_bytes",
            "Bytes that models may use on a worker's device.",
            ["process"],
            registry=made,
        )
        self._free = Gauge(
            "latentloom_device_free_bytes", "Free bytes of a worker's accelerator.", ["process"], registry=made
        )
        self._disk = Gauge(
            "latentloom_disk_free_bytes", "Free bytes on the disk of a folder.", ["folder"], registry=made
        )
        self._calls = Counter(
            "latentloom_webhook_calls", "Webhook calls: delivered or failed.", ["result"], registry=made
        )
        self._given_up = Counter("latentloom_webhooks_given_up", "Webhooks given up after all tries.", registry=made)
        self._told: dict[str, dict[str, int]] = {}  # last figures of each worker
        self._requests = Counter("latentloom_requests", "Answered requests.", ["method", "status"], registry=made)
        self._answers = Histogram(
            "latentloom_request_seconds",
            "Seconds from a request's header to its answer, by route; without WebSockets.",
            ["method", "route"],
            buckets=_ANSWER_SECONDS,
            registry=made,
        )

    def waited(self, job: Job, models: Models) -> None:
        """Record that a job was claimed by a worker that holds its models, or not."""
        self._routed.labels(models).inc()
        self._wait.observe(max(0.0, (job.started or job.created) - job.created))

    def finished(self, job: Job) -> None:
        """Record that a job ended."""
        if job.finished is not None and job.started is not None:
            self._run.labels(job.state).observe(max(0.0, job.finished - job.started))
        if job.state == "failed":
            self._failures.labels(job.problems[0]["code"] if job.problems else "unknown").inc()

    def event(self, record: dict[str, Any]) -> None:
        """Record an event of a run."""
        if record["event"] == "node_cached":
            self._cached.inc()
        elif record["event"] == "node_finished":
            self._node.labels(record["type"]).observe(record["seconds"])

    def figures(self, worker: str, now: dict[str, int]) -> None:
        """Record a worker's counters and memory. If a counter has decreased, the worker was restarted."""
        before = self._told.get(worker, {})
        for name, total in self._totals.items():
            count = now.get(name, 0)
            total.inc(count - before.get(name, 0) if count >= before.get(name, 0) else count)
        self._told[worker] = now

    def lost(self) -> None:
        """Record that a worker died during a job."""
        self._lost.inc()

    def failed(self, task: str) -> None:
        """Record that a background task failed and was restarted."""
        self._faults.labels(task).inc()

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Record an answered request. `route`: its path with the names of its parts, "" for no route."""
        method = method if method in _METHODS else "other"  # a client may send any text
        self._requests.labels(method, str(status)).inc()
        if status != SWITCHED:
            self._answers.labels(method, route or "none").observe(seconds)

    def called(self, *, good: bool, last: bool) -> None:
        """Record a webhook call. `last`: a failure after which it is given up."""
        self._calls.labels("delivered" if good else "failed").inc()
        self._given_up.inc(last and not good)

    def text(
        self,
        jobs: dict[str, int],
        workers: dict[str, int],
        memory: dict[str, int],
        clients: int,
        oldest: float | None,
        cache_on_disk: int,
        disks: dict[str, int],
    ) -> bytes:
        """Return all metrics as text, with current gauges. `oldest`: when the oldest waiting job was queued."""
        self._cache.labels("disk").set(cache_on_disk)
        for worker, told in self._told.items():
            self._cache.labels(worker).set(told.get("cache_bytes", 0))
            self._models.labels(worker).set(told.get("model_bytes", 0))
            for gauge, name in ((self._budget, "device_budget"), (self._free, "device_free")):
                if name in told:
                    gauge.labels(worker).set(told[name])
        for folder, free in disks.items():
            self._disk.labels(folder).set(free)
        self._oldest.set(0 if oldest is None else max(0.0, time.time() - oldest))
        for state in STATES:
            self._jobs.labels(state).set(jobs.get(state, 0))
        self._workers.clear()
        for name, count in workers.items():
            self._workers.labels(name).set(count)
        for process, held in memory.items():
            self._memory.labels(process).set(held)
        self._clients.set(clients)
        return generate_latest(self._registry)
