"""The stream of events: whose numbers they are, what is refused, and what ends a wait."""

import asyncio
import json
import threading
import time
from types import SimpleNamespace

import aiohttp
import pytest
from queues import new_job
from serving import use

from latentloom.engine.jobs.faults import UnknownJob
from latentloom.engine.jobs.history import RESERVE
from latentloom.engine.jobs.retention import Keep, prune_jobs
from latentloom.web.event_hub import EventHub
from latentloom.web.queue_writer import Store
from latentloom.web.routes import events
from latentloom.web.routes.events import EventQuery, list_events
from latentloom.web.routing import Call
from latentloom.web.tokens import LOCAL


@pytest.fixture
def job(server):
    """A job that has ended, with four events of its own at least."""
    return server.wait(server.submit("p.image", p=use("Picture")))["id"]


def messages(server, query: str) -> tuple[list, int | None]:
    """What a socket tells until the server closes it, and the code of the closing."""

    async def go():
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{server.address}/api/v1/{query}") as socket:
            return [json.loads(message.data) async for message in socket], socket.close_code

    return asyncio.run(asyncio.wait_for(go(), 60))


def test_pages_tell_whose_numbers_they_hold(server, job):
    page, system = server.get(f"events?job={job}"), server.get("system")

    assert page["stream"] == system["stream"]
    assert server.get(f"events?job={job}&stream={page['stream']}")["events"] == page["events"]


@pytest.mark.parametrize("place", ["after=9000000000000000", "after=0&stream=another"])
def test_a_place_that_the_stream_does_not_have_is_a_reset(server, place):
    status, body, _ = server.request("GET", f"events?{place}&wait=60")
    assert (status, body["code"]) == (410, "stream_reset")

    system = server.get("system")
    told, code = messages(server, f"events/socket?{place}")
    assert told == [{"reset": {"stream": system["stream"], "next": system["event"]}}]
    assert code == 4410


@pytest.mark.parametrize("path", ["events?job=nope&wait=60", "events/socket?job=nope"])
def test_a_job_that_nobody_knows_has_no_events(server, path):
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw=="} if "socket" in path else {}  # fmt: skip
    status, body, _ = server.request("GET", path, **upgrade)
    assert (status, body["code"]) == (404, "unknown_job")


def test_a_wait_for_a_job_that_is_forgotten_ends(tmp_path):
    async def go():
        hub = EventHub()
        store = Store(tmp_path, hub.publish)
        await store.write(lambda t: (t.queue.submit(new_job("a")), t.queue.cancel("a")))
        services = SimpleNamespace(event_hub=hub, store=store)
        waiting = asyncio.create_task(
            list_events(services, Call(None, LOCAL, store.of(None), EventQuery(job="a", after=hub.last, wait=60), None))
        )
        while not hub.clients:
            await asyncio.sleep(0)
        gone = await store.write(lambda t: prune_jobs(t.connection, Keep(seconds=0, jobs=1), time.time() + 1))
        hub.forget(gone)
        try:
            await waiting
        finally:
            await store.close()

    with pytest.raises(UnknownJob, match="there is no job 'a'"):
        asyncio.run(go())


def test_a_quiet_socket_says_that_it_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(events, "QUIET_SECONDS", 0.05)
    sent = []

    async def send(text):
        sent.append(json.loads(text))

    async def go():
        hub = EventHub()
        store = Store(tmp_path, hub.publish)
        reading, services = asyncio.Event(), SimpleNamespace(event_hub=hub, store=store)
        with hub.reader(hub.last, None, None) as reader:
            closed = asyncio.create_task(reading.wait())
            sending = asyncio.create_task(events._send_all(services, SimpleNamespace(send_str=send), reader, closed))
            while len(sent) < 2:
                await asyncio.sleep(0.01)
            reading.set()
            await sending
        await store.close()
        return hub.stream

    stream = asyncio.run(go())
    assert sent[0] == {"events": [], "next": 0, "stream": stream}


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("events?after={}&wait=60", lambda last, stream: (200, {"events": [], "next": last, "stream": stream})),
        ("events/socket?after={}", lambda last, stream: ([], 1001)),
    ],
)
def test_a_stop_waits_for_nobody_who_waits_for_events(own_server, path, told):
    server = own_server().until_ready()
    system = server.get("system")
    last, stream = system["event"], system["stream"]
    found = []

    def wait():
        if "socket" in path:
            found.append(messages(server, path.format(last)))
        else:
            found.append(server.request("GET", path.format(last))[:2])

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not any(line.startswith(b"latentloom_event_clients 1") for line in server.get("/metrics").splitlines()):
        time.sleep(0.05)
    server.stop()
    waiting.join(30)

    assert found == [told(last, stream)]  # and not a connection that breaks


def test_numbers_begin_behind_all_that_may_have_been_given(own_server):
    server = own_server().until_ready()
    server.request("PATCH", "queue", {"paused": True})
    before = server.get("system")
    server.kill()
    server.start()
    server.request("PATCH", "queue", {"paused": False})
    after = server.get("system")

    assert after["stream"] == before["stream"]
    assert after["event"] >= before["event"] + RESERVE - 10
    assert [event["event"] for event in server.get(f"events?after={before['event']}")["events"]] == ["queue_resumed"]
