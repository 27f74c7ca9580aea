"""A server under fire: its processes are killed, stopped and cut from power while jobs come in, files are removed by
hand and readers leave in the middle. Then everything that was lost, done twice or changed is counted."""

import contextlib
import hashlib
import os
import random
import signal
import socket
import sqlite3
import threading
import time
import urllib.error
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from serving import PLANT, POWER, WILD, Server, fail_power, flow, use

from latentloom.api.client import Client
from latentloom.engine.errors import LoomError

MOVES = {"worker": 12, "kill": 8, "power": 3, "remove": 6, "leave": 6, "stall": 1}
"""How often each move occurs in a round."""

JOBS = ("chain",) * 6 + ("picture",) * 3 + ("fork", "spawn", "greedy")
ENDS = ("job_done", "job_failed", "job_cancelled")
OUTSTANDING = 6
STALL_SECONDS = 36.0  # a worker is replaced after 30 seconds of silence
LEAVE_SECONDS = 90.0
FAREWELL_SECONDS = 30.0
GONE = (urllib.error.URLError, HTTPException, ConnectionError, TimeoutError)


@dataclass
class Tally:
    """What a trial found. `faults` should be empty."""

    moves: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    died_twice: int = 0  # jobs that failed because two workers were killed over them, as promised
    faults: dict[str, list[str]] = field(default_factory=dict)
    memory: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def fault(self, kind: str, text: str) -> None:
        self.faults.setdefault(kind, []).append(text)


@dataclass
class _Order:
    """An accepted job."""

    kind: str
    tag: str
    removed: bool = False  # whether one of its files was removed or changed by hand


def rounds(dice: random.Random) -> Iterator[str]:
    """Yield moves without end, each round in an order of its own."""
    while True:
        moves = [name for name, count in MOVES.items() for _ in range(count)]
        dice.shuffle(moves)
        yield from moves


class ServerTrial:
    """A server, its clients and what happens to them."""

    def __init__(self, home: Path, seed: int) -> None:
        self._dice = random.Random(seed)
        self._home = home
        self._server = Server(home, PYTHONPATH=f"{PLANT}:{WILD}:{POWER}").until_ready()
        self._orders: dict[str, _Order] = {}
        self._ends: Counter[str] = Counter()  # that the follower saw
        self._readers: list[threading.Thread] = []
        self._stop, self._counted = threading.Event(), threading.Event()
        self.tally = Tally()

    def run(self, moves: Iterable[str], seconds: float) -> Tally:
        """Make these moves, or as many as fit; then let everything end and count."""
        submitter, follower = (threading.Thread(target=work) for work in (self._submit_for_ever, self._follow))
        submitter.start()
        follower.start()
        until = time.monotonic() + seconds
        try:
            for move in moves:
                time.sleep(self._dice.uniform(0.02, 1.2))
                if time.monotonic() > until:
                    break
                self._measure()
                getattr(self, f"_{move}")()
                self.tally.moves[move] += 1
            self._stop.set()
            submitter.join()
            self._count()
        finally:
            self._stop.set()
            self._counted.set()
            follower.join()
            self._end()
        return self.tally

    # Clients

    def _submit_for_ever(self) -> None:
        dice = random.Random(self._dice.random())
        while not self._stop.is_set():
            order = _Order(dice.choice(JOBS), uuid.uuid4().hex)
            body = {"idempotency_key": order.tag, "workflow": self._workflow(order, dice.random())}
            while not self._stop.is_set():
                with contextlib.suppress(*GONE):
                    status, answer, _ = self._server.request("POST", "jobs", body)
                    if status in (200, 201):
                        self._orders[answer["id"]] = order
                        break
                time.sleep(0.05)
            while len(self._orders) - self._ended() > OUTSTANDING and not self._stop.is_set():
                time.sleep(0.1)

    def _ended(self) -> int:
        with contextlib.suppress(*GONE, AssertionError):
            counts = self._server.get("queue")["counts"]
            return sum(counts.get(state, 0) for state in ("done", "failed", "cancelled"))
        return 0

    def _workflow(self, order: _Order, level: float) -> dict[str, Any]:
        journal = str(self._home / f"journal-{order.tag}")
        if order.kind == "chain":
            a = use("Note", journal=journal, tag=order.tag, seconds=0.26)
            s = use("Save", text="@a", name=f"kept-{order.tag}")
            return flow("b", a=a, s=s, b=use("Note", journal=journal, tag=f"{order.tag}-b", after="@s"))
        if order.kind == "picture":
            return flow("s", s=use("SavePicture", level=level, size=16))
        if order.kind == "greedy":
            return flow("g", g=use("Greedy"))
        return flow("o", o={**use("Orphan", journal=journal, way=order.kind), "type": "wild/Orphan"})

    def _follow(self) -> None:
        """Read the events of all jobs as a client that misses none."""
        after = 0
        while not self._counted.is_set():
            with contextlib.suppress(*GONE):
                status, page, _ = self._server.request("GET", f"events?after={after}&wait=1")
                if status != 200:
                    self.tally.fault("stream_refused", f"{status} after {after}: {page}")
                    after = 0
                    continue
                numbers = [event["number"] for event in page["events"]]
                if sorted(set(numbers)) != numbers or (numbers and numbers[0] <= after):
                    self.tally.fault("numbers_twice", f"{numbers} after {after}")
                self._ends.update(event["job"] for event in page["events"] if event["event"] in ENDS)
                after = page["next"]
                continue
            time.sleep(0.1)

    # Moves

    def _worker(self) -> None:
        """Kill a worker, but none whose job has lost a worker already."""
        with contextlib.suppress(*GONE, AssertionError):
            workers = self._server.get("system")["workers"]
            pids = [worker["pid"] for worker in workers if worker["pid"] and not self._died(worker["job"])]
            if pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._dice.choice(pids), signal.SIGKILL)

    def _died(self, job: str | None) -> bool:
        if job is None:
            return False
        dies = job not in self._orders or self._orders[job].kind in ("fork", "spawn")
        return dies or self._server.get(f"jobs/{job}")["deaths"] > 0

    def _kill(self) -> None:
        """Kill the server."""
        self._server.kill()
        self._server.start(self._server.port)

    def _power(self) -> None:
        """Cut the power: all processes end at once, and the queue is what was synced."""
        fail_power(self._server)
        self._server.start(self._server.port)

    def _stall(self) -> None:
        """Stop the server for longer than a worker may be silent."""
        os.kill(self._server.process.pid, signal.SIGSTOP)
        time.sleep(STALL_SECONDS)
        os.kill(self._server.process.pid, signal.SIGCONT)

    def _remove(self) -> None:
        """Remove or change a saved file by hand; perhaps its job's owner then removes it through the API."""
        page = self._server.get("outputs?limit=20")["outputs"]
        ended = [file for file in page if file["job"] in self._orders and self._ends[file["job"]]]
        if not ended:
            return
        file = self._dice.choice(ended)
        path = self._home / "output" / file["path"]
        before = self._files()
        self._orders[file["job"]].removed = True
        way = self._dice.choice(("unlink", "change", "keep"))
        if way == "unlink":
            path.unlink(missing_ok=True)
        elif way == "change":
            path.write_bytes(b"by hand")
        for one in page:
            self._look_at(one)
        if self._dice.random() < 0.5:
            self._server.request("DELETE", f"outputs/{file['sha256']}")
            gone = {name for name, sha256 in before.items() if name not in self._files() and sha256 != file["sha256"]}
            if gone - {file["path"]}:
                self.tally.fault("removed_too", f"{gone} beside {file['path']}")

    def _files(self) -> dict[str, str]:
        """The sha256 of each file in the output folder, apart from the trash."""
        folder = self._home / "output"
        found = {}
        for path in folder.glob("[!.]*"):
            with contextlib.suppress(FileNotFoundError):
                found[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def _look_at(self, file: dict[str, Any]) -> None:
        """Check that a hash leads to its content or to nothing."""
        status, content, _ = self._server.request("GET", f"outputs/{file['sha256']}/content")
        removed = file["job"] in self._orders and self._orders[file["job"]].removed
        if status == 200 and hashlib.sha256(content).hexdigest() != file["sha256"]:
            self.tally.fault("other_content", file["path"])
        if status != 200 and not removed and file["job"] in self._orders:
            self.tally.fault("not_served", f"{file['path']}: {status} {content}")

    def _leave(self) -> None:
        """Begin to read a job's events, and leave in the middle."""
        if not self._orders:
            return
        job, count = self._dice.choice(list(self._orders)[-OUTSTANDING:]), self._dice.randrange(8)
        act: Callable[[str, int], None] = self._dice.choice((self._leave_client, self._leave_socket))
        reader = threading.Thread(target=act, args=(job, count), daemon=True, name=f"{act.__name__} {job}")
        reader.start()
        self._readers.append(reader)

    def _leave_client(self, job: str, count: int) -> None:
        with contextlib.suppress(LoomError), Client(self._server.address, patience=5) as client:
            for number, _ in enumerate(client.stream(job, live=True)):
                if number == count:
                    break

    def _leave_socket(self, job: str, count: int) -> None:
        """Break a WebSocket off without a word."""
        parts = urlsplit(self._server.address)
        lines = (
            f"GET /api/v1/events/socket?job={job}&previews=true HTTP/1.1",
            f"Host: {parts.netloc}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        )
        with contextlib.suppress(OSError), socket.create_connection((parts.hostname, parts.port), timeout=5) as link:
            link.sendall("\r\n".join((*lines, "", "")).encode())
            link.recv(100 * count + 1)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, no goodbye

    def _measure(self) -> None:
        pid = self._server.process.pid
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/statm").read_text()
            self.tally.memory.append(int(text.split()[1]) * 4096)
            self.tally.descriptors.append(len(os.listdir(f"/proc/{pid}/fd")))

    # Counting

    def _count(self) -> None:
        tally, known = self.tally, {}
        tally.accepted = len(self._orders)
        for job in self._orders:
            try:
                known[job] = self._server.wait(job, seconds=300)
            except AssertionError as error:
                tally.fault("lost", f"{job} {error}"[:500])
        for job, found in known.items():
            self._count_job(job, found, self._orders[job])
        self._count_ends(known)
        self._count_rows()
        silenced = [line for line in self._server.log().splitlines() if "is ended" in line and "why=silent" in line]
        for line in silenced:
            tally.fault("workers_silenced", line)
        for reader in self._readers:
            reader.join(LEAVE_SECONDS)
            if reader.is_alive():
                tally.fault("stuck", reader.name)

    def _count_ends(self, known: Iterable[str]) -> None:
        """Wait until the follower has read all, and check that it saw each end once."""
        end = time.monotonic() + FAREWELL_SECONDS
        while any(not self._ends[job] for job in known) and time.monotonic() < end:
            time.sleep(0.1)
        for job in known:
            if self._ends[job] != 1:
                self.tally.fault("ends_followed", f"{job} {self._ends[job]} times")

    def _count_rows(self) -> None:
        database = sqlite3.connect(self._home / "data" / "queue.db")
        answer = database.execute("PRAGMA integrity_check").fetchone()[0]
        if answer != "ok":
            self.tally.fault("damaged_database", answer)
        total = database.execute("SELECT count(*) FROM jobs").fetchone()[0]
        unknown = total - len(self._orders)  # accepted, but the answer was lost with the server: at most the last
        if unknown > 1:
            self.tally.fault("accepted_twice", f"{unknown} jobs that nobody submitted")

    def _count_job(self, job: str, found: dict[str, Any], order: _Order) -> None:
        events, tally = self._server.events(job), self.tally
        codes = [problem["code"] for problem in found["problems"]]
        if found["state"] == "failed" and codes == ["worker_died"]:
            tally.died_twice += 1
        elif (found["state"], codes) != (("failed", ["out_of_memory"]) if order.kind == "greedy" else ("done", [])):
            tally.fault("ended_otherwise", f"{job} {order.kind} {found['state']} {found['problems']}")
        elif order.kind in ("chain", "picture"):
            self._count_files(job, found, order)
        if sum(event["event"] in ENDS for event in events) != 1:
            tally.fault("ended_twice", job)
        ended = Counter()
        for event in events if order.kind == "chain" else ():
            if event["event"] == "node_started" and ended[event["node"]] and event["node"] in "as":
                tally.fault("run_again", f"{job} {event['node']}")
            ended[event.get("node")] += event["event"] == "node_finished"

    def _count_files(self, job: str, found: dict[str, Any], order: _Order) -> None:
        if order.removed:
            return
        folder = self._home / "output"
        if order.kind == "chain":
            files = list(folder.glob(f"kept-{order.tag}*"))
            contents = [file.read_text() for file in files]
            if contents != [order.tag]:
                self.tally.fault("files_of_a_chain", f"{job} {files} {contents}")
        if len(found["files"]) != 1:
            self.tally.fault("files_of_a_job", f"{job} {found['files']}")
        for file in found["files"]:
            self._look_at(file)

    def _end(self) -> None:
        """Stop the server, and check that no process stays behind."""
        with contextlib.suppress(OSError):
            os.kill(self._server.process.pid, signal.SIGCONT)
        code = self._server.stop()
        if code != 0:
            self.tally.fault("unclean_stop", str(code))
        end = time.monotonic() + FAREWELL_SECONDS
        while (left := list(self._processes())) and time.monotonic() < end:
            time.sleep(0.1)
        for pid, command in left:
            self.tally.fault("left_behind", command)
            os.kill(pid, signal.SIGKILL)

    def _processes(self) -> Iterator[tuple[int, str]]:
        """The processes that the server and its workers began."""
        mark = f"LATENTLOOM_HOME={self._home}".encode()
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and mark in (folder / "environ").read_bytes().split(b"\0"):
                    yield int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
