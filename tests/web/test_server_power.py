"""The power fails: nothing stays of the queue but what had been synced, and every process is gone at once."""

import contextlib
import fcntl
import os
import random
import shutil
import signal
import time
from pathlib import Path

from serving import PLANT, flow, use

POWER = Path(__file__).parent / "power"


def fail_power(server) -> None:
    pids = [worker["pid"] for worker in server.get("system")["workers"] if worker["pid"]]
    server.kill()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    data = server.home / "data"
    for path in data.glob("queue.db*"):
        path.unlink()
    for file in (server.home / "synced").iterdir():
        shutil.copyfile(file, data / file.name)


def until_synced(server) -> None:
    """Wait until there is a copy of every commit that readers can see."""
    with (server.home / "syncing").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)


def test_the_last_answer_outlives_the_power(own_server):
    server = own_server(PYTHONPATH=f"{PLANT}:{POWER}").until_ready()
    server.request("PATCH", "queue", {"paused": True})  # nothing else is synced meanwhile
    first, second = (server.submit("p.image", p=use("Picture")) for _ in range(2))
    fail_power(server)
    server.start()
    assert [server.get(f"jobs/{job}")["state"] for job in (first, second)] == ["queued", "queued"]

    server.request("POST", f"jobs/{first}/cancel")
    fail_power(server)
    server.start()
    assert [server.get(f"jobs/{job}")["state"] for job in (first, second)] == ["cancelled", "queued"]
    assert server.get("queue")["paused"]


def test_what_was_accepted_ended_or_saved_outlives_the_power(own_server, tmp_path):
    server = own_server(PYTHONPATH=f"{PLANT}:{POWER}").until_ready()
    dice, accepted, ended = random.Random(7), {}, {}
    for turn in range(4):
        for n in range(3):
            tag = f"kept-{turn}-{n}"
            nodes = {
                "a": use("Note", journal=str(tmp_path / "journal"), tag=tag, seconds=0.05),
                "s": use("Save", text="@a", name=tag),
            }
            accepted[server.order({"workflow": flow("", **nodes)})] = tag
        time.sleep(dice.uniform(0.0, 0.8))
        states = {job: server.get(f"jobs/{job}")["state"] for job in accepted}
        ended |= {job: state for job, state in states.items() if state == "done"}
        until_synced(server)
        fail_power(server)
        server.start()
        assert {job: server.get(f"jobs/{job}")["state"] for job in ended} == ended

    for job, tag in accepted.items():
        done = server.wait(job)
        assert (done["state"], len(done["files"])) == ("done", 1)
        assert [path.read_text() for path in (server.home / "output").glob(f"{tag}*")] == [tag]
