"""The life of a worker is that of its process: what it leaves behind, what silences it, and what is nobody's fault."""

import asyncio
import importlib
import os
import time
from pathlib import Path

import pytest
from serving import PLANT, Server, flow, use

from latentloom.engine.settings import load_settings
from latentloom.web.intake import Order
from latentloom.web.services import Services

WILD = Path(__file__).parent / "wild"


def wild(type: str, **inputs):
    return {**use(type, **inputs), "type": f"wild/{type}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("lives") / "home"
    made = Server(home, PYTHONPATH=f"{PLANT}:{WILD}", LATENTLOOM_CANCEL_SECONDS="1")
    yield made.until_ready()
    assert made.stop() == 0, made.log()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def until(true) -> None:
    while not true():
        time.sleep(0.02)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_a_child_that_outlives_its_worker_is_ended_with_it_and_the_job_goes_on(server, tmp_path, way):
    journal = tmp_path / "journal"

    done = server.wait(server.submit("o", o=wild("Orphan", journal=str(journal), way=way)))

    assert (done["state"], done["deaths"]) == ("done", 1)
    (child,) = map(int, journal.read_text().split())
    until(lambda: not alive(child))


def test_a_child_that_holds_the_socket_keeps_no_job(server, tmp_path):
    journal = tmp_path / "journal"

    failed = server.wait(server.submit("o", o=wild("Orphan", journal=str(journal), times=9)))

    assert (failed["state"], failed["problems"][0]["code"], failed["deaths"]) == ("failed", "worker_died", 2)
    assert not any(alive(int(child)) for child in journal.read_text().split())


def test_a_node_that_cancels_the_run_by_itself_fails_once(server, tmp_path):
    journal = tmp_path / "journal"

    failed = server.wait(server.submit("g", g=wild("GiveUp", journal=str(journal))))

    assert (failed["state"], failed["problems"][0]["code"]) == ("failed", "node_failed")
    assert journal.read_text() == "gave up\n"


def test_jobs_without_a_device_leave_the_device_to_those_that_need_it(server, tmp_path):
    stop = tmp_path / "stop"
    server.until_ready()
    plain = server.submit("o", o=wild("Occupy", until=str(stop)))
    server.wait(plain, "running")
    busy = {worker["device"] for worker in server.get("system")["workers"] if worker["state"] == "busy"}

    device = server.submit("o", o=wild("OccupyDevice", until=str(stop)))
    server.wait(device, "running")
    assert busy == {False}
    stop.touch()
    assert [server.wait(job)["state"] for job in (plain, device)] == ["done", "done"]


@pytest.fixture
def run_services(tmp_path, monkeypatch):
    """A function that runs `act(services)` beside a server in this process with one worker, which needs no device."""
    monkeypatch.setenv("PYTHONPATH", f"{PLANT}:{WILD}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("LATENTLOOM_HOME", str(tmp_path))
    for path in (PLANT, WILD):
        monkeypatch.syspath_prepend(path)
    importlib.invalidate_caches()
    monkeypatch.setattr("latentloom.web.dispatcher.TICK_SECONDS", 0.2)

    def run(act, **settings):
        async def go():
            services = Services(load_settings({"warm_up": False, "cpu_workers": 1, **settings}), [])
            await services.start()
            try:
                await asyncio.wait_for(act(services), 100)
            finally:
                await services.stop()

        asyncio.run(go())

    return run


async def started(services, stop: Path) -> str:
    """A job that is at work until `stop` is there, and tells so many times a second."""
    (worker,) = services.dispatcher.workers
    while worker.state != "idle":
        await asyncio.sleep(0.02)
    new = await services.intake.job(Order(flow("o", o=wild("Occupy", until=str(stop))), {}, None, None))
    await services.store.write(lambda t: t.queue.submit(new))
    services.dispatcher.wake()
    while await state(services, new.id) != "running":
        await asyncio.sleep(0.02)
    return new.id


async def state(services, job: str) -> str:
    return (await services.store.read(lambda t: t.queue.job(job))).state


@pytest.mark.timeout(150)
def test_a_stall_of_the_server_costs_no_worker_and_no_job(run_services, tmp_path, monkeypatch):
    """The server was stopped, or one request kept it busy, for longer than a worker may be silent."""

    async def act(services):
        job = await started(services, tmp_path / "stop")
        monkeypatch.setattr("latentloom.web.worker_process.SILENCE_SECONDS", 5.0)
        for _ in range(2):
            time.sleep(8)  # nothing else goes on meanwhile
            await asyncio.sleep(1)
        (tmp_path / "stop").touch()
        while await state(services, job) == "running":
            await asyncio.sleep(0.02)
        found = await services.store.read(lambda t: t.queue.job(job))
        assert (found.state, found.deaths) == ("done", 0)
        assert services.dispatcher.workers[0].starts == 1

    run_services(act)


@pytest.mark.timeout(150)
def test_a_worker_is_heard_while_what_it_said_waits_for_a_full_disk(run_services, tmp_path, monkeypatch):
    async def act(services):
        job = await started(services, tmp_path / "stop")
        (worker,) = services.dispatcher.workers
        monkeypatch.setenv("LATENTLOOM_FAILPOINT", "queue.written:enospc")
        (tmp_path / "stop").touch()
        while worker.job is not None:  # its end is being written
            await asyncio.sleep(0.02)
        heard = worker._heard
        while worker._heard == heard:  # by its next heartbeat
            await asyncio.sleep(0.02)
        monkeypatch.delenv("LATENTLOOM_FAILPOINT")
        while await state(services, job) == "running":
            await asyncio.sleep(0.02)
        found = await services.store.read(lambda t: t.queue.job(job))
        assert (found.state, found.deaths) == ("done", 0)  # it may have been replaced when the plugins were known

    run_services(act)


@pytest.mark.timeout(150)
def test_a_worker_that_does_not_come_up_is_begun_again_and_health_tells(run_services, tmp_path, monkeypatch):
    monkeypatch.setattr("latentloom.web.services.DOWN_SECONDS", 0.5)
    start, hold = tmp_path / "start", tmp_path / "hold"
    start.mkdir()
    hold.touch()
    held = f"import os, time\nwhile os.path.exists({str(hold)!r}):\n    time.sleep(0.02)\n"
    (start / "sitecustomize.py").write_text(held)  # every Python process that starts waits
    monkeypatch.setenv("PYTHONPATH", f"{start}:{os.environ['PYTHONPATH']}")

    async def act(services):
        (worker,) = services.dispatcher.workers
        while worker.starts < 2:
            await asyncio.sleep(0.02)
        assert not services.checks()["workers"]
        worker._start_seconds = 300.0  # however busy this machine is
        hold.unlink()
        while worker.state != "idle":
            await asyncio.sleep(0.02)
        assert all(services.checks().values())

    run_services(act, start_seconds=1.0)
