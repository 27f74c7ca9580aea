"""Servers for tests: `loom serve` in a process of its own, with the plant plugin."""

import contextlib
import fcntl
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLANT, WILD, POWER = (Path(__file__).parent / "web" / name for name in ("plant", "wild", "power"))
PATIENCE = 120  # seconds: a busy machine takes long for what a free one does at once


def until(holds: Callable[[], Any], told: Callable[[], Any] = lambda: None) -> Any:
    """The first true answer of a condition that is to hold before long; `told` is what a failure shows."""
    end = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < end, told()
        time.sleep(0.05)
    return found


_inspected: dict[str, bytes] = {}  # records of inspections, by the names of their files


class Server:
    """A server in a home; it can be killed and started again."""

    def __init__(self, home: Path, *flags: str, **environment: str) -> None:
        self.home = home
        self._flags = flags
        self._environment = environment
        self.address = ""
        self.once = ""
        self.start()

    def start(self, port: str = "0") -> None:
        """Start it; with 0 at a free port."""
        environment = {
            **os.environ,
            "LATENTLOOM_HOME": str(self.home),
            "PYTHONPATH": str(PLANT),
            "OMP_NUM_THREADS": "1",
            "LATENTLOOM_WARM_UP": "false",
            **self._environment,
        }
        self._know_plugins()
        command = [sys.executable, "-c", "import sys; from latentloom.cli.main import main; sys.exit(main())", "serve"]
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", port, *self._flags], env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        line = self.process.stdout.readline()
        assert line.startswith("Latentloom is at "), self.log()
        self.address = line.split()[-1].replace("localhost", "127.0.0.1")
        if "LATENTLOOM_TOKENS" in self._environment:
            self.once = self.process.stdout.readline().split()[-1]

    @property
    def port(self) -> str:
        """Where it listens, also when it is dead."""
        return self.address.rpartition(":")[2]

    def until_ready(self) -> "Server":
        """Wait until every plugin has been looked at and all workers are up."""
        while (system := self.get("system")) and not (
            system["ready"]
            and not system["inspecting"]
            and all(worker["state"] != "starting" for worker in system["workers"])
        ):
            time.sleep(0.1)
        for record in self._records.glob("latentloom-*.json"):
            _inspected.setdefault(record.name, record.read_bytes())
        return self

    @property
    def _records(self) -> Path:
        return self.home / "data" / "specs"

    def _know_plugins(self) -> None:
        """Give a new home what another server of these tests found out about our own plugins: 2.5 s of a processor."""
        if not self._records.exists():
            self._records.mkdir(parents=True)
            for name, content in _inspected.items():
                (self._records / name).write_bytes(content)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=PATIENCE)
        self.process.stdout.close()
        return code

    def log(self) -> str:
        return (self.home / "log").read_text()

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """(status, parsed JSON or bytes, headers); paths without a leading slash are below /api/v1."""
        url = self.address + (path if path.startswith("/") else f"/api/v1/{path}")
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with _opener.open(request, timeout=PATIENCE) as response:
                found = _read(response.status, response)
        except urllib.error.HTTPError as error:
            found = _read(error.code, error)
        check_documented(method, urllib.parse.urlsplit(url).path, found[0])
        return found

    def get(self, path: str) -> Any:
        status, body, _ = self.request("GET", path)
        assert status == 200, body
        return body

    def submit(self, outputs: str = "", **nodes: Any) -> str:
        """Queue a workflow of plant nodes; its id."""
        return self.order({"workflow": flow(outputs, **nodes)})

    def order(self, body: dict[str, Any]) -> str:
        while True:
            status, answer, _ = self.request("POST", "jobs", body)
            if status != 503:
                break
            time.sleep(0.1)
        assert status in (200, 201), answer
        return answer["id"]

    def wait(self, job: str, *states: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """The job once it is in one of the states, or has ended."""
        states = states or ("done", "failed", "cancelled")
        after, end = 0, time.monotonic() + seconds
        while (found := self.get(f"jobs/{job}"))["state"] not in states:
            assert time.monotonic() < end, (found, self.log())
            after = self.get(f"events?job={job}&after={after}&wait=1")["next"]
        return found

    def events(self, job: str) -> list[dict[str, Any]]:
        return self.get(f"events?job={job}")["events"]


def fail_power(server: Server) -> None:
    """End all processes at once and leave of the queue what was synced, with POWER on the server's path."""
    pids = [worker["pid"] for worker in server.get("system")["workers"] if worker["pid"]]
    with (server.home / "syncing").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # readers see no commit that has no copy
        server.kill()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    data = server.home / "data"
    for path in data.glob("queue.db*"):
        path.unlink()
    for file in (server.home / "synced").iterdir():
        shutil.copyfile(file, data / file.name)


def check_documented(method: str, path: str, status: int) -> None:
    """Whether the document of the API names this status for this route."""
    for template, operations in _document()["paths"].items():
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)).replace("files/[^/]+", "files/.+")
        operation = operations.get(method.lower())
        if operation is None or not re.fullmatch(pattern, path):
            continue
        assert str(status) in operation["responses"], (method, path, status, sorted(operation["responses"]))
        return


@functools.cache
def _document() -> dict[str, Any]:
    from latentloom.web.app import route_table
    from latentloom.web.openapi import document

    return document(route_table())


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))


def _read(status: int, response: Any) -> tuple[int, Any, dict[str, str]]:
    data = response.read()
    plain = "Content-Encoding" not in response.headers
    is_json = plain and response.headers.get_content_type() == "application/json" and data
    return status, json.loads(data) if is_json else data, dict(response.headers)


def use(type: str, **inputs: Any) -> dict[str, Any]:
    """A node of a plant type; texts that begin with `@` are edges."""
    wired = {
        name: {"node": v[1:], "output": "value"} if isinstance(v, str) and v.startswith("@") else v
        for name, v in inputs.items()
    }
    return {"type": f"plant/{type}", "version": 1, "inputs": wired}


def flow(outputs: str = "", **nodes: Any) -> dict[str, Any]:
    """A document; outputs is a space-separated list of nodes or `node.output`s."""
    pairs = [text.partition(".") for text in outputs.split()]
    named = [{"name": name, "from": {"node": name, "output": output or "value"}} for name, _, output in pairs]
    return {"format": "latentloom/1", "name": "test", "nodes": nodes, "outputs": named}
