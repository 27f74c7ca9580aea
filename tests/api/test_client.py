"""Clients against a real server, one that goes away too."""

import asyncio
import re
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from answering import answering
from serving import PATIENCE, Server, flow, use

from latentloom.api import AsyncClient, Client
from latentloom.api.client import AddressError, DamagedError, ServerError, UnreachableError


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    # A busy machine may take long to start workers and to end a cancelled job: no test measures that
    made = Server(tmp_path_factory.mktemp("client") / "home", LATENTLOOM_CANCEL_SECONDS="60")
    yield made.until_ready()
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


def test_submit_returns_the_finished_job_if_it_ends_in_time(server):
    with Client(server.address) as client:
        job = client.submit(flow("", s=use("SavePicture", count=2)), wait=60)
        early = client.submit(flow("s", s=use("Steps", steps=3000)), wait=0.01)
        client.cancel(early.id)

    assert (job.state, len(job.files)) == ("done", 2)
    assert early.state in ("queued", "claimed", "running")


def test_a_workflow_saved_on_the_server_is_submitted_by_name(server):
    document = flow("p.image", p=use("Picture"))
    document["inputs"] = [{"name": "level", "to": [{"node": "p", "input": "level"}]}]
    server.request("PUT", "workflows/my%20plants", {"workflow": document}, If_None_Match="*")

    with Client(server.address) as client:
        job = client.submit(workflow_name="my plants", level=0.25, wait=60)
        refused = []
        for wrong in ({}, {"workflow": document, "workflow_name": "my plants"}, {"workflow_name": "nobody's"}):
            with pytest.raises(ServerError) as caught:
                client.submit(**wrong)
            refused.append(caught.value.status)

    assert (job.state, len(job.files_of("p")), refused) == ("done", 1, [400, 400, 404])


def test_retry_pause_and_lists(server):
    with Client(server.address) as client:
        assert client.pause().paused
        job = client.submit(flow("", s=use("SavePicture")), tags=["two words & more"])
        client.cancel(job.id)
        again = client.retry(job.id)
        assert (client.pause(False).paused, client.wait(again.id).state) == (False, "done")
        with pytest.raises(ServerError) as caught:
            client.retry(again.id)
        found, files = client.jobs(tag="two words & more"), client.search(tag="two words & more", limit=1)
        with pytest.raises(ServerError, match="there is no such state"):
            client.jobs(state="asleep")

    assert caught.value.status == 409
    assert [(job.id, job.state) for job in found.jobs] == [(again.id, "done"), (job.id, "cancelled")]
    assert [file.job for file in files.outputs] == [again.id]


def test_a_wait_that_is_too_long_is_refused(server):
    with Client(server.address) as client, pytest.raises(ServerError) as caught:
        client.submit(flow("p.image", p=use("Picture")), wait=61)

    assert [problem.input for problem in caught.value.problems] == ["wait"]


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


# Servers that misbehave


async def silent(request, n):
    await asyncio.sleep(1000)


@pytest.mark.timeout(120)
def test_a_client_works_without_a_block(server):
    client = Client(server.address)
    job = client.submit(flow("p.image", p=use("Picture")))
    assert client.wait(job.id).state == "done"
    client.close()
    assert client.job(job.id).id == job.id  # it opens again
    client.close()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("call", [lambda c: c.job("x"), lambda c: c.wait("x"), lambda c: c.cancel("x")])
def test_patience_holds_for_a_server_that_takes_and_says_nothing(call):
    with (
        answering(silent) as (address, _),
        Client(address, patience=1) as client,
        pytest.raises(UnreachableError, match="no server answers"),
    ):
        call(client)


@pytest.mark.parametrize("address", ["ftp://localhost", "http://", "http://[::1", "http://localhost:0", ""])
def test_what_is_no_address_is_told_at_once(address):
    with pytest.raises(AddressError, match="that is not the address of a server"):
        Client(address)


def test_an_address_needs_no_scheme(server):
    with Client(server.address.removeprefix("http://")) as client:
        assert client.request("GET", "system")["paused"] is False


@pytest.mark.timeout(120)
def test_what_is_no_server_of_this_kind_is_told():
    async def page(request, n):
        return web.Response(text="<html>sign in</html>", content_type="text/html")

    with (
        answering(page) as (address, _),
        Client(address, patience=1) as client,
        pytest.raises(ServerError, match="is not a Latentloom server"),
    ):
        client.job("x")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("status", "headers"), [(502, {}), (503, {"Retry-After": "0"}), (504, {}), (429, {"Retry-After": "0"})]
)
def test_a_refusal_that_may_not_last_is_tried_again_under_one_key(status, headers):
    async def later(request, n):
        if n == 1:
            return web.Response(status=status, text="<html>", headers=headers)
        if n == 2:
            request.transport.close()  # the answer is lost
        return web.json_response({"done": n})

    with answering(later) as (address, asked), Client(address) as client:
        assert client.request("POST", "jobs/x/retry") == {"done": 3}
    assert len({key for _, _, key in asked}) == 1
    assert None not in {key for _, _, key in asked}


@pytest.mark.timeout(120)
def test_a_stream_goes_on_by_polls_where_websockets_are_refused(server):
    async def proxy(request, n):
        if "socket" in request.path:
            return web.Response(status=400, text="no upgrade here")
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, server.address + request.path_qs) as response,
        ):
            return web.json_response(await response.json(), status=response.status)

    with Client(server.address) as client:
        job = client.submit(flow("s", s=use("Steps", steps=3)))
    with answering(proxy) as (address, _), Client(address) as client:
        assert [event["event"] for event in client.stream(job.id)][-1] == "job_done"


@pytest.mark.timeout(120)
def test_a_stream_behind_the_end_of_a_job_ends(server):
    with Client(server.address) as client:
        job = client.wait(client.submit(flow("p.image", p=use("Picture"))).id)
        last = [event["number"] for event in client.stream(job.id)][-1]
        assert list(client.stream(job.id, after=last)) == []


@pytest.mark.timeout(120)
def test_a_stream_begins_again_where_the_server_does_not_have_that_place(server):
    with Client(server.address) as client:
        job = client.wait(client.submit(flow("p.image", p=use("Picture"))).id)
        whole = list(client.stream(job.id))
        assert list(client.stream(job.id, after=9_000_000_000_000_000)) == whole


@pytest.mark.timeout(120)
def test_a_stream_that_is_left_in_the_middle_holds_nothing(server):
    with Client(server.address) as client:
        job = client.submit(flow("s", s=use("Steps", steps=3000)))
        for _ in client.stream(job.id):
            break
        client.cancel(job.id)
        assert client.wait(job.id).state == "cancelled"


@pytest.mark.timeout(120)
def test_a_download_is_the_file_that_was_saved_or_a_fault(server, tmp_path):
    with Client(server.address) as client:
        job = client.wait(client.submit(flow("", s=use("SavePicture", level=0.77))).id)

    async def other(request, n):
        if "content" in request.path:
            return web.Response(body=b"something else")
        return web.Response(text=job.model_dump_json(), content_type="application/json")

    with (
        answering(other) as (address, _),
        Client(address) as client,
        pytest.raises(DamagedError, match="what arrived is not the file that was saved"),
    ):
        client.download(job, tmp_path / "files")
    assert list((tmp_path / "files").iterdir()) == []


def test_inputs_may_have_any_name():
    async def take(request, n):
        seen.append(await request.json())
        return web.Response(status=400, text="{}")

    seen = []
    with answering(take) as (address, _), Client(address) as client, pytest.raises(ServerError):
        client.submit(flow(""), inputs={"tags": 1, "outputs": 2}, seed=3, webhook="http://x/")
    assert seen[0]["inputs"] == {"tags": 1, "outputs": 2, "seed": 3}
    assert (seen[0]["tags"], seen[0]["webhook"]) == ([], "http://x/")
