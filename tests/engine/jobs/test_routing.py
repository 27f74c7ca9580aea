"""Routing: whatever waits on whatever workers, nobody starves, nothing is given twice, and loads are spared."""

from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.engine.jobs.routing import DEFAULT, Knobs, QueuedJob, RoutedWorker, Routes, Start, Wait, route

MODELS = st.frozensets(st.sampled_from("abcd"), max_size=3)
LOADS = {"a": 1.0, "b": 2.0, "c": 4.0, "d": 8.0}
SECONDS = st.floats(0, 20, allow_nan=False)
KNOBS = st.builds(Knobs, st.integers(1, 12), st.integers(0, 4), st.floats(0, 3))
JOBS = st.lists(
    st.builds(QueuedJob, st.just(""), MODELS, st.booleans(), st.integers(0, 1), SECONDS, st.integers(0, 5)), max_size=15
).map(lambda jobs: [job._replace(id=f"job{n}") for n, job in enumerate(sorted(jobs, key=lambda job: -job.priority))])
WORKERS = st.lists(
    st.builds(RoutedWorker, st.just(""), MODELS, st.booleans(), st.integers(0, 9), SECONDS), max_size=8
).map(lambda workers: [worker._replace(name=f"w{n}") for n, worker in enumerate(workers)])
SPLIT = WORKERS.flatmap(lambda workers: st.tuples(st.just(workers), st.integers(0, len(workers))))


def routed(jobs, idle, busy=(), knobs=DEFAULT) -> Routes:
    return route(jobs, idle, busy, LOADS.__getitem__, knobs)


@given(JOBS, SPLIT, KNOBS)
def test_a_job_starts_once_and_a_worker_gets_one_job_that_it_can_run(jobs, split, knobs):
    workers, at = split
    found = routed(jobs, workers[:at], workers[at:], knobs)

    by_id, by_name = {job.id: job for job in jobs}, {worker.name: worker for worker in workers[:at]}
    assert len({start.job for start in found.starts}) == len({start.worker for start in found.starts})
    assert len({start.job for start in found.starts}) == len(found.starts)
    for start in found.starts:
        job, worker = by_id[start.job], by_name[start.worker]
        assert worker.device or not job.device
        assert start.load_seconds == sum(LOADS[model] for model in job.models - worker.models)
    assert not {start.job for start in found.starts} & found.waits.keys()
    assert found.waits.keys() == found.passed.keys()


@given(JOBS, SPLIT, KNOBS, st.randoms())
def test_the_result_does_not_depend_on_the_order_of_the_workers(jobs, split, knobs, random):
    workers, at = split
    idle, busy = workers[:at], workers[at:]
    found = routed(jobs, idle, busy, knobs)
    random.shuffle(idle)
    random.shuffle(busy)

    assert routed(jobs, idle, busy, knobs) == found


@given(JOBS, SPLIT, KNOBS)
def test_no_job_is_overtaken_more_often_than_allowed(jobs, split, knobs):
    workers, at = split
    jobs = [job._replace(passed=min(job.passed, knobs.passed)) for job in jobs]
    found = routed(jobs, workers[:at], workers[at:], knobs)

    places = {job.id: n for n, job in enumerate(jobs)}
    for job in jobs:
        if job.id in found.passed:
            later = [jobs[places[start.job]] for start in found.starts if places[start.job] > places[job.id]]
            behind = [other for other in later if other.device is job.device]
            assert found.passed[job.id] == job.passed + len(behind) <= max(knobs.passed, job.passed)


@given(JOBS, SPLIT, KNOBS)
def test_a_worker_is_idle_only_if_all_who_could_use_it_wait_for_a_warm_one(jobs, split, knobs):
    workers, at = split
    found = routed(jobs, workers[:at], workers[at:], knobs)

    taken = {start.worker for start in found.starts}
    if found.starts or not any(worker.device and worker.name not in taken for worker in workers[:at]):
        return
    for job in [job for job in jobs if job.device][: knobs.window]:
        assert found.waits[job.id].why == "warm"
        assert job.passed < knobs.passed


@given(st.data())
@settings(max_examples=50)
def test_every_job_starts_in_the_end_although_warmer_ones_keep_coming(data):
    """One worker that ends a job at each round; a job for the model that it holds arrives at each round, too."""
    knobs = data.draw(KNOBS)
    jobs = data.draw(JOBS.filter(bool))
    jobs = [job._replace(device=True, priority=0, passed=0) for job in jobs]
    last, worker = jobs[-1].id, RoutedWorker("w", frozenset("a"))
    for n in range(len(jobs) * (knobs.passed + 2)):
        found = routed(jobs, [worker], (), knobs)
        (start,) = found.starts
        if start.job == last:
            return
        worker = worker._replace(models=next(job.models for job in jobs if job.id == start.job))
        jobs = [job._replace(passed=found.passed.get(job.id, 0)) for job in jobs if job.id != start.job]
        jobs.append(QueuedJob(f"new{n}", worker.models))
    raise AssertionError("the last job did not start")


def job(id, models="", **fields):
    return QueuedJob(id, frozenset(models), **fields)


def worker(name, models="", **fields):
    return RoutedWorker(name, frozenset(models), **fields)


def test_a_job_goes_to_the_worker_that_holds_its_models():
    found = routed([job("1", "d"), job("2", "ab")], [worker("x", "ab"), worker("y", "c")])

    assert found.starts == [Start("2", "x", 0.0, "warm"), Start("1", "y", 8.0, "cold")]


def test_a_job_waits_for_a_warm_worker_if_that_is_sooner_than_a_load():
    idle = [worker("x")]

    soon = routed([job("1", "d")], idle, [worker("y", "d", seconds=7.0)])
    late = routed([job("1", "d")], idle, [worker("y", "d", seconds=9.0)])

    assert (soon.starts, soon.waits) == ([], {"1": Wait("warm", "y", 7.0)})
    assert late.starts == [Start("1", "x", 8.0, "cold")]


def test_a_warm_worker_is_promised_to_as_many_jobs_as_are_sooner_there():
    jobs = [job(id, "d", seconds=3.0) for id in "1234"]

    found = routed(jobs, [worker("x")], [worker("y", "d", seconds=1.0)])

    assert found.waits == {"1": Wait("warm", "y", 1.0), "2": Wait("warm", "y", 4.0), "3": Wait("warm", "y", 7.0)}
    assert found.starts == [Start("4", "x", 8.0, "cold")]


def test_a_job_that_was_overtaken_often_enough_takes_the_next_worker():
    jobs = [job("1", "d", passed=3), job("2", "a")]

    assert routed(jobs, [worker("x", "a")]).starts == [Start("2", "x", 0.0, "warm")]
    assert routed(jobs, [worker("x", "a")], knobs=Knobs(passed=3)).starts == [Start("1", "x", 8.0, "cold")]


def test_a_lower_priority_never_takes_the_only_worker():
    jobs = [job("1", "d", priority=1), job("2", "a")]

    assert routed(jobs, [worker("x", "a")]).starts == [Start("1", "x", 8.0, "cold")]


def test_a_load_goes_where_it_disturbs_least():
    jobs = [job("1", "d"), job("2", "ab")]

    found = routed(jobs, [worker("full", "b", free=1), worker("free", "c", free=5)])

    assert {start.job: start.worker for start in found.starts} == {"1": "free", "2": "full"}


def test_a_worker_with_a_device_helps_out_only_if_no_job_needs_the_device():
    host, card = job("1", device=False), job("2", "d")
    x, helper = worker("x"), worker("h", device=False)

    assert routed([host], [x, helper]).starts == [Start("1", "h", 0.0, "none")]
    assert routed([host], [x]).starts == [Start("1", "x", 0.0, "none")]
    assert routed([host, card], [x]).starts == [Start("2", "x", 8.0, "cold")]
    waits = routed([host, card], [x], [worker("y", "d", seconds=1.0)]).waits
    assert {id: wait.why for id, wait in waits.items()} == {"1": "busy", "2": "warm"}


def test_jobs_are_told_where_they_will_probably_run():
    busy = [worker("x", "d", seconds=5.0), worker("y", seconds=1.0)]

    found = routed([job("1", "d", seconds=2.0), job("2", "a"), job("3")], [], busy)
    nobody = routed([job("1", "d")], [], [worker("h", device=False)])

    assert found.waits == {"1": Wait("busy", "x", 5.0), "2": Wait("busy", "y", 2.0), "3": Wait("busy", "y", 3.0)}
    assert nobody.waits == {"1": Wait("no_worker")}


def test_a_job_without_a_device_does_not_wait_for_one_that_other_jobs_keep_busy():
    card, helper = worker("x", "d", seconds=1.0), worker("h", device=False)

    found = routed([job("1", "d"), job("2", "d", device=False)], [helper], [card])

    assert found.starts == [Start("2", "h", 8.0, "cold")]
    assert found.waits == {"1": Wait("busy", "x", 1.0)}


def test_a_worker_helps_with_a_batch_of_short_jobs_that_is_longer_than_the_window():
    jobs = [job(str(n), "d", seconds=0.1) for n in range(DEFAULT.window + 1)]
    idle, busy = [worker("x")], [worker("y", "d", seconds=0.1)]

    assert routed(jobs, idle, busy).starts == [Start(str(DEFAULT.window - 1), "x", 8.0, "cold")]
    assert routed(jobs[: DEFAULT.window - 1], idle, busy).starts == []
