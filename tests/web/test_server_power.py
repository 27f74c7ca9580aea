"""The power fails: nothing stays of the queue but what had been synced, and every process is gone at once."""

import random
import time

from serving import PLANT, POWER, fail_power, flow, use


def test_the_last_answer_outlives_the_power(own_server):
    server = own_server(PYTHONPATH=f"{PLANT}:{POWER}").until_ready()
    server.request("PATCH", "queue", {"paused": True})  # nothing else is synced meanwhile
    first, second = (server.submit("p.image", p=use("Picture")) for _ in range(2))
    fail_power(server)
    server.start()
    assert [server.get(f"jobs/{job}")["state"] for job in (first, second)] == ["queued", "queued"]

    server.request("POST", f"jobs/{second}/move", {"to": "front"})
    fail_power(server)
    server.start()
    assert server.get("queue")["waiting"] == [second, first]

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
        fail_power(server)
        server.start()
        assert {job: server.get(f"jobs/{job}")["state"] for job in ended} == ended

    for job, tag in accepted.items():
        done = server.wait(job)
        assert (done["state"], len(done["files"])) == ("done", 1)
        assert [path.read_text() for path in (server.home / "output").glob(f"{tag}*")] == [tag]
