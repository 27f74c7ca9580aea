"""Batches: many runs of one workflow as one resource of the server."""

import csv
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from PIL import Image
from serving import PATIENCE, flow, until, use

from latentloom.nodes.drawing.labels import label_width

PICTURE = {
    "format": "latentloom/1",
    "name": "colours",
    "inputs": [
        {"name": "width", "to": [{"node": "c", "input": "width"}]},
        {"name": "height", "to": [{"node": "c", "input": "height"}]},
    ],
    "outputs": [{"name": "image", "from": {"node": "s", "output": "images"}}],
    "nodes": {
        "c": {"type": "ColourImage", "version": 1, "inputs": {"width": 16, "height": 16}},
        "s": {
            "type": "SaveImage",
            "version": 1,
            "inputs": {"images": {"node": "c", "output": "image"}, "name": "w{width}-{counter:2}"},
        },
    },
}


def texts(**nodes):
    """A workflow that says `word` and writes the journal, where it gets one."""
    t = {"type": "ReplaceText", "version": 1, "inputs": {"text": "x", "find": "x", "replace": "a"}}
    return {**flow("t", t=t, **nodes), "inputs": [{"name": "word", "to": [{"node": "t", "input": "replace"}]}]}


def journal(path):
    """A workflow whose runs note their tags."""
    nodes = {"n": use("Note", journal=str(path), tag="none"), "d": use("Steps", steps=1, pause=0.02, after="@n")}
    named = [
        {"name": "mark", "to": [{"node": "n", "input": "tag"}]},
        {"name": "waits", "to": [{"node": "d", "input": "until"}]},
    ]
    return {**flow("n d", **nodes), "inputs": named}


def made(server, **body):
    status, answer, headers = server.request("POST", "batches", body)
    assert status == 201, answer
    assert headers["Location"] == f"/api/v1/batches/{answer['id']}"
    return answer["id"]


def refused(server, **body):
    status, answer, _ = server.request("POST", "batches", body)
    assert status in (400, 404, 413, 422), answer
    return status, [(p["code"], p["message"], p.get("input"), p.get("expected")) for p in answer["problems"]]


def ended(server, id, *states):
    wanted = states or ("done", "failed", "cancelled")
    found = {}

    def over():
        found.update(server.get(f"batches/{id}"))
        return found["state"] in wanted

    until(over, lambda: (found, server.log()))
    return found


# Bad input


def test_what_is_wrong_is_named_before_anything_runs(server):
    before = server.get("batches")["batches"]
    flow = texts()
    wide = [{"input": "word", "values": list(map(str, range(1000)))}] * 2
    assert refused(server, workflow=flow)[1][0][1] == "a batch needs values"
    assert (
        refused(server, workflow=flow, rows=[{"word": "a"}], rows_file="a.csv")[1][0][1] == "the rows are given twice"
    )
    unknown, twice = "unknown_workflow_input", "the input 'word' gets values from two places"
    for body, *problem in (
        ({"axes": [{"input": "wrod", "values": ["a"]}]}, unknown, "the workflow has no input 'wrod'", "word"),
        ({"rows": [{"word": "a"}, {"colour": 1}]}, unknown, "the workflow has no input 'colour'", "word"),
        ({"axes": [{"input": "word", "values": [5, "a"]}]}, "wrong_type", "wrong type", "text"),
        ({"axes": wide}, "duplicate_input", twice, None),
        ({"rows": [{"word": "a"}], "inputs": {"word": "b"}}, "duplicate_input", twice, None),
        ({"rows": []}, "bad_request", "a batch needs values", "`axes`, `rows` or `rows_file`"),
    ):
        [(code, message, _, expected)] = refused(server, workflow=flow, **body)[1]
        assert [code, message, expected] == problem
    assert refused(server, workflow=flow, rows_file="gone.csv")[1][0][0] == "missing_file"
    assert refused(server, workflow_name="gone", rows=[{"word": "a"}])[0] == 404
    assert server.get("batches")["batches"] == before
    for path in ("batches/gone", "batches/gone/cells", "batches/gone/table.csv", "batches/gone/sheet"):
        status, answer, _ = server.request("GET", path)
        assert (status, answer["code"]) == (404, "unknown_batch")


def test_a_million_cells_are_refused_with_the_limit(server):
    axes = [{"input": name, "values": list(range(1, 1001))} for name in ("width", "height")]
    assert refused(server, workflow=PICTURE, axes=axes)[1] == [("too_large", "too many runs", None, "at most 100000")]
    assert refused(server, workflow=PICTURE, axes=[*axes[:1], {"input": "height", "values": [1, 2]}], mode="zip")[
        1
    ] == [("bad_value", "axes in step have different lengths", None, "one length")]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ('word\n"a ""b"", c"\n\nd\n'.encode("utf-16"), ['a "b", c', "d"]),
        ('\ufeffword;x\r\n"two\nlines";\r\n'.replace(";x", "").replace('";', '"').encode(), ["two\nlines"]),
        ('{"word": "é"}\n{"word": "\\u732b"}\n'.encode(), ["é", "猫"]),
    ],
)
def test_tables_in_odd_encodings_are_read(server, data, words):
    folder = server.home / "input"
    folder.mkdir(exist_ok=True)
    (folder / "odd.csv").write_bytes(data)
    id = made(server, workflow=texts(), rows_file="odd.csv")
    assert ended(server, id)["state"] == "done"
    assert [cell["inputs"]["word"] for cell in server.get(f"batches/{id}/cells")["cells"]] == words
    (folder / "odd.csv").write_bytes("word\n\xe9\n".encode("latin-1"))
    assert "no text in a known encoding" in refused(server, workflow=texts(), rows_file="odd.csv")[1][0][1]


def test_a_hundred_thousand_rows_are_taken_and_cancelled(server):
    (server.home / "input").mkdir(exist_ok=True)
    (server.home / "input" / "long.csv").write_text("word\n" + "".join(f"w{n}\n" for n in range(100_000)))
    server.request("PATCH", "queue", {"paused": True})
    id = made(server, workflow=texts(), rows_file="long.csv")
    until(lambda: server.get(f"batches/{id}")["counts"]["open"] == 128)
    status, answer, _ = server.request("POST", f"batches/{id}/cancel")
    assert (status, answer["state"], answer["counts"]["cancelled"]) == (200, "cancelled", 100_000)
    server.request("PATCH", "queue", {"paused": False})
    assert server.get("queue")["waiting"] == []
    page = server.get(f"batches/{id}/cells?after=99998&limit=10")
    assert [cell["inputs"] for cell in page["cells"]] == [{"word": "w99999"}]
    (server.home / "input" / "long.csv").write_text("word\n" + "".join(f"w{n}\n" for n in range(100_001)))
    assert refused(server, workflow=texts(), rows_file="long.csv")[1][0][:2] == ("too_large", "too many runs")


# What it does


def test_a_batch_has_its_table_its_files_and_its_sheet(server):
    axes = [{"input": "width", "values": [16, 32]}, {"input": "height", "values": [16, 24, 32]}]
    id = made(server, workflow=PICTURE, axes=axes, tags=["mine"])
    batch = ended(server, id)
    assert (batch["state"], batch["total"], batch["tags"]) == ("done", 6, ["mine", f"batch:{id}"])
    assert batch["counts"] == {"waiting": 0, "open": 0, "done": 6, "failed": 0, "cancelled": 0}
    table = server.get(f"batches/{id}/cells?limit=4")
    assert [tuple(cell["inputs"].values()) for cell in table["cells"]] == [(16, 16), (16, 24), (16, 32), (32, 16)]
    assert len(server.get(f"batches/{id}/cells?after={table['next']}")["cells"]) == 2
    for cell in table["cells"]:
        [file] = cell["files"]
        assert (cell["state"], cell["error"], file["outputs"]) == ("done", None, ["image"])
        assert (file["width"], file["height"]) == tuple(cell["inputs"].values())
        assert file["path"].startswith(f"w{file['width']}-")
    _, text, headers = server.request("GET", f"batches/{id}/table.csv")
    assert headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(text.decode() if isinstance(text, bytes) else text)))
    assert list(rows[0]) == ["width", "height", "place", "state", "seed", "seconds", "files", "error", "job"]
    assert [row["height"] for row in rows] == ["16", "24", "32"] * 2
    assert rows[0]["files"] == table["cells"][0]["files"][0]["path"]
    _, data, headers = server.request("GET", f"batches/{id}/sheet")
    assert headers["Content-Type"] == "image/png"
    with Image.open(io.BytesIO(data)) as sheet:
        assert sheet.width == label_width(["width 16", "width 32"], 32) + 3 * (32 + 8) + 8  # beside the rows
        assert sheet.height > 2 * (32 + 8)
    assert server.request("GET", f"batches/{id}/sheet?page=1")[0] == 404
    assert [found["id"] for found in server.get("batches?limit=1")["batches"]] == [id]


def test_axes_go_in_step_and_rows_leave_out_what_they_do_not_have(server):
    axes = [{"input": "width", "values": [16, 24]}, {"input": "height", "values": [32, 40]}]
    for body, sizes in (
        ({"axes": axes, "mode": "zip"}, [(16, 32), (24, 40)]),
        ({"rows": [{"width": "24", "height": ""}, {"height": 40}], "inputs": {}}, [(24, 16), (16, 40)]),
    ):
        id = made(server, workflow=PICTURE, **body)
        assert ended(server, id)["state"] == "done"
        cells = server.get(f"batches/{id}/cells")["cells"]
        assert [(cell["files"][0]["width"], cell["files"][0]["height"]) for cell in cells] == sizes


def test_failed_cells_are_tried_again(server, tmp_path):
    nodes = {"n": use("Note", journal="there/journal", tag="a")}
    data = {**flow("n", **nodes), "inputs": [{"name": "journal", "to": [{"node": "n", "input": "journal"}]}]}
    paths = [str(tmp_path / "yes"), str(tmp_path / "gone" / "no")]
    id = made(server, workflow=data, axes=[{"input": "journal", "values": paths}])
    assert ended(server, id)["state"] == "failed"
    good, bad = server.get(f"batches/{id}/cells")["cells"]
    assert (good["state"], bad["state"], bad["error"]["code"]) == ("done", "failed", "node_failed")
    (tmp_path / "gone").mkdir()
    status, answer, _ = server.request("POST", f"batches/{id}/retry")
    assert (status, answer["state"]) == (200, "running")
    assert ended(server, id)["counts"]["done"] == 2
    assert server.get(f"batches/{id}/cells")["cells"][0]["job"] == good["job"]
    assert server.request("POST", f"batches/{id}/retry")[:1] == (409,)


def test_a_cancelled_batch_stops_what_runs_and_what_waits(server, tmp_path):
    data = journal(tmp_path / "journal")
    rows = [{"mark": str(n), "waits": str(tmp_path / "never")} for n in range(20)]
    id = made(server, workflow=data, rows=rows)
    until(lambda: (tmp_path / "journal").exists())
    server.request("POST", f"batches/{id}/cancel")
    batch = ended(server, id)
    assert (batch["state"], batch["counts"]["cancelled"]) == ("cancelled", 20)


def test_a_repeated_request_makes_one_batch(server):
    body = {"workflow": texts(), "axes": [{"input": "word", "values": ["k"]}]}
    first = server.request("POST", "batches", body, Idempotency_Key="once")
    again = server.request("POST", "batches", body, Idempotency_Key="once")
    inside = server.request("POST", "batches", {**body, "idempotency_key": "once"})
    assert (inside[0], inside[1]["id"]) == (200, first[1]["id"])
    listed = server.get("batches?name=" + first[1]["name"].replace(" ", "%20"))["batches"]
    assert first[1]["id"] in [one["id"] for one in listed]
    assert server.get("batches?name=none")["batches"] == []
    assert (first[0], again[0], first[1]["id"]) == (201, 200, again[1]["id"])
    ended(server, first[1]["id"])


def test_inputs_on_which_more_depends_change_less_often(server, tmp_path):
    nodes = {
        "early": use("Note", journal=str(tmp_path / "early"), tag="x"),
        "late": use("Note", journal=str(tmp_path / "late"), tag="y", after="@early"),
    }
    named = [{"name": name, "to": [{"node": name, "input": "tag"}]} for name in ("early", "late")]
    data = {**flow("late", **nodes), "inputs": named}
    axes = [{"input": "late", "values": ["1", "2"]}, {"input": "early", "values": ["a", "b"]}]
    id = made(server, workflow=data, axes=axes)
    assert ended(server, id)["state"] == "done"
    late = (tmp_path / "late").read_text().split()
    assert set(late[:2]) == set(late[2:]) == {"1", "2"}  # two workers may finish a pair in either order


def test_a_batch_is_told_once_at_its_end(own_server):
    told = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    listener = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    server = own_server(LATENTLOOM_WEBHOOK_HOSTS="127.0.0.1", LATENTLOOM_WEBHOOK_SECRET=secret).until_ready()
    address = f"http://127.0.0.1:{listener.server_port}/told"
    id = made(server, workflow=texts(), axes=[{"input": "word", "values": ["a", "b"]}], webhook=address)
    until(lambda: told, server.log)
    assert server.stop() == 0
    listener.shutdown()
    listener.server_close()
    assert [(one["type"], one["data"]["id"], one["data"]["counts"]["done"]) for one in told] == [("batch.done", id, 2)]


def test_after_a_kill_a_batch_goes_on_and_runs_nothing_twice(own_server, tmp_path):
    server = own_server(LATENTLOOM_FAILPOINT="batch.fed:kill").until_ready()
    rows = [{"mark": str(n)} for n in range(150)]
    status, answer, _ = server.request("POST", "batches", {"workflow": journal(tmp_path / "journal"), "rows": rows})
    server.process.wait(PATIENCE)
    assert server.process.returncode != 0
    again = own_server().until_ready()
    id = again.get("batches")["batches"][0]["id"]
    assert status != 201 or answer["id"] == id
    batch = ended(again, id)
    assert (batch["state"], batch["counts"]["done"]) == ("done", 150)
    notes = (tmp_path / "journal").read_text().split()
    assert sorted(notes, key=int) == [str(n) for n in range(150)]
    assert again.stop() == 0


def test_cached_cells_are_taken_at_once_and_run_nothing(server, tmp_path):
    rows = [{"mark": str(n)} for n in range(200)]
    flow = journal(tmp_path / "journal")
    assert ended(server, made(server, workflow=flow, rows=rows))["state"] == "done"
    id = made(server, workflow=flow, rows=rows)
    assert ended(server, id)["counts"]["done"] == 200
    assert len((tmp_path / "journal").read_text().split()) == 200
