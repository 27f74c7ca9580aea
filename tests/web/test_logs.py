"""The server's log: lines that people and programs can take apart, with whose job and which workflow."""

import json
import logging
import sys

import pytest
from queues import new_job, opened
from serving import flow, until, use

from latentloom.web.logs import JsonLines, TextLines, fields


def record(message="it happened", extra=None, error=None):
    made = logging.LogRecord("latentloom.jobs", logging.WARNING, "x.py", 1, message, (), error)
    made.created = 0.5
    made.__dict__.update(extra or {})
    return made


@pytest.mark.parametrize(
    ("named", "text"),
    [
        ({}, ""),
        ({"job": "a1", "seconds": 1.23456, "state": "done"}, " job=a1 seconds=1.235 state=done"),
        ({"why": "it said no"}, ' why="it said no"'),
        ({"workflow": ""}, ' workflow=""'),
        ({"name": 'a"b=c'}, ' name="a\\"b=c"'),
        ({"name": "\x1b[2J"}, ' name="\\u001b[2J"'),
        ({"printed": "one\ntwo", "job": "a"}, " job=a\nprinted:\none\ntwo"),
    ],
)
def test_a_line_of_text_has_pairs(named, text):
    line = TextLines().format(record(extra=fields(**named)))

    assert line == f"1970-01-01T00:00:00.500Z WARNING latentloom.jobs it happened{text}"


def test_a_line_of_json_has_the_same_fields_and_is_one_line():
    try:
        raise ValueError("broken\nin two")
    except ValueError:
        line = JsonLines().format(record(extra=fields(job="a", why="x\ny"), error=sys.exc_info()))

    found = json.loads(line)
    assert "\n" not in line
    assert found.pop("exception").endswith("ValueError: broken\nin two")
    assert found == {
        "time": "1970-01-01T00:00:00.500Z",
        "level": "warning",
        "logger": "latentloom.jobs",
        "message": "it happened",
        "job": "a",
        "why": "x\ny",
    }


def test_the_fields_of_a_job_are_its_id_owner_and_workflow(tmp_path):
    queue, _, connection = opened(tmp_path / "queue.db")
    job = queue.submit(new_job("a", owner="ann", name="star"))
    connection.close()

    assert fields(job, seconds=1) == {"fields": {"job": "a", "owner": "ann", "workflow": "star", "seconds": 1}}


def test_a_server_logs_json_with_owner_and_workflow_and_every_request_at_debug(own_server):
    server = own_server(LATENTLOOM_LOG_FORMAT="json", LATENTLOOM_LOG_LEVEL="debug").until_ready()
    job = server.order({"workflow": flow("", p=use("SavePicture"))})
    server.wait(job)

    lines = until(lambda: (found := told(server)) and "job done" in {line["message"] for line in found} and found)
    (done,) = (line for line in lines if line["message"] == "job done")
    assert {name: done[name] for name in ("job", "owner", "workflow", "level")} == {
        "job": job,
        "owner": "local",
        "workflow": "test",
        "level": "info",
    }
    (noted,) = (line for line in lines if line["logger"] == "latentloom.nodes.plant.SavePicture")
    assert {name: noted[name] for name in ("message", "level", "node")} == {
        "message": "1 pictures",
        "level": "debug",
        "node": "p",
    }
    assert ("POST", "/api/v1/jobs", 201) in [
        (line["method"], line["route"], line["status"]) for line in lines if line["message"] == "request answered"
    ]


def told(server):
    return [json.loads(line) for line in server.log().splitlines()]


def test_a_quiet_server_logs_no_job(own_server):
    server = own_server(LATENTLOOM_LOG_LEVEL="warning").until_ready()
    server.wait(server.order({"workflow": flow("", p=use("SavePicture"))}))

    assert server.log() == ""
