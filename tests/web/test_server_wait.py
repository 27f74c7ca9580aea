"""Submits that wait for the end of their job."""

import json
import socket
import threading

import pytest
from serving import PATIENCE, flow, until, use


def body(outputs="", **nodes):
    return {"workflow": flow(outputs, **nodes)}


@pytest.mark.parametrize("wait", ["-1", "60.1", "nan", "inf", "soon", ""])
def test_a_wait_out_of_range_is_refused_and_queues_nothing(server, wait):
    before = server.get("queue")["counts"]

    status, answer, _ = server.request("POST", f"jobs?wait={wait}", body("n", n=use("Note", journal="", tag="x")))

    assert (status, [problem["input"] for problem in answer["problems"]]) == (400, ["wait"])
    assert server.get("queue")["counts"] == before


def test_the_answer_is_the_job_as_it_is_after_its_end(server):
    status, answer, headers = server.request("POST", "jobs?wait=60", body("", p=use("SavePicture", level=0.25)))

    assert (status, answer["state"], len(answer["files"])) == (201, "done", 1)
    assert answer == server.get(headers["Location"].removeprefix("/api/v1/"))


def test_a_failed_job_is_an_answer(server):
    status, answer, _ = server.request("POST", "jobs?wait=60", body("c", c=use("Curse")))

    assert (status, answer["state"]) == (201, "failed")
    assert answer["problems"]


def test_when_the_time_is_over_the_answer_is_the_job_as_it_is(server, tmp_path):
    go = tmp_path / "go"
    order = {**body("s", s=use("Steps", steps=1, until=str(go))), "idempotency_key": "patient"}

    status, early, _ = server.request("POST", "jobs?wait=0.05", order)
    go.touch()
    again, late, _ = server.request("POST", "jobs?wait=60", order)

    assert (status, early["files"], again, late["id"], late["state"]) == (201, [], 200, early["id"], "done")
    assert early["state"] in ("queued", "claimed", "running")


def test_a_wait_ends_with_a_cancel(server, tmp_path):
    order = {**body("s", s=use("Steps", until=str(tmp_path / "never"))), "tags": ["cancel me"]}
    found = []
    waiting = threading.Thread(target=lambda: found.append(server.request("POST", "jobs?wait=60", order)))
    waiting.start()
    (job,) = until(lambda: server.get("jobs?tag=cancel+me&state=running")["jobs"])
    server.request("POST", f"jobs/{job['id']}/cancel")
    waiting.join(PATIENCE)

    assert [(status, answer["state"]) for status, answer, _ in found] == [(201, "cancelled")]


def test_a_client_that_leaves_cancels_nothing(server, tmp_path):
    go = tmp_path / "go"
    data = json.dumps({**body("s", s=use("Steps", steps=1, until=str(go))), "tags": ["left alone"]}).encode()
    head = f"POST /api/v1/jobs?wait=60 HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", int(server.port))) as connection:
        connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        (job,) = until(lambda: server.get("jobs?tag=left+alone&state=running")["jobs"])
    go.touch()

    assert server.wait(job["id"])["state"] == "done"


def test_a_stop_of_the_server_ends_the_wait(own_server, tmp_path):
    server = own_server().until_ready()
    order = body("s", s=use("Steps", until=str(tmp_path / "never")))
    found = []
    waiting = threading.Thread(target=lambda: found.append(server.request("POST", "jobs?wait=60", order)))
    waiting.start()
    until(lambda: server.get("jobs?state=running")["jobs"])
    server.stop()
    waiting.join(30)

    assert [(status, answer["state"]) for status, answer, _ in found] == [(201, "running")]
