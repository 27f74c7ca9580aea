"""Clients against a real server, one that goes away too."""

import asyncio
import re
from pathlib import Path

import pytest
from serving import PATIENCE, Server, flow, use

from latentloom.api import AsyncClient, Client
from latentloom.api.client import ServerError, UnreachableError


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("client") / "home")
    yield made
    made.kill()


def test_submit_wait_and_download(server, tmp_path):
    with Client(server.address) as client:
        job = client.wait(client.submit(flow("", s=use("SavePicture", count=2)), tags=["t"]).id)
        (tmp_path / "plant-00002.png").write_text("mine")
        paths = client.download(job, tmp_path)
        again = client.download(job, tmp_path)

    assert again == paths
    assert (job.state, job.tags) == ("done", ["t"])
    assert [path.name for path in paths] == ["plant-00001.png", f"plant-00002-{job.files[1].sha256[:8]}.png"]
    assert (tmp_path / "plant-00002.png").read_text() == "mine"
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_named_inputs_and_problems(server):
    with Client(server.address) as client, pytest.raises(ServerError) as caught:
        client.submit("txt2img", steps=0, sampler="eular")

    assert (caught.value.status, [problem.code for problem in caught.value.problems]) == (
        422, ["out_of_range", "unknown_choice"],
    )  # fmt: skip


def test_a_stream_ends_with_the_job(server):
    with Client(server.address) as client:
        job = client.submit(flow("s", s=use("Steps", steps=3)))
        events = [event["event"] for event in client.stream(job.id)]

    assert (events[0], events[-1]) == ("job_queued", "job_done")


def test_a_cancel(server):
    with Client(server.address) as client:
        job = client.submit(flow("s", s=use("Steps", steps=3000)))
        client.cancel(job.id)

        assert client.wait(job.id).state == "cancelled"


def test_the_example_of_the_page_runs(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "server.md").read_text(encoding="utf-8")
    example = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)[0]

    exec(example.replace("Client()", f"Client({server.address!r})").replace("seed=7", "seed=7, steps=2"))

    assert capsys.readouterr().out.splitlines()[-1].endswith("pictures/Text to image-00001.png')]")


def test_nobody_answers():
    with (
        Client("http://127.0.0.1:9", patience=0.2) as client,
        pytest.raises(UnreachableError, match="no server answers"),
    ):
        client.job("x")


def test_a_stream_survives_the_servers_death(tmp_path):
    server, restarted = Server(tmp_path / "home"), tmp_path / "restarted"

    def restart():
        server.kill()
        server.start(port=server.port)
        restarted.touch()

    async def go():
        async with AsyncClient(server.address) as client:
            job = await client.submit(flow("s", s=use("Steps", until=str(restarted))))
            events = []
            async for event in client.stream(job.id):
                if event["event"] == "node_started" and not restarted.exists():
                    await asyncio.to_thread(restart)
                events.append(event)
            return events, server.events(job.id)

    try:
        seen, stored = asyncio.run(asyncio.wait_for(go(), PATIENCE))
        assert seen == stored
        assert [event["event"] for event in seen].count("job_requeued") == 1
    finally:
        server.kill()
