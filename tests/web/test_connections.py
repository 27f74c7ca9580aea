"""Connections that do nothing, send slowly or never read; too many of them; and who still gets in."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import time

import pytest

from latentloom.engine.settings import load_settings
from latentloom.web import connections, routing
from latentloom.web.connections import KEPT_FREE, Connections, client
from latentloom.web.http_errors import TooManyConnections
from latentloom.web.server import serve

SECRET = "a-long-enough-secret"
TOKEN = f"Authorization: Bearer {SECRET}\r\n"


def get(path: str, headers: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode()


def serving(home, act, **flags):
    """What `act(port)` gives, beside a server in this process."""

    async def go():
        settings = load_settings({"port": 0, "tokens": (SECRET,), **flags}, {"LATENTLOOM_HOME": str(home)})
        address = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(serve(settings, [], lambda at, _: address.set_result(at)))
        await asyncio.wait({task, address}, return_when=asyncio.FIRST_COMPLETED)
        try:
            return await act(int((await address).rpartition(":")[2]))
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            await task

    return asyncio.run(go())


async def opened(port, data=b""):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    return reader, writer


async def answer(reader):
    """Status and body of one answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    return int(head.split()[1]), (await reader.readexactly(length)).decode()


async def closed(reader):
    """Wait until the server has closed a connection; what it said before."""
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(), 60)
    return b""


# Time


def test_who_sends_no_header_or_half_of_one_is_let_go(tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.5)

    async def act(port):
        silent, half, second = await opened(port), await opened(port, b"GET / HT"), await opened(port, get("/healthz"))
        status, _ = await answer(second[0])
        second[1].write(b"GET /healthz HT")
        return status, await closed(silent[0]), await closed(half[0]), await closed(second[0])

    assert serving(tmp_path, act) == (200, b"", b"", b"")


def test_who_waits_for_an_answer_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.3)

    async def act(port):
        reader, _ = await opened(port, get("/api/v1/system", TOKEN))
        newest = json.loads((await answer(reader))[1])["event"]
        reader, _ = await opened(port, get(f"/api/v1/events?after={newest}&wait=1.5", TOKEN))
        return await answer(reader)

    status, page = serving(tmp_path, act)
    assert (status, json.loads(page)["events"]) == (200, [])


def test_a_body_that_comes_too_slowly_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(routing, "BODY_SECONDS", 0.5)
    head = b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

    async def act(port):
        reader, writer = await opened(port, head + b"Content-Length: 90\r\n\r\n{")
        status, body = await answer(reader)
        writer.close()
        return status, body

    status, body = serving(tmp_path, act)
    assert (status, "the body arrived too slowly" in body, '"code": "too_slow"' in body) == (408, True, True)


def test_who_never_reads_is_let_go(tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "WRITE_SECONDS", 0.5)

    async def act(port):
        with socket.create_connection(("127.0.0.1", port)) as deaf:
            deaf.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                deaf.sendall(get("/api/v1/openapi.json", TOKEN) * 2000)
            until = time.monotonic() + 60
            while time.monotonic() < until:
                await asyncio.sleep(0.1)
                try:
                    deaf.send(b"G")
                except BlockingIOError:
                    continue
                except ConnectionError:
                    return "closed"
        return "open"

    assert serving(tmp_path, act) == "closed"


# Numbers


def test_strangers_make_room_for_health_and_for_tokens(tmp_path):
    async def act(port):
        strangers = [await opened(port) for _ in range(200)]
        found = []
        for request in (get("/healthz"), get("/api/v1/system", TOKEN)):
            reader, writer = await opened(port, request)
            found.append((await answer(reader))[0])
            writer.close()
        gone = [await closed(reader) for reader, _ in strangers[:130]]
        return found, gone == [b""] * 130

    assert serving(tmp_path, act, connections=64) == ([200, 200], True)


def test_those_with_tokens_leave_room_for_health(tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "SETTLE_SECONDS", 0.0)
    waiting = get("/api/v1/events?after=1000000&wait=60", TOKEN)

    async def act(port):
        idle = [await opened(port, get("/api/v1/system", TOKEN)) for _ in range(KEPT_FREE)]
        first = [(await answer(reader))[0] for reader, _ in idle]
        busy = [await opened(port, waiting) for _ in range(KEPT_FREE)]  # in the places of those who are idle
        gone = [await closed(reader) for reader, _ in idle]
        more = await opened(port, waiting)
        refused = await answer(more[0])
        health = await opened(port, get("/healthz"))
        status, _ = await answer(health[0])
        for _, writer in busy:
            writer.transport.abort()
        return first, gone, refused, status

    first, gone, refused, health = serving(tmp_path, act, connections=2 * KEPT_FREE)
    assert (first, gone, health) == ([200] * KEPT_FREE, [b""] * KEPT_FREE, 200)
    assert (refused[0], '"code": "too_many_connections"' in refused[1]) == (503, True)


def test_without_descriptors_the_server_goes_on_and_its_log_stays_short(own_server):
    server = own_server(LATENTLOOM_TOKENS=SECRET)
    while "worker ready" not in server.log():
        time.sleep(0.1)
    used, log = len(os.listdir(f"/proc/{server.process.pid}/fd")), len(server.log())
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (used + 20, used + 20))

    with contextlib.ExitStack() as strangers:
        port = int(server.address.rpartition(":")[2])
        for _ in range(100):
            strangers.enter_context(socket.create_connection(("127.0.0.1", port)))
        statuses = [server.request("GET", "/healthz")[0] for _ in range(3)]
        status, _, _ = server.request("GET", "system", Authorization=f"Bearer {SECRET}")

    assert (statuses, status) == ([200] * 3, 200)
    assert server.log()[log:].count("no file descriptors are left") == 1
    assert len(server.log()) - log < 2000


# The rules, one by one


class Wire:
    """A transport that only remembers."""

    def __init__(self, address):
        self.address, self.said, self.open = address, b"", True

    def get_extra_info(self, name):
        return (self.address, 1)

    def write(self, data):
        self.said += data

    def close(self):
        self.open = False

    abort = close


def many(most, of_one, addresses, exempt=lambda address: False):
    """Connections from these addresses, in this order."""
    all = Connections(asyncio.Protocol, most, of_one, exempt)
    wires = [Wire(address) for address in addresses]
    made = []
    for wire in wires:
        made.append(all())
        made[-1].connection_made(wire)
    return all, wires, made


def in_loop(act):
    async def go():
        return act()

    return asyncio.run(go())


def test_one_address_has_its_share_and_its_oldest_makes_room():
    def act():
        all, wires, _ = many(64, 2, ["10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.1"])
        return [wire.open for wire in wires], len(all)

    assert in_loop(act) == ([False, True, True, True], 3)


def test_a_proxy_has_no_share():
    def act():
        _, wires, _ = many(64, 2, ["127.0.0.1"] * 5, lambda address: address == "127.0.0.1")
        return [wire.open for wire in wires]

    assert in_loop(act) == [True] * 5


def test_who_is_known_and_busy_makes_no_room(monkeypatch):
    monkeypatch.setattr(connections, "SETTLE_SECONDS", 0.0)

    def act():
        all, wires, made = many(64, 2, ["10.0.0.1"] * 2)
        for connection in made:
            connection.begin()
            connection.welcome()
        late, wire = all(), Wire("10.0.0.1")
        late.connection_made(wire)
        made[1].end()
        later = all()
        later.connection_made(Wire("10.0.0.1"))
        return [wire.open for wire in wires], wire.open, wire.said[:32], all.refused

    assert in_loop(act) == ([True, False], False, b"HTTP/1.1 503 Service Unavailable", 2)


def test_a_connection_is_counted_once_however_it_ends():
    def act():
        all, _, made = many(64, 2, ["10.0.0.1"] * 2)
        made[0].welcome()
        for connection in made:
            connection.abort()
            connection.connection_lost(None)
        with contextlib.suppress(TooManyConnections):
            made[0].welcome()
        return len(all), all._known, dict(all._of)

    assert in_loop(act) == (0, 0, {})


@pytest.mark.parametrize(
    ("peer", "wanted"),
    [
        (("10.0.0.1", 5), "10.0.0.1"),
        (("::ffff:10.0.0.1", 5, 0, 0), "10.0.0.1"),
        (("2001:db8:1:2:3:4:5:6", 5, 0, 0), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 5, 0, 0), "fe80::/64"),
        (("::1", 5, 0, 0), "::1"),
        ("", ""),
        (None, ""),
    ],
)
def test_what_stands_for_a_client(peer, wanted):
    assert client(peer) == wanted
