"""Addresses that are told of finished jobs."""

import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from serving import PATIENCE, flow, use

SECRET = "a-long-enough-secret"


@pytest.fixture
def listener():
    """An address that answers 500, then redirects, then takes what it is told; and what it was told."""
    told, done = [], threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.append((body, self.headers["X-Latentloom-Signature"]))
            self.send_response({1: 500, 2: 302}.get(len(told), 204))
            if len(told) == 2:
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            if len(told) == 3:
                done.set()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/told", told, done
    server.shutdown()
    server.server_close()


def test_a_finished_job_is_told_until_it_is_heard(own_server, listener):
    address, told, done = listener
    server = own_server(LATENTLOOM_WEBHOOK_HOSTS="127.0.0.1", LATENTLOOM_TOKENS=f"ann:{SECRET}")
    order = {"workflow": flow("p.image", p=use("Picture")), "webhook": address}
    while (found := server.request("POST", "jobs", order, Authorization=f"Bearer {SECRET}"))[0] == 503:
        pass

    assert found[0] == 201, found
    assert done.wait(PATIENCE), server.log()
    for body, signature in told:
        assert json.loads(body)["id"] == found[1]["id"]
        assert json.loads(body)["state"] == "done"
        assert signature == "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1.evil.test/",
        "http://127.0.0.1@evil.test/",
        "http://user@127.0.0.1/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http://[::1",
        "",
    ],
)
def test_only_hosts_that_the_settings_name_are_told(server, address):
    order = {"workflow": flow("p.image", p=use("Picture")), "webhook": address}

    status, body, _ = server.request("POST", "jobs", order)

    assert (status, body["code"]) == (422, "webhook_refused")
