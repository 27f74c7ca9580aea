"""Jobs on a real server: what runs, what dies, what is cancelled, and what is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from serving import PATIENCE, PLANT, flow, until, use

from latentloom.api import open_session


def journal(tmp_path: Path) -> str:
    return str(tmp_path / "journal")


def names(events) -> list[str]:
    return [event["event"] for event in events]


def whole(problem):
    return {"node": None, "input": None, **problem}


def test_a_job_runs_and_its_story_is_told_in_order(server, tmp_path):
    job = server.submit("n", n=use("Note", journal=journal(tmp_path), tag="hello"))

    done = server.wait(job)

    assert (done["state"], done["result"]["outputs"]) == ("done", {"n": "hello"})
    assert names(server.events(job)) == [
        "job_queued", "job_claimed", "job_running", "run_started", "node_started", "node_finished", "job_done",
    ]  # fmt: skip
    numbers = [event["number"] for event in server.events(job)]
    assert numbers == sorted(numbers)


def test_what_is_known_is_not_run_again(server, tmp_path):
    node = use("Note", journal=journal(tmp_path), tag=f"once {time.time()}", seconds=0.3)
    server.wait(server.submit("n", n=node))

    again = server.submit("n", n=node)
    server.wait(again)

    assert "node_cached" in names(server.events(again))
    assert len(Path(journal(tmp_path)).read_text().splitlines()) == 1


def test_a_sub_workflow_runs_item_by_item_on_a_server(server, tmp_path):
    graph = {
        "inputs": [{"name": "tag", "to": [{"node": "note", "input": "tag"}]}],
        "outputs": [{"name": "said", "from": {"node": "note", "output": "value"}}],
        "nodes": {"note": use("Note", journal=journal(tmp_path))},
    }
    line = {**use("", tag=["a", "b"]), "type": "graph/line", "each": ["tag"]}
    document = {**flow("line.said", line=line), "graphs": {"line": graph}}

    job = server.order({"workflow": document})
    done = server.wait(job)

    assert done["result"]["outputs"] == {"line": ["a", "b"]}
    told = [event.get("node") for event in server.events(job) if event["event"] == "node_finished"]
    assert told == ["line/1/note", "line/2/note", "line"]
    assert server.get(f"jobs/{job}/workflow")["graphs"]["line"]["nodes"] == graph["nodes"]


def test_everything_that_is_wrong_is_told_at_once(server):
    body = {"workflow": flow("a c", a=use("Note", tag=7), b=use("Nothing"))}

    status, answer, _ = server.request("POST", "jobs", body)

    assert (status, answer["code"]) == (422, "invalid_workflow")
    assert {(problem["code"], problem["node"], problem["input"]) for problem in map(whole, answer["problems"])} == {
        ("missing_input", "a", "journal"),
        ("wrong_type", "a", "tag"),
        ("unknown_node_type", "b", None),
        ("unknown_node", None, None),
    }


def test_a_failing_node_fails_the_job_and_the_next_one_runs(server, tmp_path):
    bad = server.submit("n", n=use("Note", journal="/no/such/folder/x", tag="a"))
    good = server.submit("n", n=use("Note", journal=journal(tmp_path), tag="b"))

    failed = server.wait(bad)
    assert failed["state"] == "failed"
    assert (failed["problems"][0]["code"], failed["problems"][0]["node"]) == ("node_failed", "n")
    assert server.wait(good)["state"] == "done"


def test_a_node_that_runs_out_of_memory_fails_its_own_job_alone(server, tmp_path):
    pids = {worker["pid"] for worker in server.until_ready().get("system")["workers"]}
    greedy = server.submit("g", g=use("Greedy"))
    good = server.submit("n", n=use("Note", journal=journal(tmp_path), tag="b"))

    failed = server.wait(greedy)
    assert (failed["state"], failed["problems"][0]["code"], failed["deaths"]) == ("failed", "out_of_memory", 0)
    assert server.wait(good)["state"] == "done"
    assert {worker["pid"] for worker in server.get("system")["workers"]} == pids


def test_the_system_is_asked_to_end_workers_first_when_memory_runs_out(server):
    own = int(Path(f"/proc/{server.process.pid}/oom_score_adj").read_text())
    pids = [worker["pid"] for worker in server.until_ready().get("system")["workers"]]
    assert pids and all(int(Path(f"/proc/{pid}/oom_score_adj").read_text()) > own for pid in pids)


def test_a_message_that_is_no_text_ends_the_job_like_any_other(server):
    failed = server.wait(server.submit("c", c=use("Curse")))

    assert (failed["state"], failed["problems"][0]["code"]) == ("failed", "node_failed")
    assert "ValueError: ?\0" in failed["problems"][0]["message"]
    assert "node_warning" in names(server.events(failed["id"]))


def test_a_job_that_kills_its_worker_is_tried_twice(server, tmp_path):
    job = server.submit("d", d=use("Die", journal=journal(tmp_path)))

    failed = server.wait(job)

    assert failed["state"] == "failed"
    assert failed["deaths"] == 2
    assert failed["problems"] == [
        {
            "code": "worker_died",
            "message": "the worker died 2 times while it ran this job; the last time: it was ended by SIGSEGV",
            **dict.fromkeys(("node", "input", "expected", "got", "nearest", "hint")),
        }
    ]
    assert len(Path(journal(tmp_path)).read_text().splitlines()) == 2


def test_a_worker_that_dies_once_costs_nothing_that_was_stored(server, tmp_path):
    first = journal(tmp_path)
    job = server.submit(
        "d",
        a=use("Note", journal=first, tag=f"a{time.time()}", seconds=0.3),
        s=use("Save", text="@a", name="once"),
        d=use("Die", journal=str(tmp_path / "deaths"), times=1, way="exit", after="@s"),
    )

    done = server.wait(job)

    assert done["state"] == "done", done
    assert len(Path(first).read_text().splitlines()) == 1
    assert len(list((server.home / "output").glob("once*"))) == 1
    assert [file["path"] for file in done["files"]] == ["once-00001.txt"]
    events = server.events(job)
    assert names(events).count("job_requeued") == 1
    started = [event["node"] for event in events if event["event"] == "node_started"]
    assert (started.count("a"), started.count("s"), started.count("d")) == (1, 1, 2)


def test_a_long_node_whose_worker_dies_goes_on_where_it_was(server, tmp_path):
    done = server.wait(server.submit("k", k=use("Keep", journal=journal(tmp_path))))

    assert done["state"] == "done", done
    assert Path(journal(tmp_path)).read_text().splitlines() == [f"step {step}" for step in range(6)]
    assert not list((server.home / "cache" / "kept").iterdir())


def test_an_effect_that_nobody_saw_is_not_repeated(server, tmp_path):
    job = server.submit(m=use("Mail", journal=journal(tmp_path)))

    failed = server.wait(job)

    assert failed["problems"][0]["code"] == "effect_unknown"
    assert Path(journal(tmp_path)).read_text() == "mail\n"


def test_a_cancel_is_heard_within_a_step(server):
    job = server.submit("s", s=use("Steps", steps=100_000, pause=0.02))
    server.wait(job, "running")

    status, answer, _ = server.request("POST", f"jobs/{job}/cancel")

    assert (status, answer["state"]) == (200, "cancelling")
    assert server.wait(job)["state"] == "cancelled"


def test_a_cancel_right_behind_a_submit_costs_no_worker(server):
    starts = [worker["starts"] for worker in server.until_ready().get("system")["workers"]]
    for _ in range(10):
        job = server.submit("s", s=use("Steps", steps=100_000, pause=0.01))
        server.request("POST", f"jobs/{job}/cancel")
        assert server.wait(job)["state"] == "cancelled"

    assert [worker["starts"] for worker in server.get("system")["workers"]] == starts


def test_a_node_that_ignores_a_cancel_is_ended_and_the_next_job_runs(own_server, tmp_path):
    server = own_server(LATENTLOOM_CANCEL_SECONDS="1").until_ready()
    stubborn = server.submit("s", s=use("Stubborn"))
    server.wait(stubborn, "running")
    server.request("POST", f"jobs/{stubborn}/cancel")
    after = server.submit("n", n=use("Note", journal=journal(tmp_path), tag="next"))

    assert server.wait(stubborn)["state"] == "cancelled"
    assert server.wait(after)["state"] == "done"


def test_a_flood_of_prints_and_events_leaves_the_server_small(server):
    before = server.get("system")["memory"]

    job = server.submit("f", f=use("Flood", lines=20_000))

    assert server.wait(job)["state"] == "done"
    assert len(server.events(job)) < 1100
    assert server.get("system")["memory"] - before < 30 * 2**20


def test_pictures_among_the_outputs_are_saved_though_no_sink_does(server):
    job = server.wait(server.submit("p.image", p=use("Picture", level=0.25)))

    file = job["files"][0]
    status, content, headers = server.request("GET", f"outputs/{file['sha256']}/content")

    assert (status, headers["Content-Type"], content[:4]) == (200, "image/png", b"\x89PNG")
    assert file["path"] == "test-p-00001.png"


def test_the_queue_waits_while_it_is_paused_and_keeps_its_order(server, tmp_path):
    server.request("PATCH", "queue", {"paused": True})
    jobs = [server.submit("n", n=use("Note", journal=journal(tmp_path), tag=f"{tmp_path}{n}")) for n in range(3)]
    first = server.order({"workflow": flow("n.image", n=use("Picture")), "priority": 5})
    server.request("POST", f"jobs/{jobs[2]}/move", {"before": jobs[0]})

    assert server.get("queue")["waiting"] == [first, jobs[2], jobs[0], jobs[1]]
    assert server.request("POST", "queue/cancel")[1]["cancelled"] == [*jobs, first]
    server.request("PATCH", "queue", {"paused": False})
    assert {server.get(f"jobs/{job}")["state"] for job in jobs} == {"cancelled"}


def test_a_retry_is_a_new_job(server, tmp_path):
    bad = server.submit("n", n=use("Note", journal="/no/such/folder/x", tag="a"))
    server.wait(bad)

    status, again, _ = server.request("POST", f"jobs/{bad}/retry")

    assert (status, again["retry_of"]) == (201, bad)
    assert server.wait(again["id"])["state"] == "failed"
    assert server.request("POST", f"jobs/{server.submit('p.image', p=use('Picture'))}/retry")[0] == 409


def test_a_repeated_request_gives_the_same_job(server):
    body = {"workflow": flow("p.image", p=use("Picture")), "idempotency_key": "k1"}

    first, again = server.request("POST", "jobs", body), server.request("POST", "jobs", body)
    other = server.request("POST", "jobs", {**body, "priority": 1})

    assert (first[0], again[0], again[1]["id"]) == (201, 200, first[1]["id"])
    assert (other[0], other[1]["code"]) == (409, "key_reused")


def test_a_stop_puts_what_runs_back_and_a_start_goes_on(own_server, tmp_path):
    server = own_server()
    path, end = journal(tmp_path), tmp_path / "end"
    steps = use("Steps", until=str(end), after="@a")
    job = server.submit("s", a=use("Note", journal=path, tag="a", seconds=0.3), s=steps)
    until(lambda: "node_progress" in names(server.events(job)))

    assert server.stop() == 0
    end.touch()
    server.start()
    done = server.wait(job)

    assert (done["state"], done["deaths"]) == ("done", 0)
    assert Path(path).read_text() == "a\n"


def test_a_killed_server_loses_nothing_and_saves_nothing_twice(own_server, tmp_path):
    server = own_server()
    path, end = journal(tmp_path), tmp_path / "end"
    job = server.submit(
        "s",
        a=use("Note", journal=path, tag="a", seconds=0.3),
        w=use("Save", text="@a", name="kept"),
        s=use("Steps", until=str(end), after="@w"),
    )
    waiting = server.submit("p.image", p=use("Picture"))
    until(lambda: "node_progress" in names(server.events(job)))
    told = server.events(job)

    server.kill()
    end.touch()
    server.start()
    done = server.wait(job)

    assert done["state"] == server.wait(waiting)["state"] == "done"
    assert Path(path).read_text() == "a\n"
    assert [p.name for p in (server.home / "output").glob("kept*")] == ["kept-00001.txt"]
    assert server.events(job)[: len(told)] == told


def test_a_picture_that_was_begun_again_is_the_same_to_the_bit(own_server, tmp_path):
    server = own_server().until_ready()
    for seed in range(10):  # until a worker dies before it is done
        inputs = {"prompt": "a small blue circle", "seed": seed, "steps": 40}
        pid = next(worker["pid"] for worker in server.get("system")["workers"] if worker["name"] == "cpu")
        job = server.order({"workflow_name": "txt2img", "inputs": inputs})
        until(lambda job=job: "node_progress" in names(server.events(job)))
        os.kill(pid, signal.SIGKILL)
        server.until_ready()
        file = server.wait(job)["files"][0]
        if "job_requeued" in names(server.events(job)):
            break

    resumed = Image.open(server.home / "output" / file["path"])
    with open_session(cache=tmp_path / "cache", data=tmp_path / "data") as session:
        whole = session.run("txt2img", out=tmp_path, cache=False, **inputs).files[0]

    assert names(server.events(job)).count("job_requeued") == 1
    assert resumed.tobytes() == Image.open(whole).tobytes()


@pytest.mark.parametrize(
    ("name", "what", "folder"), [("HOME", "data", "/proc/nope/data"), ("OUTPUT", "output", "/proc/nope")]
)
def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, name, what, folder):
    command = [sys.executable, "-c", "from latentloom.cli.main import main; main()", "serve", "--port", "0"]
    environment = {**os.environ, "LATENTLOOM_HOME": str(tmp_path), f"LATENTLOOM_{name}": "/proc/nope"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stderr == (
        f"queue_not_opened: the {what} folder {folder} cannot be written to: No such file or directory\n"
        f"  hint: make it writable for this user, or choose another one with LATENTLOOM_{what.upper()} "
        "or LATENTLOOM_HOME\n"
    )


def test_a_second_server_on_the_same_data_is_refused(own_server):
    server = own_server()

    with pytest.raises(AssertionError, match="another server uses the data folder"):
        own_server()
    assert server.get("/healthz")["status"] == "ok"


def test_the_server_imports_neither_torch_nor_plugin_code(own_server):
    server = own_server()
    server.wait(server.submit("p.image", p=use("Picture")))

    maps = Path(f"/proc/{server.process.pid}/maps").read_text()

    assert "libtorch" not in maps
    assert (server.home / "data" / "specs" / "plant-nodes-plant.json").exists()


def maps(server, worker: str) -> str:
    pid = next(seat["pid"] for seat in server.get("system")["workers"] if seat["name"] == worker)
    return Path(f"/proc/{pid}/maps").read_text()


def test_an_idle_worker_with_a_device_imports_what_models_need(own_server):
    server = own_server(LATENTLOOM_WARM_UP="true").until_ready()
    until(lambda: "libtorch" in maps(server, "cpu"))
    job = server.submit("p.image", p=use("Picture"))

    assert server.wait(job)["state"] == "done"
    assert "libtorch" not in maps(server, "helper-1")


def test_a_plugin_that_fails_is_reported_and_the_rest_works(own_server):
    torn = Path(__file__).parents[1] / "cli" / "torn"
    server = own_server(PYTHONPATH=f"{PLANT}:{torn}").until_ready()

    found = {record["plugin"]: record for record in server.get("plugins")["plugins"]}

    assert [name for name, record in found.items() if record["status"] == "failed"] == ["torn"]
    assert server.wait(server.submit("p.image", p=use("Picture")))["state"] == "done"
