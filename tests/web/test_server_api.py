"""What the API gives: its description, events, workflows, drafts, outputs and everything an editor needs."""

import asyncio
import io
import json
import re
import time
import zipfile
from urllib.parse import quote

import aiohttp
import pytest
from serving import PATIENCE, flow, until, use

from latentloom.api import block_names, workflow_names
from latentloom.engine.jobs.database import sqlite_faults
from latentloom.web.app import route_table
from latentloom.web.metrics import Metrics
from latentloom.web.openapi import document, plain_path

TABLE = route_table()


# The description


def test_the_document_and_the_routes_are_the_same(server):
    made = server.get("openapi.json")

    described = {(method.upper(), path) for path, methods in made["paths"].items() for method in methods}
    assert described == {(route.method, plain_path(route.path)) for route in TABLE}
    cookie = made["components"]["securitySchemes"]["cookie"]["name"]
    assert made == document(TABLE, cookie)


def test_the_document_is_whole():
    made = document(TABLE)
    text = json.dumps(made)

    assert made["openapi"] == "3.1.0"
    names = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert names <= made["components"]["schemas"].keys()
    operations = [operation for methods in made["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["summary"] for operation in operations)


@pytest.mark.parametrize("route", TABLE, ids=lambda route: f"{route.method} {route.path}")
def test_handlers_stay_short(route):
    import inspect

    code = inspect.getsource(route.handler)
    assert len(code.splitlines()) <= 32


def test_the_page_needs_no_network_and_no_script(server):
    page = server.request("GET", "docs")[1].decode()

    assert "<script" not in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert all(plain_path(route.path) in page for route in TABLE)


# What an editor needs


def test_nodes_have_all_that_a_form_needs(server):
    nodes = {node["type"]: node for node in server.get("nodes")["nodes"]}

    ports = {port["name"]: port for port in nodes["KSampler"]["inputs"]}
    assert "dpmpp_2m" in ports["sampler"]["choices"]
    assert (ports["steps"]["minimum"], ports["steps"]["maximum"], ports["seed"]["widget"]) == (1, 10000, "seed")
    assert nodes["plant/Note"]["distribution"] == "plant-nodes 1.0"
    assert {"kind", "colour", "help"} <= server.get("nodes")["types"][0].keys()


def test_nodes_have_an_etag(server):
    etag = server.request("GET", "nodes")[2]["ETag"]

    assert server.request("GET", "nodes", If_None_Match=etag)[:2] == (304, b"")


def test_choices_by_source(server):
    assert "shapes" in server.get("choices?source=models/checkpoints")["choices"]
    assert "euler" in server.get("choices?source=samplers")["choices"]


def test_validate_tells_the_interface(server):
    answer = server.request("POST", "validate", {"workflow_name": "txt2img", "inputs": {"steps": 0}})[1]

    assert [(problem["code"], problem["node"], problem["input"]) for problem in answer["problems"]] == [
        ("out_of_range", "sample", "steps")
    ]
    inputs = {item["name"]: item for item in answer["inputs"]}
    assert (inputs["steps"]["value"], inputs["steps"]["port"]["kind"]) == (0, "INT")
    assert answer["outputs"] == ["image"]


def test_two_workflows_are_compared(server):
    one, other = flow("a", a=use("Add", a=1, b=2)), flow("z", z=use("Add", a=1, b=3))
    status, found, _ = server.request("POST", "compare", {"before": one, "after": other})
    assert (status, found["same_results"]) == (200, False)
    assert found["renamed"] == []
    assert [item["node"] for item in found["removed"] + found["added"]] == ["a", "z"]
    status, found, _ = server.request("POST", "compare", {"before": one, "after": {"format": "x"}})
    assert (status, found["problems"][0]["code"]) == (422, "unknown_format")


def test_explain_tells_what_would_run(server, tmp_path):
    order = {"workflow": flow("n", n=use("Note", journal=str(tmp_path / "j"), tag=str(tmp_path)))}
    before = server.request("POST", "explain", order)[1]["steps"]
    server.wait(server.order(order))

    assert [(step["node"], step["status"]) for step in before] == [("n", "run")]
    assert server.request("POST", "explain", order)[1]["steps"][0]["status"] == "hit"


def test_the_server_tells_of_itself(server):
    system = server.get("system")

    assert [worker["name"] for worker in system["workers"]] == ["cpu", "helper-1"]
    assert {record["plugin"] for record in server.get("plugins")["plugins"]} == {"builtin", "comfyui", "plant"}
    health = server.get("/healthz")
    assert (health["status"], health["warnings"]) == ("ok", list(sqlite_faults()))
    figures = server.get("/metrics").decode()
    assert 'latentloom_jobs{state="queued"} 0.0' in figures
    assert 'latentloom_memory_bytes{process="server"}' in figures


def figures(server):
    lines = server.get("/metrics").decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_the_figures_tell_of_queue_times_cache_models_and_memory(server):
    order = {"workflow_name": "txt2img", "inputs": {"prompt": "a red star", "steps": 1, "seed": 3}}
    for _ in range(2):
        assert server.wait(server.order(order))["state"] == "done"
    until(lambda: figures(server).get("latentloom_cache_hits_total", 0) >= 4)  # workers tell every five seconds
    found = figures(server)

    assert found['latentloom_jobs{state="done"}'] >= 2
    assert found["latentloom_job_wait_seconds_count"] >= 2
    assert found['latentloom_job_run_seconds_count{state="done"}'] >= 2
    assert found['latentloom_node_seconds_count{type="KSampler"}'] == 1
    assert found["latentloom_nodes_cached_total"] >= 4
    assert found["latentloom_cache_hits_total"] >= 4
    assert found["latentloom_cache_misses_total"] >= 4
    assert found['latentloom_cache_bytes{place="disk"}'] > 0
    assert found['latentloom_cache_bytes{place="cpu"}'] > 0
    assert found["latentloom_model_loads_total"] == 3
    assert found["latentloom_model_evictions_total"] == 0
    assert found['latentloom_model_bytes{process="cpu"}'] >= 0
    assert found['latentloom_memory_bytes{process="cpu"}'] > 100 * 2**20


def test_counts_go_on_when_a_worker_is_replaced():
    metrics = Metrics()

    for hits in (5, 7, 2):
        metrics.figures("cpu", {"cache_hits": hits, "cache_bytes": 10 * hits})

    text = metrics.text({}, {}, {}, 0, None, 99, {}).decode()
    assert "latentloom_cache_hits_total 9.0" in text
    assert 'latentloom_cache_bytes{place="cpu"} 20.0' in text
    assert 'latentloom_cache_bytes{place="disk"} 99.0' in text


def test_models_have_their_hash_once_it_is_known(server):
    asked = {"source": "models/checkpoints", "name": "shapes"}
    status, begun, headers = server.request("POST", "models/hash", asked)
    assert (status, begun["kind"], begun["about"]) == (202, "hash_model", asked)
    while (found := server.request("GET", headers["Location"])[1])["state"] == "running":
        time.sleep(0.05)
    model = found["result"]

    assert (found["state"], len(model["sha256"])) == ("done", 64)
    (listed,) = (m for m in server.get("models")["models"] if (m["source"], m["name"]) == tuple(asked.values()))
    assert listed["bytes"] == model["bytes"]


def test_a_model_s_facts_name_what_suits_it(server):
    facts = server.get("models/facts?source=models/checkpoints&name=shapes")

    assert (facts["about"], facts["parts"]) == ("SD 1.x checkpoint (folder)", ["model", "clip", "vae"])
    assert {name: value for name, value in facts["defaults"].items() if value} == {"width": 128, "height": 128}
    status, answer, _ = server.request("GET", "models/facts?source=models/checkpoints&name=nope")
    assert (status, answer["problems"][0]["code"]) == (404, "missing_file")


def tokens_of(server, text, **body):
    return server.request("POST", "tokenize", {"text": text, "name": "shapes", **body})


def test_tokenize_tells_how_a_prompt_is_read(server):
    status, answer, _ = tokens_of(server, "a (red:1.5) dragon")

    assert (status, answer["length"], len(answer["parts"])) == (200, 32, 1)
    part = answer["parts"][0]
    tokens = [(token["text"], token["weight"], token["known"]) for token in part["tokens"]]
    assert tokens[:2] == [("a", 1.0, True), ("red", 1.5, True)]
    assert ("".join(text for text, _, _ in tokens[2:]), {known for _, _, known in tokens[2:]}) == ("dragon", {False})
    assert part["count"] == len(part["tokens"]) + 2
    assert tokens_of(server, "", grammar="plain")[1]["parts"][0]["count"] == 2


def test_tokenize_tells_parts_and_times(server):
    long = tokens_of(server, "red " * 40)[1]["parts"]
    assert [part["count"] for part in long] == [32, 12]
    assert [len(part["tokens"]) for part in tokens_of(server, "red BREAK blue")[1]["parts"]] == [1, 1]
    edited = tokens_of(server, "[red:blue:5]", steps=20)[1]["parts"]
    assert [(part["start"], part["end"], part["tokens"][0]["text"]) for part in edited] == [
        (0.0, 0.3, "red"),
        (0.3, 1.0, "blue"),
    ]


def test_tokenize_counts_the_vectors_of_embeddings(server):
    import numpy as np
    from safetensors.numpy import save_file

    folder = server.home / "models" / "embeddings"
    folder.mkdir(parents=True)
    save_file({"emb_params": np.zeros((3, 128), np.float32)}, folder / "inkwash.safetensors")
    save_file({"emb_params": np.zeros((2, 768), np.float32)}, folder / "wide.safetensors")

    part = tokens_of(server, "a red inkwash")[1]["parts"][0]
    assert (part["count"], [token["text"] for token in part["tokens"]]) == (7, ["a", "red", *["inkwash"] * 3])
    assert {token["id"] for token in part["tokens"][2:]} == {None}
    long = tokens_of(server, "red " * 28 + "embedding:inkwash")[1]["parts"]
    assert [part["count"] for part in long] == [30, 5]
    unfit = tokens_of(server, "red embedding:wide")
    assert (unfit[0], unfit[1]["problems"][0]["got"]) == (422, "vectors 768 wide for 'l'")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": "shape"}, 404, "missing_file"),
        ({"name": "../shapes"}, 400, "path_refused"),
        ({"source": "models/loras"}, 400, "bad_request"),
        ({"text": "(" * 101}, 422, "bad_value"),
        ({"text": "red " * 3000}, 422, "bad_value"),
        ({"text": "x" * 20_001}, 400, "bad_request"),
    ],
)
def test_what_cannot_be_tokenized_is_the_clients_fault(server, body, status, code):
    found, answer, _ = tokens_of(server, **{"text": "red", **body})

    assert (found, answer["problems"][0]["code"]) == (status, code)


def test_a_model_that_reads_no_text_is_named(server):
    import numpy as np
    from safetensors.numpy import save_file

    folder = server.home / "models" / "clip"
    folder.mkdir(parents=True)
    save_file({"decoder.conv_in.weight": np.zeros((8, 4, 3, 3), np.float32)}, folder / "none.safetensors")

    status, answer, _ = tokens_of(server, "red", source="models/clip", name="none.safetensors")

    assert (status, answer["problems"][0]["code"]) == (422, "bad_value")
    assert answer["message"] == "'none.safetensors' reads no text"


# Workflows and drafts


def test_workflows_have_versions_that_nobody_overwrites(server):
    body = {"workflow": flow("p.image", p=use("Picture"))}

    assert server.request("PUT", "workflows/mine", body)[1]["code"] == "version_needed"
    first = server.request("PUT", "workflows/mine", body, If_None_Match="*")
    again = server.request("PUT", "workflows/mine", body, If_None_Match="*")
    second = server.request("PUT", "workflows/mine", body, If_Match='"1"')
    repeated = server.request("PUT", "workflows/mine", body, If_Match='"1"')
    other = {"workflow": {**body["workflow"], "name": "other"}}
    late = server.request("PUT", "workflows/mine", other, If_Match='"1"')

    assert repeated[:2] == second[:2]  # as if the answer to the second had been lost
    assert (first[0], first[2]["ETag"], again[0], second[1]["version"], late[0]) == (201, '"1"', 412, 2, 412)
    assert late[1]["code"] == "version_conflict"
    assert [item["version"] for item in server.get("workflows/mine/versions")["workflows"]] == [2, 1]
    assert server.get("workflows/mine?version=1")["version"] == 1
    assert server.wait(server.order({"workflow_name": "mine"}))["state"] == "done"
    assert server.request("DELETE", "workflows/mine", If_Match="*")[0] == 200
    assert server.request("GET", "workflows/mine")[1]["code"] == "unknown_workflow"
    assert server.request("PUT", "workflows/mine", body, If_None_Match="*")[1]["version"] == 4


def test_shipped_workflows_are_there_and_may_be_changed(server):
    listed = {item["name"]: (item["version"], item["block"]) for item in server.get("workflows")["workflows"]}
    assert listed.items() >= dict.fromkeys(workflow_names(), (0, False)).items()
    assert listed.items() >= dict.fromkeys(block_names(), (0, True)).items()
    assert server.get("workflows/detailer")["block"]

    mine = server.get("workflows/txt2img")["workflow"] | {"name": "changed"}
    assert server.request("PUT", "workflows/txt2img", {"workflow": mine}, If_None_Match="*")[0] == 201
    assert server.get("workflows/txt2img")["workflow"]["name"] == "changed"
    assert server.get("workflows/txt2img?version=0")["workflow"]["name"] != "changed"
    server.request("DELETE", "workflows/txt2img", If_Match="*")
    assert server.get("workflows/txt2img")["version"] == 0


@pytest.mark.parametrize("name", ["..", "a%2Fb", "%0a", "x" * 101, "<b>"])
def test_a_workflow_has_an_honest_name(server, name):
    status, _, _ = server.request("PUT", f"workflows/{name}", {"workflow": flow()}, If_None_Match="*")

    assert status in (400, 404, 405)


def test_drafts_need_not_be_valid(server):
    assert server.request("PUT", "drafts/tab-1", {"workflow": {"half": "done"}}, If_None_Match="*")[1]["revision"] == 1
    assert server.request("PUT", "drafts/tab-1", {"workflow": {"half": "more"}}, If_Match="*")[1]["revision"] == 2
    assert server.get("drafts/tab-1")["workflow"] == {"half": "more"}
    assert [(draft["id"], draft["name"]) for draft in server.get("drafts")["drafts"]] == [("tab-1", "")]
    assert server.request("DELETE", "drafts/tab-1")[1]["code"] == "version_needed"
    assert server.request("DELETE", "drafts/tab-1", If_Match='"1"')[1]["code"] == "version_conflict"
    assert server.request("DELETE", "drafts/tab-1", If_Match="*")[0] == 200
    assert server.request("GET", "drafts/tab-1")[0] == 404


def test_two_windows_do_not_undo_each_others_draft(server):
    body = {"workflow": {"name": "Stars", "nodes": {}}}
    assert server.request("PUT", "drafts/shared", body, If_None_Match="*")[1]["revision"] == 1
    assert server.request("PUT", "drafts/shared", body, If_None_Match="*")[0] == 412
    assert server.request("PUT", "drafts/shared", body, If_Match='"1"')[1]["name"] == "Stars"
    status, answer, _ = server.request("PUT", "drafts/shared", {"workflow": {"name": "Mine"}}, If_Match='"1"')
    assert (status, answer["code"]) == (412, "version_conflict")
    assert answer["problems"][0]["got"] == "revision 2"
    assert server.get("drafts/shared")["workflow"] == body["workflow"]
    assert server.request("DELETE", "drafts/shared", If_Match="*")[0] == 200


# Outputs


def test_saved_pictures_are_found_shown_and_removed(server):
    nodes = {"s": use("SavePicture", count=2, level=0.75)}
    job = server.wait(server.order({"workflow": flow("", **nodes), "tags": ["best"]}))
    page = server.get("outputs?tag=best&limit=1")
    sha256 = page["outputs"][0]["sha256"]

    assert [file["item"] for file in job["files"]] == [0, 1]
    assert server.get(f"outputs?tag=best&before={page['next']}")["outputs"][0]["item"] == 0
    status, small, headers = server.request("GET", f"outputs/{sha256}/thumbnail")
    assert (status, headers["Content-Type"], small[8:12]) == (200, "image/webp", b"WEBP")
    assert "immutable" in headers["Cache-Control"]
    assert list(server.get(f"outputs/{sha256}/making")["workflow"]["nodes"]) == ["s"]
    assert server.request("DELETE", f"outputs/{sha256}")[0] == 200
    assert server.request("GET", f"outputs/{sha256}/content")[0] == 404
    left = {path.name for path in (server.home / "output").glob("plant*")}
    assert page["outputs"][0]["path"] not in left
    assert not list((server.home / "data" / "thumbnails").rglob(f"{sha256}*"))


def test_saved_pictures_are_found_by_any_word(server):
    order = {"workflow": flow("", s=use("SavePicture", level=0.5625)) | {"name": "Lantern 100%"}, "tags": ["harvest"]}
    file = server.wait(server.order(order))["files"][0]

    def found(words):
        return [one["sha256"] for one in server.get(f"outputs?q={quote(words)}")["outputs"]]

    for words in ("lantern", "100%", "HARVEST", "vest tern"):
        assert found(words) == [file["sha256"]], words
    assert found("lantern pumpkin") == found("1_0%") == []


def test_saved_pictures_are_tagged_and_removed_together(server):
    files = [server.wait(server.submit(s=use("SavePicture", level=level)))["files"][0] for level in (0.51, 0.52)]
    both = [file["sha256"] for file in files]

    status, answer, _ = server.request("POST", "outputs/tags", {"sha256": both, "add": [" keep ", "old", "keep"]})
    assert (status, [file["tags"] for file in answer["outputs"]]) == (200, [["keep", "old"]] * 2)
    server.request("POST", "outputs/tags", {"sha256": both[:1], "remove": ["old", "unknown"]})
    assert [file["sha256"] for file in server.get("outputs?tag=keep")["outputs"]] == both[::-1]
    assert [file["sha256"] for file in server.get("outputs?tag=old")["outputs"]] == both[1:]

    status, answer, _ = server.request("POST", "outputs/remove", {"sha256": [*both, "0" * 64]})
    assert (status, answer["problems"][0]["got"]) == (404, "0" * 64)  # and nothing is removed
    for _ in range(2):  # a repeated request gets the first answer
        status, answer, _ = server.request("POST", "outputs/remove", {"sha256": both}, Idempotency_Key="gone")
        assert (status, [file["sha256"] for file in answer["outputs"]]) == (200, both[::-1])
    assert server.get("outputs?tag=keep")["outputs"] == []
    assert not any((server.home / "output" / file["path"]).exists() for file in files)
    assert server.request("POST", "outputs/remove", {"sha256": []})[0] == 400
    assert server.request("POST", "outputs/zip", {"sha256": ["../x"]})[0] == 400


def test_saved_pictures_are_zipped_and_what_is_gone_is_listed(server):
    files = [server.wait(server.submit(s=use("SavePicture", level=level)))["files"][0] for level in (0.53, 0.54, 0.55)]
    data = [(server.home / "output" / file["path"]).read_bytes() for file in files]
    gone = files.pop()
    (server.home / "output" / gone["path"]).unlink()

    wanted = {"sha256": [file["sha256"] for file in (*files, gone)]}
    status, answer, headers = server.request("POST", "outputs/zip", wanted)

    assert (status, headers["Content-Type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(answer)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            files[0]["path"]: data[0],
            files[1]["path"]: data[1],
            "missing.txt": f"{gone['path']}\n".encode(),
        }
    assert server.request("POST", "outputs/zip", {"sha256": [gone["sha256"]]})[0] == 404


def test_a_dropped_picture_or_document_gives_its_workflow(server):
    job = server.wait(server.submit(s=use("SavePicture", level=0.375)))
    picture = server.request("GET", f"outputs/{job['files'][0]['sha256']}/content")[1]
    document = json.dumps(flow("p.image", p=use("Picture"))).encode()

    dropped = server.request("POST", "import", picture, Content_Type="image/png")[1]
    assert dropped["workflow"]["nodes"]["s"]["inputs"]["level"] == 0.375
    found = server.request("POST", "import", document)[1]
    assert list(found["workflow"]["nodes"]) == ["p"]
    foreign = server.request("POST", "import", b"PLANT", Content_Type="application/octet-stream")[1]
    assert (list(foreign["workflow"]["nodes"]), foreign["report"]) == (["p"], "a leaf")
    status, body, _ = server.request("POST", "import", b"\x00", Content_Type="application/octet-stream")
    assert (status, body["problems"][0]["code"]) == (422, "not_json")


# Events


def follow(server, last, **query):
    """Text pages, live records and previews that a socket gives until an event of that name."""

    async def go():
        events, live, previews = [], [], []
        async with aiohttp.ClientSession() as session:
            url = f"{server.address}/api/v1/events/socket"
            async with session.ws_connect(url, params={name: str(value) for name, value in query.items()}) as socket:
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.BINARY:
                        previews.append(message.data)
                        continue
                    page = json.loads(message.data)
                    events += page.get("events", [])
                    live += [page["live"]] if "live" in page else []
                    if events and events[-1]["event"] == last:
                        break
        return events, live, previews

    return asyncio.run(asyncio.wait_for(go(), PATIENCE))


def test_both_transports_tell_the_same_to_whoever_comes_when(server):
    job = server.order({"workflow": flow("s", s=use("Steps", steps=30, pause=0.02, after="x"))})

    early, live, _ = follow(server, "job_done", job=job)
    late, none, _ = follow(server, "job_done", job=job, after=0)

    assert early == late == server.events(job)
    assert none == []
    assert {record["event"] for record in live} <= {"node_progress"}
    assert len(live) + len(early) > 10
    half = early[len(early) // 2]["number"]
    assert server.get(f"events?job={job}&after={half}")["events"] == [e for e in early if e["number"] > half]


def test_previews_are_unnumbered_pictures(server):
    async def go():
        found = []
        async with aiohttp.ClientSession() as session:
            url = f"{server.address}/api/v1/events/socket?previews=true"
            async with session.ws_connect(url) as socket:
                await asyncio.to_thread(
                    server.order, {"workflow": flow("s", s=use("Steps", steps=20, pause=0.03, after="previews"))}
                )
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.BINARY:
                        found.append(message.data)
                    elif "job_done" in message.data:
                        break
        return found

    previews = asyncio.run(asyncio.wait_for(go(), PATIENCE))

    assert previews
    size = int.from_bytes(previews[0][:4], "big")
    head = json.loads(previews[0][4 : 4 + size])
    assert (head["node"], head["media"], previews[0][4 + size :][:2]) == ("s", "image/jpeg", b"\xff\xd8")


def test_a_poll_waits_for_the_next_event(server):
    async def go():
        async with aiohttp.ClientSession() as session:
            url = f"{server.address}/api/v1/events?after={server.get('system')['event']}&wait=30"
            waiting = asyncio.create_task(session.get(url))
            await asyncio.sleep(0.3)
            assert not waiting.done()
            await asyncio.to_thread(server.submit, "p.image", p=use("Picture"))
            return await (await waiting).json()

    assert asyncio.run(go())["events"][0]["event"] == "job_queued"


def test_a_client_that_never_reads_hurts_only_itself(server):
    async def go():
        async with aiohttp.ClientSession() as session:
            deaf = []
            for _ in range(5):
                socket = await session.ws_connect(f"{server.address}/api/v1/events/socket?after=0", autoclose=False)
                socket._response.connection.transport.pause_reading()
                deaf.append(socket)
            job = await asyncio.to_thread(server.order, {"workflow": flow("f", f=use("Flood", lines=5000))})
            return await asyncio.to_thread(server.wait, job)

    assert asyncio.run(go())["state"] == "done"
