"""The commands that speak to a server."""

import json

import pytest
from serving import PLANT, Server, flow, use


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("remote") / "home").until_ready()
    yield made
    made.kill()


@pytest.fixture
def call(loom, server, monkeypatch):
    """`loom` with that server's address, and the plant plugin."""
    monkeypatch.setenv("LATENTLOOM_SERVER", server.address)
    monkeypatch.syspath_prepend(str(PLANT))
    return loom


@pytest.fixture
def plant(tmp_path):
    """A workflow file that saves a picture; its level is an input."""
    document = flow("", s=use("SavePicture"))
    document["inputs"] = [{"name": "level", "to": [{"node": "s", "input": "level"}]}]
    path = tmp_path / "plant.json"
    path.write_text(json.dumps(document))
    return path


def test_submit_prints_the_id_and_status_shows_it(call, plant, server):
    code, out, _ = call("submit", plant, "--level", 0.125, "--tag", "blue")
    job = out.strip()
    server.wait(job)

    assert (code, len(job)) == (0, 32)
    _, table, _ = call("status", job)
    assert table.splitlines()[1].split() == [job, "done", "test", "blue"]
    assert job in call("status")[1]
    assert json.loads(call("status", job, "--json")[1])["state"] == "done"


def test_submit_watches_and_downloads(call, plant, tmp_path):
    code, out, err = call("submit", plant, "--level", 0.25, "--out", tmp_path / "got")

    assert code == 0
    assert len(list((tmp_path / "got").glob("*.png"))) == 1
    assert out.splitlines()[-1].startswith("done in ")
    assert "s: plant/SavePicture" in err


def test_submit_finds_a_workflow_saved_on_the_server(call, plant, server):
    document = {"workflow": json.loads(plant.read_text())}
    assert server.request("PUT", "workflows/saved%20plants", document, If_None_Match="*")[0] == 201

    code, out, _ = call("submit", "saved plants", "--level", 0.375)
    job = out.strip()

    assert (code, server.wait(job)["state"]) == (0, "done")
    assert server.get(f"jobs/{job}/workflow")["nodes"]["s"]["inputs"]["level"] == 0.375


def test_a_workflow_that_is_neither_here_nor_on_the_server(call):
    code, _, err = call("submit", "no such plants")

    assert (code, err.startswith("missing_file: there is no workflow 'no such plants'")) == (2, True), err


def test_watch_ends_as_the_job_ends(call, server):
    bad = server.submit("n", n=use("Note", journal="/no/such/folder/x", tag="a"))

    code, out, err = call("watch", bad)

    assert (code, out.startswith("failed in ")) == (3, True)
    assert "node_failed: node 'n':" in err


def test_problems_are_told_as_by_run(call, plant):
    code, _, err = call("submit", plant, "--level", "[1]")

    assert (code, "wrong_type: node 's', input 'level'" in err) == (2, True)


def test_cancel_one_and_all(call, server):
    job = server.submit("s", s=use("Steps", steps=3000))

    assert call("cancel", job)[1].startswith(f"{job}: cancel")
    assert server.wait(job)["state"] == "cancelled"
    assert call("cancel", "--all")[1] == "0 jobs cancelled\n"
    assert call("cancel")[0] == 2


def test_an_unknown_job_and_a_silent_server(call):
    assert call("status", "nope")[2] == "unknown_job: there is no job 'nope'\n"
    code, _, err = call("status", "--server", "http://127.0.0.1:9")
    assert (code, err.startswith("server_unreachable: no server answers at http://127.0.0.1:9")) == (3, True)


def test_diff_compares_saved_versions(call, plant, server, tmp_path):
    document = json.loads(plant.read_text())
    for level in (0.25, 0.5):
        document["nodes"]["s"]["inputs"]["level"] = level
        assert server.request("PUT", "workflows/of%20plants", {"workflow": document}, If_Match="*")[0] in (200, 201)

    code, out, _ = call("diff", "of plants@1", "of plants", "--server", server.address)
    assert (code, out) == (1, "changed  s.level: 0.25 -> 0.5\n")
    assert call("diff", "of plants@2", "of plants", "--server", server.address)[:2] == (0, "no difference\n")
    code, _, err = call("diff", "of plants@7", "of plants", "--server", server.address)
    assert (code, err.partition(":")[0]) == (2, "unknown_workflow")


# loom run --server


def test_run_on_a_server_is_like_a_run_here(call, plant, server, tmp_path):
    code, out, err = call("run", plant, "--level", 0.5625, "--server", server.address, "--out", tmp_path / "got")
    pictures = list((tmp_path / "got").glob("*.png"))

    assert (code, len(pictures)) == (0, 1)
    assert out.splitlines()[0] == f"{pictures[0]}  128x128"
    assert out.splitlines()[-1].startswith("done in ")
    assert "s: plant/SavePicture" in err


def test_run_on_a_server_finds_saved_workflows_and_tells_seeds(call, server, home):
    nodes = flow("", p=use("Picture"))["nodes"]
    nodes["text"] = {"type": "DynamicPrompt", "version": 1, "inputs": {"text": "a", "seed": "random"}}
    document = {**flow("p.image text", **nodes), "name": "seeded"}
    assert server.request("PUT", "workflows/seeded", {"workflow": document}, If_None_Match="*")[0] == 201

    code, out, _ = call("run", "seeded", "--server", server.address, "--json")
    report = json.loads(out)
    assert report["status"] == "done", report

    assert (code, report["status"], report["workflow"], len(report["files"])) == (0, "done", "seeded", 1)
    assert isinstance(report["seeds"]["text.seed"], int)
    assert report["files"][0]["path"].startswith(str(home / "output"))


def test_run_on_a_server_fails_as_the_job_fails(call, server, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(flow("n", n=use("Note", journal="/no/such/folder/x", tag="a"))))

    code, out, err = call("run", path, "--server", server.address)

    assert (code, out.startswith("failed in "), "node_failed: node 'n':" in err) == (3, True, True)


def test_run_on_a_server_refuses_what_only_works_here(call, plant, server):
    code, _, err = call("run", plant, "--no-cache", "--device", "cpu", "--server", server.address)

    assert (code, err.startswith("usage: a run on a server cannot have --no-cache, --device")) == (2, True), err
