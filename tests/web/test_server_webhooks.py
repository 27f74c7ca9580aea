"""Addresses that are told of finished jobs: who may be, with which signature, and for how long."""

import base64
import hashlib
import hmac
import json
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from serving import PATIENCE, flow, use

from latentloom.engine.errors import SettingsError
from latentloom.engine.settings import load_settings
from latentloom.web.webhooks import Permission

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
TOKEN = "a-long-enough-secret"


@pytest.fixture
def listener():
    """An address that answers 500, then redirects, then takes what it is told; and what it was told."""
    told, done = [], threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            told.append((self.rfile.read(int(self.headers["Content-Length"])), self.headers))
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
    server = own_server(LATENTLOOM_WEBHOOK_HOSTS="127.0.0.1", LATENTLOOM_WEBHOOK_SECRET=SECRET).until_ready()
    id = server.order({"workflow": flow("p.image", p=use("Picture")), "webhook": address})

    assert done.wait(PATIENCE), server.log()
    for body, headers in told:
        message = json.loads(body)
        assert (message["type"], message["data"]["id"], message["data"]["state"]) == ("job.done", id, "done")
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
    assert {headers["webhook-id"] for _, headers in told} == {f"job_{id}"}


@pytest.fixture
def heard():
    """A server that takes any POST: it, and the paths that it was asked for."""
    paths, done = [], threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            paths.append((self.path, self.headers["Proxy-Authorization"]))
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()
            done.set()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    yield server, paths, done
    server.shutdown()
    server.server_close()


def test_a_proxy_may_stand_between(own_server, heard):
    proxy, paths, done = heard
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    server = own_server(
        LATENTLOOM_WEBHOOK_HOSTS="far.test",
        LATENTLOOM_WEBHOOK_SECRET=SECRET,
        LATENTLOOM_WEBHOOK_PROXY=f"http://ann:secret@127.0.0.1:{proxy.server_port}",
    ).until_ready()
    server.order({"workflow": flow("p.image", p=use("Picture")), "webhook": "http://far.test/told"})

    assert done.wait(PATIENCE), server.log()
    assert paths[0] == ("http://far.test/told", f"Basic {base64.b64encode(b'ann:secret').decode()}")


def test_a_host_may_have_a_certificate_of_ones_own_authority(own_server, heard, tmp_path):
    listener, paths, done = heard
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    options = ["-nodes", "-newkey", "rsa:2048", "-subj", "/CN=here", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", *options, "-keyout", key, "-out", certificate]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    server = own_server(
        LATENTLOOM_WEBHOOK_HOSTS="127.0.0.1",
        LATENTLOOM_WEBHOOK_SECRET=SECRET,
        LATENTLOOM_WEBHOOK_CA=str(certificate),
    ).until_ready()
    address = f"https://127.0.0.1:{listener.server_port}/told"
    server.order({"workflow": flow("p.image", p=use("Picture")), "webhook": address})

    assert done.wait(PATIENCE), server.log()
    assert paths[0] == ("/told", None)


@pytest.mark.parametrize("proxy", ["proxy.example.org:3128", "socks5://host:1", "http://host:0", "http://h:1/path", ""])
def test_a_proxy_that_is_none_is_refused(proxy):
    with pytest.raises(SettingsError, match="'webhook_proxy' cannot be used"):
        Permission(load_settings({"webhook_proxy": proxy}, {}))


def test_a_file_that_holds_no_authorities_is_refused(tmp_path):
    (tmp_path / "text").write_text("no certificate")
    for name in ("text", "nothing", ""):
        with pytest.raises(SettingsError, match="'webhook_ca' cannot be used"):
            Permission(load_settings({"webhook_ca": tmp_path / name}, {}))


def test_an_address_that_the_settings_no_longer_name_is_not_told(own_server, listener):
    address, told, _ = listener
    server = own_server(LATENTLOOM_WEBHOOK_HOSTS="127.0.0.1", LATENTLOOM_WEBHOOK_SECRET=SECRET).until_ready()
    server.request("PATCH", "queue", {"paused": True})
    id = server.order({"workflow": flow("p.image", p=use("Picture")), "webhook": address})
    server.stop()
    server._environment.pop("LATENTLOOM_WEBHOOK_HOSTS")
    server.start()
    server.request("POST", f"jobs/{id}/cancel")

    while f"an address is no longer allowed for webhooks job={id}" not in server.log():
        threading.Event().wait(0.05)
    assert told == []


def test_without_a_secret_nobody_is_told(own_server, listener):
    server = own_server(LATENTLOOM_WEBHOOK_HOSTS="127.0.0.1").until_ready()
    order = {"workflow": flow("p.image", p=use("Picture")), "webhook": listener[0]}

    status, body, _ = server.request("POST", "jobs", order)

    assert (status, body["code"]) == (422, "webhook_refused")
    assert "webhook_secret" in body["problems"][0]["hint"]


def test_a_worker_does_not_know_the_secret(own_server):
    proxy = "http://ann:secret@127.0.0.1:1"
    secrets = {"LATENTLOOM_WEBHOOK_SECRET": SECRET, "LATENTLOOM_WEBHOOK_PROXY": proxy}
    server = own_server(LATENTLOOM_TOKENS=f"ann:{TOKEN}", **secrets)
    while not (workers := server.request("GET", "system", Authorization=f"Bearer {TOKEN}")[1]["workers"])[0]["pid"]:
        pass
    for worker in workers:
        environment = Path(f"/proc/{worker['pid']}/environ").read_text().split("\0")
        names = {line.partition("=")[0] for line in environment}
        assert "LATENTLOOM_HOME" in names
        assert not {"LATENTLOOM_TOKENS", *secrets} & names


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


@pytest.mark.parametrize("named", ["Example.org", "example.ORG.", " example.org"])
@pytest.mark.parametrize("address", ["http://example.org/x", "https://EXAMPLE.org:8443/x", "http://example.org./"])
def test_a_host_is_the_same_in_any_letters(named, address):
    permission = Permission(load_settings({"webhook_hosts": (named,), "webhook_secret": SECRET}, {}))
    assert permission.checked(address) == address


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "a plain text of enough letters", "whsec_!!!!"])
def test_a_secret_that_is_none_is_refused(secret):
    with pytest.raises(SettingsError, match="'webhook_secret' cannot be used") as caught:
        Permission(load_settings({"webhook_secret": secret}, {}))
    assert not secret.removeprefix("whsec_") or secret not in str(caught.value)
