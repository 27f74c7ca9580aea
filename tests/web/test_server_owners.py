"""Owners apart: for a user, what belongs to somebody else is what does not exist. And what each role may do."""

import asyncio
import io
import json
import re
import urllib.parse
import uuid
from pathlib import Path

import aiohttp
import pytest
from PIL import Image as Pil
from serving import Server, flow, until, use

from latentloom.web import app
from latentloom.web.app import route_table
from latentloom.web.openapi import plain_path
from latentloom.web.tokens import ROLES

NAMES = {"ann": "admin", "bob": "user", "cat": "user", "vic": "viewer", "moe": "monitor"}
SECRET = {name: f"a-long-secret-of-{name}" for name in NAMES}
TOKENS = ",".join(f"{name}:{role}:{SECRET[name]}" for name, role in NAMES.items())
PICTURE = {"p": use("SavePicture", level=0.25)}


def bearer(name):
    return {"Authorization": f"Bearer {SECRET[name]}"}


def ask(server, who, method, path, body=None, **headers):
    return server.request(method, path, body, **bearer(who), **headers)


def get(server, who, path):
    status, body, _ = ask(server, who, "GET", path)
    assert status == 200, body
    return body


def submit(server, who, nodes, outputs="", **more):
    order = {"workflow": flow(outputs, **nodes), **more}
    status, body, _ = until(lambda: (found := ask(server, who, "POST", "jobs", order))[0] != 503 and found)
    assert status == 201, body
    return body["id"]


def ended(server, who, job):
    return until(lambda: (found := get(server, who, f"jobs/{job}"))["state"] in ("done", "failed") and found)


def png(shade=0):
    out = io.BytesIO()
    Pil.new("RGB", (8, 8), (shade, 7, 9)).save(out, "PNG")
    return out.getvalue()


def form(**parts):
    """A body of form data and its media type; a value is a text, or a file name and its content."""
    lines = b""
    for name, value in parts.items():
        file, content = value if isinstance(value, tuple) else (None, value.encode())
        more = f'; filename="{file}"' if file else ""
        lines += f'--end\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + content + b"\r\n"
    return lines + b"--end--\r\n", {"Content_Type": "multipart/form-data; boundary=end"}


def graph(image="none.png"):
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": image}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "of-somebody"}},
    }


class Belongings:
    """What bob has on a server: a job with a picture, one that waits, and everything else that has an owner."""

    def __init__(self, server):
        self.done = submit(server, "bob", PICTURE, tags=["secret"])
        self.file = ended(server, "bob", self.done)["files"][0]
        self.upload = ask(server, "bob", "POST", "files", png(), Content_Type="image/png")[1]["name"]
        body, head = form(image=("holiday.png", png(1)))
        self.named = ask(server, "bob", "POST", "/upload/image", body, **head)[1]["name"]
        self.prompt = str(uuid.uuid4())
        queued = {"prompt": graph(self.named), "prompt_id": self.prompt}
        assert ask(server, "bob", "POST", "/prompt", queued)[1]["prompt_id"] == self.prompt
        history = until(lambda: get(server, "bob", f"/history/{self.prompt}"))[self.prompt]
        self.shown = history["outputs"]["2"]["images"][0]["filename"]
        new = {"If_None_Match": "*"}
        self.document = {
            **flow("", n=use("Note")),
            "inputs": [{"name": "prompt", "to": [{"node": "n", "input": "tag"}]}],
        }
        ask(server, "bob", "PUT", "workflows/mine", {"workflow": self.document}, **new)
        ask(server, "bob", "PUT", "drafts/bobs-draft", {"workflow": {"name": "half done"}}, **new)
        ask(server, "ann", "PATCH", "queue", {"paused": True})
        self.waiting = submit(server, "bob", PICTURE)
        named = [{"name": "level", "to": [{"node": "p", "input": "level"}]}]
        swept = {"workflow": {**flow("", **PICTURE), "inputs": named}, "rows": [{"level": 0.5}], "tags": ["of bob"]}
        self.batch = ask(server, "bob", "POST", "batches", swept)[1]["id"]

    @property
    def words(self):
        """Texts that say that something of bob's exists."""
        prompt = uuid.UUID(self.prompt).hex
        return [
            self.done,
            self.waiting,
            self.batch,
            "of bob",
            self.prompt,
            prompt,
            self.file["sha256"],
            self.upload,
            "holiday",
            "half done",
        ]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("owners") / "home"
    made = Server(home, "--comfy", "--openai", "--a1111", LATENTLOOM_TOKENS=TOKENS)
    yield made
    assert made.stop() == 0, made.log()


@pytest.fixture(scope="module")
def bobs(server):
    return Belongings(server)


# Nobody else's ids say anything

NOTHING = {
    "done": uuid.UUID(int=1).hex,
    "waiting": uuid.UUID(int=2).hex,
    "prompt": str(uuid.UUID(int=3)),
    "batch": uuid.UUID(int=4).hex,
    "sha256": "0" * 64,
    "upload": "by-owner/bob/by-hash/00/" + "0" * 64 + ".png",
    "named": "by-owner/bob/no-such.png",
    "shown": "no-such_00001_.png",
    "draft": "no-draft-2",
    "mine": "none",
}
MASK = [{"filename": "{named}", "type": "input"}, {"filename": "{shown}", "type": "output"}]
REQUESTS = [
    ("GET", "jobs/{done}"),
    ("GET", "jobs/{waiting}"),
    ("GET", "jobs/{done}/workflow"),
    ("POST", "jobs/{waiting}/cancel"),
    ("POST", "jobs/{done}/cancel"),
    ("POST", "jobs/{done}/retry"),
    ("POST", "jobs/{waiting}/move", {"to": "front"}),
    ("GET", "batches/{batch}"),
    ("GET", "batches/{batch}/cells"),
    ("GET", "batches/{batch}/table.csv"),
    ("GET", "batches/{batch}/sheet"),
    ("POST", "batches/{batch}/cancel"),
    ("POST", "batches/{batch}/retry"),
    ("GET", "jobs?owner=bob"),
    ("GET", "jobs?tag=secret"),
    ("GET", "events?job={done}"),
    ("GET", "events?job={waiting}&wait=1"),
    ("GET", "events/socket?job={done}"),
    ("GET", "outputs?job={done}"),
    ("GET", "outputs/{sha256}"),
    ("GET", "outputs/{sha256}/content"),
    ("GET", "outputs/{sha256}/thumbnail"),
    ("GET", "outputs/{sha256}/making"),
    ("DELETE", "outputs/{sha256}"),
    ("POST", "outputs/zip", {"sha256": ["{sha256}"]}),
    ("POST", "outputs/tags", {"sha256": ["{sha256}"], "add": ["mine"]}),
    ("POST", "outputs/remove", {"sha256": ["{sha256}"]}),
    ("GET", "drafts/{draft}"),
    ("PUT", "drafts/{draft}", {"workflow": {}}, {"If_Match": '"1"'}),
    ("DELETE", "drafts/{draft}", None, {"If_Match": "*"}),
    ("GET", "workflows/{mine}"),
    ("GET", "workflows/{mine}?version=1"),
    ("GET", "workflows/{mine}/versions"),
    ("PUT", "workflows/{mine}", {"workflow": flow("", n=use("Note"))}, {"If_Match": '"1"'}),
    ("DELETE", "workflows/{mine}", None, {"If_Match": "*"}),
    ("POST", "jobs", {"workflow_name": "{mine}"}),
    ("POST", "/v1/images/generations", {"model": "{mine}", "prompt": "x"}),
    ("GET", "/v1/models/{mine}"),
    ("POST", "/sdapi/v1/options", {"sd_model_checkpoint": "{mine}"}),
    *(
        ("POST", "jobs", {"workflow": flow("", n=use("Note")), "inputs": {"x": {"output": reference}}})
        for reference in ({"job": "{done}", "name": "p"}, {"job": "{waiting}", "name": "p"}, {"sha256": "{sha256}"})
    ),
    ("GET", "files/{upload}"),
    ("DELETE", "files/{upload}"),
    ("DELETE", "files/{named}"),
    ("GET", "files/{named}"),
    *(
        ("POST", path, {"workflow": flow("", i={"type": "LoadImage", "version": 1, "inputs": {"image": name}})})
        for path in ("jobs", "validate", "explain")
        for name in ("{upload}", "{named}", "x.png@sha256:{uploaded}")
    ),
    ("POST", "/prompt", {"prompt": graph("{named}")}),
    ("GET", "/history/{prompt}"),
    ("GET", "/api/jobs/{prompt}"),
    ("POST", "/api/jobs/{prompt}/cancel", {}),
    ("POST", "/api/jobs/cancel", {"job_ids": ["{prompt}"]}),
    ("POST", "/queue", {"delete": ["{prompt}"]}),
    ("POST", "/interrupt", {"prompt_id": "{prompt}"}),
    ("POST", "/history", {"delete": ["{prompt}"]}),
    ("GET", "/view?type=input&filename={named}"),
    ("GET", "/view?filename={shown}"),
    ("GET", "/view?filename={shown}&preview=webp"),
]


def filled(value, names):
    """A value with `{name}` replaced in all texts."""
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda match: names[match[1]], value)
    if isinstance(value, dict):
        return {name: filled(item, names) for name, item in value.items()}
    return [filled(item, names) for item in value] if isinstance(value, list) else value


def answered(server, request, names):
    """Status, headers and body of cat's request, with the names taken out again."""
    method, path, body, headers = (*request, None, {})[:4] if len(request) == 2 else (*request, {})[:4]
    status, answer, head = ask(server, "cat", method, filled(path, names), filled(body, names), **headers)
    text = answer.decode() if isinstance(answer, bytes) else json.dumps(answer)
    for name in names.values():
        text = text.replace(name, "...").replace(f"{name[:56]}..", "...")
    for header in ("Date", "Content-Length"):
        head.pop(header, None)
    return status, head, text


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: " ".join(map(str, request[:2]))[:70])
def test_what_is_somebody_elses_is_what_does_not_exist(server, bobs, request_):
    theirs = {
        **{name: getattr(bobs, name) for name in ("done", "waiting", "batch", "prompt", "upload", "named", "shown")},
        "sha256": bobs.file["sha256"],
        "uploaded": bobs.upload.rpartition("/")[2].removesuffix(".png"),
        "draft": "bobs-draft",
        "mine": "mine",
    }
    nothing = {**NOTHING, "uploaded": "1" * 64}

    assert answered(server, request_, theirs) == answered(server, request_, nothing)


def test_a_mask_does_not_open_somebody_elses_picture(server, bobs):
    found = []
    for original in ({"filename": bobs.named}, {"filename": bobs.shown, "type": "output"}, {"filename": "no-such.png"}):
        body, head = form(image=("mask.png", png()), original_ref=json.dumps(original))
        found.append(ask(server, "cat", "POST", "/upload/mask", body, **head)[:2])

    assert [status for status, _ in found] == [404] * 3
    assert found[0] == found[1] == found[2]


def test_a_prompt_id_that_somebody_else_uses_is_free(server, bobs):
    prompt, picture = str(uuid.uuid4()), ask(server, "cat", "POST", "files", png(3), Content_Type="image/png")[1]
    theirs, own = ({"prompt": graph(name), "prompt_id": prompt} for name in (bobs.named, picture["name"]))

    for who, order in (("bob", theirs), ("cat", own)):
        assert ask(server, who, "POST", "/prompt", order)[1]["prompt_id"] == prompt
        assert ask(server, who, "POST", "/prompt", order)[0] == 400
        assert get(server, who, "/queue")["queue_pending"][0][1] == prompt
    assert ask(server, "cat", "POST", "/queue", {"delete": [prompt]})[0] == 200
    assert list(get(server, "cat", f"/history/{prompt}")) == [prompt]
    assert get(server, "bob", f"/history/{prompt}") == {}
    assert ask(server, "bob", "POST", "/api/jobs/cancel", {"job_ids": [prompt]})[1] == {"cancelled": [prompt]}


LISTS = [
    "batches",
    "jobs",
    "jobs?state=queued,done",
    "queue",
    "system",
    "events",
    "outputs",
    "outputs?tag=secret",
    "drafts",
    "workflows",
    "files",
    "choices?source=input",
    "/prompt",
    "/queue",
    "/history",
    "/api/jobs",
    "/object_info/LoadImage",
    "/v1/models",
    "/sdapi/v1/sd-models",
    "/sdapi/v1/progress",
]


@pytest.mark.parametrize("path", LISTS)
def test_no_list_tells_of_somebody_elses(server, bobs, path):
    text = json.dumps(get(server, "cat", path))

    assert [word for word in bobs.words if word in text] == []


def test_counts_are_of_ones_own(server, bobs):
    own = submit(server, "cat", PICTURE)

    assert get(server, "cat", "queue") == {"paused": True, "counts": counts(server, "cat"), "waiting": [own]}
    assert get(server, "cat", "system")["queue"] == counts(server, "cat")
    assert get(server, "cat", "/prompt")["exec_info"]["queue_remaining"] == 1
    assert {bobs.waiting, own} <= set(get(server, "ann", "queue")["waiting"])
    assert ask(server, "cat", "POST", f"jobs/{own}/move", {"before": bobs.waiting})[1]["code"] == "unknown_job"
    assert ask(server, "cat", "POST", "queue/cancel")[1] == {"cancelled": [own]}
    assert get(server, "bob", f"jobs/{bobs.waiting}")["state"] == "queued"


def counts(server, who):
    found = {}
    for job in get(server, who, "jobs?limit=1000")["jobs"]:
        found[job["state"]] = found.get(job["state"], 0) + 1
    return found


def test_the_event_stream_is_of_ones_own(server, bobs):
    own = submit(server, "cat", PICTURE)
    ask(server, "cat", "POST", f"jobs/{own}/cancel")

    seen = {event["job"] for event in get(server, "cat", "events")["events"]}
    mine = {job["id"] for job in get(server, "cat", "jobs?limit=1000")["jobs"]}
    assert own in seen
    assert seen <= {"", *mine}
    assert {bobs.done, own} <= {event["job"] for event in get(server, "ann", "events")["events"]}
    assert bobs.done in {event["job"] for event in get(server, "vic", "events")["events"]}


def test_a_socket_sends_ones_own_events_and_previews(tmp_path):
    server = Server(tmp_path / "home", "--comfy", LATENTLOOM_TOKENS=TOKENS)
    flag = tmp_path / "go on"
    steps = {"s": use("Steps", steps=1000, pause=0.05, until=str(flag))}

    async def collect(session, who, path, found):
        async with session.ws_connect(f"{server.address}{path}", headers=bearer(who)) as socket:
            async for message in socket:
                found.append(message.data)

    async def go():
        bobs, cats, comfy = [], [], []
        path = "/api/v1/events/socket?previews=true"
        async with aiohttp.ClientSession() as session:
            ways = (("bob", path, bobs), ("cat", path, cats), ("cat", "/ws", comfy))
            tasks = [asyncio.create_task(collect(session, *way)) for way in ways]
            await asyncio.to_thread(until, lambda: comfy)
            job = await asyncio.to_thread(submit, server, "bob", steps, "s")
            await asyncio.to_thread(until, lambda: any(isinstance(data, bytes) for data in bobs))
            flag.touch()
            await asyncio.to_thread(ended, server, "bob", job)
            own = await asyncio.to_thread(submit, server, "cat", PICTURE)
            await asyncio.to_thread(ended, server, "cat", own)
            await asyncio.to_thread(until, lambda: any("job_done" in str(data) for data in cats) and len(comfy) > 2)
            for task in tasks:
                task.cancel()
        return job, cats, [json.loads(data)["type"] for data in comfy]

    try:
        job, seen, told = asyncio.run(go())
        assert [data for data in seen if isinstance(data, bytes) or job in data or "live" in data] == []
        assert told == ["status"] * 3  # when it connects, and for cat's own job; bob's would be two more
    finally:
        server.kill()


# What is one's own


def test_the_same_content_of_two_owners_is_two_files(server, bobs):
    ask(server, "ann", "PATCH", "queue", {"paused": False})
    job = submit(server, "cat", PICTURE)
    file = ended(server, "cat", job)["files"][0]
    assert file["sha256"] == bobs.file["sha256"]

    assert get(server, "cat", f"outputs/{file['sha256']}")["job"] == job
    assert ask(server, "cat", "DELETE", f"outputs/{file['sha256']}")[0] == 200
    assert ask(server, "cat", "GET", f"outputs/{file['sha256']}/content")[0] == 404
    assert ask(server, "bob", "GET", f"outputs/{file['sha256']}/content")[0] == 200
    ask(server, "ann", "PATCH", "queue", {"paused": True})


def test_everybody_has_drafts_and_workflows_of_their_own(server, bobs):
    new = {"If_None_Match": "*"}
    other = {"workflow": flow("", other=use("Note"))}

    assert ask(server, "cat", "PUT", "drafts/bobs-draft", {"workflow": {"name": "cat's"}}, **new)[0] == 201
    assert get(server, "bob", "drafts/bobs-draft")["name"] == "half done"
    assert ask(server, "cat", "PUT", "workflows/mine", other, **new)[0] == 201
    assert list(get(server, "cat", "workflows/mine")["workflow"]["nodes"]) == ["other"]
    assert list(get(server, "bob", "workflows/mine")["workflow"]["nodes"]) == ["n"]
    assert ask(server, "cat", "DELETE", "workflows/mine", If_Match='"1"')[0] == 200
    assert ask(server, "cat", "DELETE", "drafts/bobs-draft", If_Match='"1"')[0] == 200


def test_an_admins_workflows_are_for_everybody_and_a_change_is_a_copy(server):
    new = {"If_None_Match": "*"}
    shared, own = ({"workflow": flow("", **{name: use("Note", journal="", tag="")})} for name in ("shared", "own"))
    assert ask(server, "ann", "PUT", "workflows/house", shared, **new)[0] == 201

    status, seen, headers = ask(server, "cat", "GET", "workflows/house")
    assert (status, seen["version"], list(seen["workflow"]["nodes"])) == (200, 0, ["shared"])
    assert ("house", 0) in [(one["name"], one["version"]) for one in get(server, "cat", "workflows")["workflows"]]
    assert ask(server, "cat", "PUT", "workflows/house", own, If_Match=headers["ETag"])[1]["version"] == 1
    assert list(get(server, "cat", "workflows/house")["workflow"]["nodes"]) == ["own"]
    assert list(get(server, "cat", "workflows/house?version=0")["workflow"]["nodes"]) == ["shared"]
    assert list(get(server, "bob", "workflows/house")["workflow"]["nodes"]) == ["shared"]
    assert ask(server, "cat", "DELETE", "workflows/house", If_Match="*")[0] == 200
    assert list(get(server, "cat", "workflows/house")["workflow"]["nodes"]) == ["shared"]
    assert ask(server, "cat", "DELETE", "workflows/house", If_Match="*")[0] == 404


def test_pictures_of_the_operator_are_for_everybody_and_uploads_are_not(server, bobs):
    (server.home / "input" / "logo.png").write_bytes(png(9))
    admins = ask(server, "ann", "POST", "files", png(10), Content_Type="image/png")[1]["name"]

    assert get(server, "cat", "files/logo.png") == png(9)
    assert "logo.png" in get(server, "cat", "files")["files"]
    assert ask(server, "cat", "GET", f"files/{admins}")[0] == 404
    assert {bobs.upload, bobs.named, admins} <= set(get(server, "ann", "files")["files"])
    assert {bobs.upload, bobs.named} <= set(get(server, "bob", "files")["files"])
    assert ask(server, "cat", "DELETE", "files/logo.png")[1]["code"] == "forbidden"
    own = ask(server, "cat", "POST", "files", png(11), Content_Type="image/png")[1]["name"]
    assert ask(server, "cat", "DELETE", f"files/{own}")[0] == 200
    (thrown,) = (path.name for path in (server.home / "input" / ".trash").iterdir())
    assert ask(server, "cat", "GET", f"files/.trash/{thrown}")[0] == 404
    for way in ("./", "x/../", "by-owner/cat/../bob/../../"):
        status = ask(server, "cat", "GET", f"files/{urllib.parse.quote(way, safe='')}{admins}")[0]
        assert status in (400, 404)


def test_an_upload_does_not_replace_somebody_elses(server, bobs):
    body, head = form(image=("holiday.png", png(99)), overwrite="true", subfolder="")

    assert ask(server, "cat", "POST", "/upload/image", body, **head)[1] == {
        "name": "by-owner/cat/holiday.png",
        "subfolder": "",
        "type": "input",
    }
    assert get(server, "bob", f"files/{bobs.named}") == png(1)
    for folder in ("../bob", "../../by-owner/bob", "/by-owner/bob"):
        body, head = form(image=("holiday.png", png(98)), overwrite="true", subfolder=folder)
        ask(server, "cat", "POST", "/upload/image", body, **head)
    assert get(server, "bob", f"files/{bobs.named}") == png(1)


# Roles


def allowed(role, route):
    """Whether the table says that a role may call a route."""
    return route.public or role in route.roles


@pytest.mark.parametrize("who", NAMES)
def test_the_role_decides_before_anything_is_read(server, who):
    for route in route_table():
        path = re.sub(r"\{\w+\}", "x", plain_path(route.path)).replace("assets/x", "assets/x.js")
        path = path.replace("outputs/x", f"outputs/{'0' * 64}")
        if (route.method, path) in (("PATCH", "/api/v1/queue"), ("POST", "/api/v1/logout"), ("POST", "/")):
            continue
        if allowed(NAMES[who], route) and route.method not in ("GET", "HEAD"):
            continue
        status, body, _ = ask(server, who, route.method, f"{path}?nonsense=1")
        refused = status == 403 and body["problems"][0].get("got") == NAMES[who]
        assert refused is not allowed(NAMES[who], route), (who, route.method, path, body)


def test_what_a_user_and_a_viewer_may_not():
    may = {role: {(r.method, r.path) for r in route_table() if not r.public and role in r.roles} for role in ROLES}
    changes = {(method, path) for method, path in may["user"] if method not in ("GET", "HEAD")}

    assert may["admin"] == {(r.method, r.path) for r in route_table() if not r.public}
    assert may["admin"] - may["user"] == {("PATCH", "/api/v1/queue"), ("GET", "/metrics")}
    assert changes & may["viewer"] == {
        ("POST", f"/api/v1/{name}")
        for name in ("validate", "explain", "compare", "tokenize", "import", "logout", "outputs/zip")
    }
    assert may["monitor"] == {("GET", "/metrics"), ("POST", "/api/v1/logout")}


def test_a_priority_has_a_limit(server):
    body = {"workflow": flow("", **PICTURE), "priority": 1}

    status, answer, _ = ask(server, "cat", "POST", "jobs", body)
    assert (status, answer["problems"]) == (
        403,
        [
            {
                "code": "forbidden",
                "message": "the role of this token does not allow that priority",
                "expected": "at most 0",
                "got": "1",
            }
        ],
    )
    assert ask(server, "ann", "POST", "jobs", body)[0] == 201
    assert ask(server, "cat", "POST", "jobs", {**body, "priority": -1})[0] == 201


def test_the_metrics_are_for_those_who_may(server):
    assert [ask(server, who, "GET", "/metrics")[0] for who in NAMES] == [200, 403, 403, 200, 200]
    assert server.request("GET", "/metrics")[0] == 401


def test_the_metrics_can_be_for_everybody(own_server):
    server = own_server(LATENTLOOM_TOKENS=TOKENS, LATENTLOOM_PUBLIC_METRICS="true")

    assert server.request("GET", "/metrics")[0] == 200
    assert server.request("GET", "/api/v1/system")[0] == 401


def test_everybody_learns_who_they_are(server):
    found = {who: get(server, who, "system") for who in ("ann", "bob", "vic")}

    assert {who: (one["owner"], one["role"]) for who, one in found.items()} == {
        "ann": ("ann", "admin"),
        "bob": ("bob", "user"),
        "vic": ("vic", "viewer"),
    }


def test_routes_reach_the_database_and_the_pictures_as_their_caller_only():
    texts = {path.name: path.read_text() for path in (Path(app.__file__).parent / "routes").glob("*.py")}
    whole = [
        name for name, text in texts.items() for _ in re.findall(r"services\.store\.|_catalog\b|files\(None", text)
    ]

    assert whole == ["system.py"]  # the metrics, which count all jobs
