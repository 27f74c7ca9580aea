"""The proxy's configuration of docs/deploy.md, run by nginx in front of a server."""

import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from serving import Server, flow, until, use

PAGE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text(encoding="utf-8")
TOKEN = "a-long-enough-secret"

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def configuration(folder: Path, listen: int, server: str) -> str:
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", PAGE.partition("## systemd")[0], re.MULTILINE)
    mapped, location = (block.strip("\n") for block in blocks)
    location = location.replace("http://127.0.0.1:8420", server)
    return f"""
daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {mapped}
    server {{ listen 127.0.0.1:{listen}; {location} }}
}}
"""


@pytest.fixture
def proxied(own_server, tmp_path):
    """A server and the address of the proxy in front of it, as the page configures both."""
    listen = free_port()
    public = f"http://127.0.0.1:{listen}"
    server = own_server(
        LATENTLOOM_TOKENS=f"ann:{TOKEN}", LATENTLOOM_PUBLIC_URL=public, LATENTLOOM_TRUSTED_PROXIES="127.0.0.1"
    )
    file = tmp_path / "nginx.conf"
    file.write_text(configuration(tmp_path, listen, server.address))
    checked = subprocess.run(["nginx", "-t", "-p", tmp_path, "-c", file], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    nginx = subprocess.Popen(["nginx", "-p", tmp_path, "-c", file])
    until(lambda: socket.socket().connect_ex(("127.0.0.1", listen)) == 0)
    yield server, public
    nginx.terminate()
    nginx.wait()


def through(server: Server, public: str, method: str, path: str, body=None, **headers: str):
    own, server.address = server.address, public
    try:
        return server.request(method, path, body, **headers)
    finally:
        server.address = own


def test_a_page_behind_the_proxy_logs_in_and_queues_a_job(proxied):
    server, public = proxied
    page = {"Origin": public, "Sec_Fetch_Site": "same-origin"}

    status, _, headers = through(server, public, "POST", "login", {"token": TOKEN}, **page)
    assert status == 200
    cookie = headers["Set-Cookie"].partition(";")[0]

    def known() -> bool:
        seen = through(server, public, "GET", "system", Cookie=cookie)[1]
        return seen["ready"] and not seen["inspecting"]

    until(known)
    order = {"workflow": flow("p.image", p=use("Picture"))}
    assert through(server, public, "POST", "jobs", order, Cookie=cookie, **page)[0] == 201
    assert through(server, public, "POST", "jobs", order, Cookie=cookie, Origin="http://evil.test")[0] == 403


def test_a_socket_is_opened_through_the_proxy(proxied):
    _, public = proxied
    host = public.removeprefix("http://")
    with socket.create_connection(tuple(host.split(":"))) as client:
        client.sendall(
            f"GET /api/v1/events/socket HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        assert client.recv(100).startswith(b"HTTP/1.1 101 ")
