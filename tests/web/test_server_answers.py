"""Whatever a worker is asked, and whatever its answer is made of, it answers the next one."""

import asyncio
import io
import json
import subprocess
import sys

import pytest
from PIL import Image as Pil
from PIL.PngImagePlugin import PngInfo
from serving import flow, use

from latentloom.web import background

LIMIT = 2**20


def imported(server, data):
    status, body, _ = server.request("POST", "import", data, Content_Type="application/octet-stream")
    return status, body


@pytest.mark.parametrize("data", [b"NAN", b"SET", b"DEEP", b"EXIT", b"STOP"])
def test_an_answer_that_cannot_travel_costs_itself_only(server, data):
    status, body = imported(server, data)

    assert (status, body["code"]) == (422, "unexpected")
    assert imported(server, b"PLANT")[0] == 200
    assert server.get("/healthz")["status"] == "ok"


def test_a_saved_picture_whose_record_was_changed_is_not_told_about(server):
    job = server.wait(server.submit(p=use("SavePicture", level=0.25)))
    sha256 = server.get(f"jobs/{job['id']}")["files"][0]["sha256"]
    path = server.home / "output" / server.get(f"outputs/{sha256}")["path"]
    info = PngInfo()
    info.add_itxt("latentloom-workflow", json.dumps(flow()))
    info.add_itxt("latentloom-record", '{"a": NaN}')
    out = io.BytesIO()
    Pil.new("RGB", (8, 8)).save(out, "PNG", pnginfo=info)
    path.write_bytes(out.getvalue())

    status, body, _ = server.request("GET", f"outputs/{sha256}/making")

    assert (status, body["code"]) == (404, "not_found")
    assert imported(server, b"PLANT")[0] == 200


def test_a_node_that_ends_the_process_fails_its_job(server):
    job = server.wait(server.submit("n", n=use("Exit")))

    assert (job["state"], job["problems"][0]["code"], job["deaths"]) == ("failed", "node_failed", 0)


def test_an_output_that_is_too_long_for_the_record_is_left_out_and_told(server):
    job = server.wait(server.submit("a b", a=use("Long", characters=2 * LIMIT), b=use("Long", characters=5)))

    assert job["state"] == "done"
    assert (job["result"]["outputs"], job["result"]["left_out"]) == ({"b": "xxxxx"}, {"a": 2 * LIMIT + 2})


@pytest.mark.parametrize("fault", ["1 / 0", "sys.exit(0)", "(_ for _ in ()).throw(KeyboardInterrupt)"])
def test_a_worker_ends_with_a_thread_that_it_cannot_do_without(fault):
    """The server replaces a worker that ends; one whose thread is gone would stay and answer nobody."""
    script = (
        f"import sys, time; from latentloom.api.worker import begin; begin('link', lambda: {fault}); time.sleep(600)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_fault_again_and_again_floods_no_log(caplog, monkeypatch):
    monkeypatch.setattr(background, "PAUSE_SECONDS", 0.0)
    times = []

    async def work():
        times.append(1)
        if len(times) <= 1000:
            raise OSError("the disk is full")

    asyncio.run(background.kept("retention", work, lambda name: None))

    assert len(times) == 1001
    assert [record.args[1] for record in caplog.records] == [2**n for n in range(10)]
