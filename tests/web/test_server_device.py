"""One accelerator for a server and for `loom run` beside it, in processes of their own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from serving import PATIENCE, PLANT, Server, flow, until, use

CARD = Path(__file__).parent / "card"
LOOM = "import sys; from latentloom.cli.main import main; sys.exit(main())"


class Runs:
    """`loom run` in a home, with an accelerator that computes nothing or without."""

    def __init__(self, folder: Path) -> None:
        self.home, self.folder = folder / "home", folder
        self.journal = folder / "journal"

    def start(self, tag: str, *flags: str, card: bool = True, prelude: str = "", **options) -> subprocess.Popen:
        document = flow("c", c=use("Compute", journal=str(self.journal), tag=tag, **options), s=use("Save", text="@c"))
        path = self.folder / f"{tag}.json"
        path.write_text(json.dumps(document))
        environment = {
            **os.environ,
            "LATENTLOOM_HOME": str(self.home),
            "PYTHONPATH": f"{PLANT}:{CARD}" if card else str(PLANT),
        }
        return subprocess.Popen(
            [sys.executable, "-c", prelude + LOOM, "run", str(path), "--json", *flags],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip

    def lines(self) -> list[str]:
        return self.journal.read_text().splitlines() if self.journal.exists() else []

    def until(self, line: str) -> None:
        until(lambda: line in self.lines(), self.lines)


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path)


@pytest.fixture(scope="module")
def card_home(tmp_path_factory):
    return tmp_path_factory.mktemp("card") / "home"


@pytest.fixture(scope="module")
def shared(card_home):
    made = Server(card_home, PYTHONPATH=f"{PLANT}:{CARD}").until_ready()
    yield made
    made.kill()


@pytest.fixture
def card_server(shared, runs):
    runs.home = shared.home
    return shared


def ended(process):
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, json.loads(out), err


def test_a_run_is_handed_to_the_server_that_has_the_device(card_server, runs, tmp_path):
    code, found, err = ended(runs.start("a"))
    jobs = card_server.get("jobs")["jobs"]

    assert (code, err) == (0, f"the server at {told(card_server)} has the device: the job is handed to it\n")
    assert [(job["state"], job["device"]) for job in jobs[:1]] == [("done", True)]
    assert (found["status"], found["outputs"], found["problems"]) == ("done", {"c": "a"}, [])
    assert {id: node["status"] for id, node in found["nodes"].items()} == {"c": "done", "s": "done"}
    assert [Path(file["path"]).read_text() for file in found["files"]] == ["a"]

    _, found, _ = ended(runs.start("a", "--out", str(tmp_path / "got")))
    assert [file["path"] for file in found["files"]] == [str(tmp_path / "got" / Path(found["files"][0]["path"]).name)]


def told(server):
    return server.address.replace("127.0.0.1", "localhost")


def test_a_handed_over_job_that_fails_or_is_cancelled_ends_as_a_run_does(card_server, runs):
    bad = runs.start("b", "--set", "c.journal=/no/such/folder/x")
    code, found, _ = ended(bad)
    assert (code, found["status"], found["problems"][0]["code"]) == (3, "failed", "node_failed")

    long = runs.start("c", steps=100_000)
    runs.until("c begins")
    long.send_signal(signal.SIGINT)
    code, found, _ = ended(long)
    assert (code, found["status"], found["problems"][0]["code"]) == (130, "cancelled", "cancelled")
    assert card_server.get("jobs")["jobs"][0]["state"] == "cancelled"


SUBMIT = """
import signal
from latentloom.api.client import Client
submit = Client.submit

def interrupted(*args, **flags):
    found = submit(*args, **flags)
    signal.raise_signal(signal.SIGINT)
    return found

Client.submit = interrupted
"""


def test_a_ctrl_c_while_the_job_is_handed_over_cancels_it(card_server, runs):
    code, found, err = ended(runs.start("q", prelude=SUBMIT, steps=100_000))

    assert (code, found["status"], found["problems"][0]["code"]) == (130, "cancelled", "cancelled")
    assert err.endswith("\ncancelling, again to kill\n")
    assert card_server.get("jobs")["jobs"][0]["state"] == "cancelled"


def test_what_cannot_be_handed_over_is_refused(card_server, runs):
    code, found, _ = ended(runs.start("d", "--no-cache", "--dtype", "fp32"))

    problem = found["problems"][0]
    assert (code, problem["code"]) == (2, "device_taken")
    assert problem["message"].endswith("cannot have --no-cache, --dtype")
    assert runs.lines() == []


SESSION = """
import json, sys
from latentloom.api import open_session
from latentloom.engine.errors import LoomError
with open_session() as session:
    try:
        print(session.run(json.loads(sys.argv[1])).outputs["c"])
    except LoomError as error:
        print(error.problem.code, error.problem.message)
"""


def session(runs: Runs, tag: str, **options) -> subprocess.Popen:
    """A Python session in a process of its own, beside the others of its home."""
    document = flow("c", c=use("Compute", journal=str(runs.journal), tag=tag, **options))
    environment = {**os.environ, "LATENTLOOM_HOME": str(runs.home), "PYTHONPATH": f"{PLANT}:{CARD}"}
    command = [sys.executable, "-c", SESSION, json.dumps(document)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_session_says_that_a_server_has_the_device(card_server, runs):
    out, err = session(runs, "s").communicate(timeout=PATIENCE)

    assert (out, err) == (f"device_taken the server at {told(card_server)} uses cuda:0\n", "")
    assert runs.lines() == []


def test_a_run_without_an_accelerator_computes_beside_the_server(card_server, runs):
    before = card_server.get("queue")["counts"]

    for beside in (runs.start("e", card=False), runs.start("f", "--device", "cpu")):
        assert ended(beside)[0] == 0

    assert sorted(runs.lines()) == ["e begins", "e ends", "f begins", "f ends"]
    assert card_server.get("queue")["counts"] == before


WAITING = "another process uses cuda:0: waiting until it is free\n"


def test_runs_take_turns(runs):
    first = runs.start("g", steps=100_000)
    runs.until("g begins")
    second, third = runs.start("h"), runs.start("i")
    assert [process.stderr.readline() for process in (second, third)] == [WAITING, WAITING]

    third.send_signal(signal.SIGINT)
    assert ended(third)[:2] == (130, {"status": "cancelled", "problems": [
        {"code": "cancelled", "message": "the run was cancelled while it waited for cuda:0"}]})  # fmt: skip
    assert runs.lines() == ["g begins"]
    first.send_signal(signal.SIGINT)
    assert (ended(first)[0], ended(second)[0]) == (130, 0)
    assert runs.lines() == ["g begins", "h begins", "h ends"]


def test_sessions_and_runs_take_turns(runs):
    first = session(runs, "first", steps=100_000)
    runs.until("first begins")
    second, third = session(runs, "second"), runs.start("third")
    assert [process.stderr.readline() for process in (second, third)] == [WAITING, WAITING]
    assert runs.lines() == ["first begins"]

    first.kill()
    first.communicate()
    assert second.communicate(timeout=PATIENCE) == ("second\n", "")
    assert ended(third)[0] == 0
    turns = [line.split()[0] for line in runs.lines()[1:]]
    assert sorted(turns) == ["second", "second", "third", "third"] and turns[0] == turns[1]


def test_a_server_that_starts_beside_a_run_waits_for_its_end(runs, own_server):
    first = runs.start("k", steps=100_000)
    runs.until("k begins")
    server = own_server(PYTHONPATH=f"{PLANT}:{CARD}")
    job = server.submit("c", c=use("Compute", journal=str(runs.journal), tag="l"))
    after, waits = 0, []
    while not waits:
        page = server.get(f"events?after={after}&wait=5")
        after, waits = page["next"], [event for event in page["events"] if event["event"] == "device_waiting"]

    assert [(event["job"], event["device"]) for event in waits] == [("", "cuda:0")]
    assert runs.lines() == ["k begins"]
    first.send_signal(signal.SIGINT)
    assert server.wait(job)["state"] == "done"
    assert (ended(first)[0], runs.lines()) == (130, ["k begins", "l begins", "l ends"])


def test_a_run_sends_the_token_of_its_settings(runs, own_server, monkeypatch):
    own_server(PYTHONPATH=f"{PLANT}:{CARD}", LATENTLOOM_TOKENS="me:0123456789abcdef")
    code, found, _ = ended(runs.start("p"))
    assert (code, found["problems"][0]["code"]) == (2, "unauthorized")

    monkeypatch.setenv("LATENTLOOM_TOKENS", "me:0123456789abcdef")
    code, found, _ = ended(runs.start("p"))
    assert (code, found["outputs"]) == (0, {"c": "p"})


def test_a_run_that_was_killed_leaves_the_device_free(runs):
    first = runs.start("m", steps=100_000)
    runs.until("m begins")
    first.kill()
    first.communicate()

    assert ended(runs.start("n"))[2] == ""


def test_a_server_that_was_killed_is_not_asked(card_server, runs):
    card_server.kill()

    code, _, err = ended(runs.start("o"))

    card_server.start()
    assert (code, "handed" in err) == (0, False)
