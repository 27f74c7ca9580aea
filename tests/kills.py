"""Kills a server and its workers at random moments while jobs come in, then counts what was lost or done twice.

python tests/kills.py --kills 200
python tests/kills.py --minutes 60     # and how memory and descriptors grow between restarts
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import threading
import time
import urllib.error
import uuid
from collections import Counter
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from serving import Server, flow, use

ENDS = ("job_done", "job_failed", "job_cancelled")
OUTSTANDING = 6
GONE = (urllib.error.URLError, HTTPException, ConnectionError, TimeoutError)


@dataclass
class Tally:
    """What a trial found; everything but the first three should be 0."""

    kills: int = 0
    accepted: int = 0
    died_twice: int = 0  # jobs that failed because two workers were killed over them, as promised
    lost: list[str] = field(default_factory=list)
    not_done: list[str] = field(default_factory=list)
    ended_twice: list[str] = field(default_factory=list)
    files_missing: list[str] = field(default_factory=list)
    files_twice: list[str] = field(default_factory=list)
    files_damaged: list[str] = field(default_factory=list)
    run_again: list[str] = field(default_factory=list)
    damaged_database: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def faults(self) -> dict[str, list[str]]:
        """What should be empty and is not."""
        names = ("lost", "not_done", "ended_twice", "files_missing", "files_twice", "files_damaged", "run_again")
        return {name: getattr(self, name) for name in (*names, "damaged_database") if getattr(self, name)}


class Trial:
    """A server under fire."""

    def __init__(self, home: Path, seed: int) -> None:
        self._random = random.Random(seed)
        self._server = Server(home).until_ready()
        self._home = home
        self._journal = home / "journal"
        self._accepted: dict[str, str] = {}  # the tag of each accepted job
        self._stop = threading.Event()
        self.tally = Tally()

    def run(self, kills: int, seconds: float) -> Tally:
        """Kill so often, or for so long; then let everything end and count."""
        submitter = threading.Thread(target=self._submit_for_ever)
        submitter.start()
        until = time.monotonic() + seconds
        while self.tally.kills < kills and time.monotonic() < until:
            time.sleep(self._random.uniform(0.02, 1.2))
            self._measure()
            self._kill_one()
            self.tally.kills += 1
        self._stop.set()
        submitter.join()
        try:
            self._count()
        finally:
            self._server.stop()
        return self.tally

    def _submit_for_ever(self) -> None:
        while not self._stop.is_set():
            tag = uuid.uuid4().hex
            key = {"idempotency_key": tag, "workflow": self._workflow(tag)}
            while not self._stop.is_set():
                with contextlib.suppress(*GONE):
                    status, body, _ = self._server.request("POST", "jobs", key)
                    if status in (200, 201):
                        self._accepted[body["id"]] = tag
                        break
                time.sleep(0.05)
            while len(self._accepted) - self._ended() > OUTSTANDING and not self._stop.is_set():
                time.sleep(0.1)

    def _ended(self) -> int:
        with contextlib.suppress(*GONE, AssertionError):
            counts = self._server.get("queue")["counts"]
            return sum(counts.get(state, 0) for state in ("done", "failed", "cancelled"))
        return 0

    def _workflow(self, tag: str) -> dict[str, Any]:
        return flow(
            "b",
            a=use("Note", journal=str(self._journal), tag=tag, seconds=0.26),
            s=use("Save", text="@a", name=f"kept-{tag}"),
            b=use("Note", journal=str(self._journal), tag=f"{tag}-b", after="@s"),
        )

    def _kill_one(self) -> None:
        workers = []
        if self._random.random() < 0.6:
            with contextlib.suppress(*GONE, AssertionError):
                seats = self._server.get("system")["workers"]
                workers = [seat["pid"] for seat in seats if seat["pid"] and not self._died(seat["job"])]
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._random.choice(workers), signal.SIGKILL)
        else:
            self._server.kill()
            self._server.start()

    def _died(self, job: str | None) -> bool:
        return job is not None and self._server.get(f"jobs/{job}")["deaths"] > 0

    def _measure(self) -> None:
        pid = self._server.process.pid
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/statm").read_text()
            self.tally.memory.append(int(text.split()[1]) * 4096)
            self.tally.descriptors.append(len(os.listdir(f"/proc/{pid}/fd")))

    def _count(self) -> None:
        tally, known = self.tally, {}
        tally.accepted = len(self._accepted)
        for job in self._accepted:
            try:
                known[job] = self._server.wait(job, seconds=300)
            except AssertionError:
                tally.lost.append(job)
        for job, found in known.items():
            self._count_job(job, found, self._accepted[job])
        database = sqlite3.connect(self._home / "data" / "queue.db")
        answer = database.execute("PRAGMA integrity_check").fetchone()[0]
        tally.damaged_database += [] if answer == "ok" else [answer]
        total = database.execute("SELECT count(*) FROM jobs").fetchone()[0]
        unknown = total - len(self._accepted)  # accepted, but the answer was lost with the server: at most the last
        tally.ended_twice += [f"{unknown} jobs that nobody submitted"] if unknown > 1 else []

    def _count_job(self, job: str, found: dict[str, Any], tag: str) -> None:
        tally, events = self.tally, self._server.events(job)
        twice = found["state"] == "failed" and found["problems"][0]["code"] == "worker_died"
        tally.died_twice += twice
        tally.not_done += [] if twice or found["state"] == "done" else [f"{job} {found['state']} {found['problems']}"]
        tally.ended_twice += [job] if sum(event["event"] in ENDS for event in events) != 1 else []
        files = list((self._home / "output").glob(f"kept-{tag}*"))
        tally.files_missing += [job] if not files and not twice else []
        tally.files_twice += [job] if len(files) > 1 else []
        tally.files_damaged += [str(file) for file in files if file.read_text() != tag]
        ended = Counter()
        for event in events:
            if event["event"] == "node_started" and ended[event["node"]]:
                tally.run_again += [f"{job} {event['node']}"] if event["node"] in "as" else []
            ended[event.get("node")] += event["event"] == "node_finished"


def slope(values: list[int]) -> float:
    """How much the second half's median is above the first's."""
    half = len(values) // 2
    return sorted(values[half:])[half // 2] - sorted(values[:half])[half // 2] if half else 0.0


def main() -> int:
    """Print the tally; 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10**9)
    parser.add_argument("--minutes", type=float, default=10**9)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        tally = Trial(Path(home) / "home", given.seed).run(given.kills, given.minutes * 60)
    print(f"seed {given.seed}: {tally.kills} kills, {tally.accepted} jobs, {tally.died_twice} failed by two deaths")
    print(f"memory grew by {slope(tally.memory) / 2**20:.1f} MiB, descriptors by {slope(tally.descriptors):.0f}")
    print(json.dumps(tally.faults(), indent=2))
    return 1 if tally.faults() else 0


if __name__ == "__main__":
    sys.exit(main())
