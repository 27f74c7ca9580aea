"""Who is let in, and what is served: every row of the security record has its test here."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
import zlib

import pytest
from PIL import Image as Pil
from serving import Server, flow, use

from latentloom.web.app import route_table
from latentloom.web.openapi import plain_path

SECRET = "a-long-enough-secret"
ROUTES = [(route.method, plain_path(route.path), route.public) for route in route_table()]
HEALTH = ("/healthz", "/livez", "/readyz")
BROWSER = {"Sec_Fetch_Site": "same-origin"}


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A server with two tokens."""
    made = Server(tmp_path_factory.mktemp("locked") / "home", LATENTLOOM_TOKENS=f"ann:{SECRET},bob:{SECRET}-too")
    yield made
    made.kill()


def bearer(secret=SECRET):
    return {"Authorization": f"Bearer {secret}"}


def path_of(template: str) -> str:
    return re.sub(r"\{\w+\}", "x", template)


# Tokens and cookies


@pytest.mark.parametrize(("method", "path", "public"), ROUTES)
def test_every_route_is_closed_without_a_token(locked, method, path, public):
    status, body, headers = locked.request(method, path_of(path))

    if path in (*HEALTH, "/api/v1/login") or (method, path) == ("POST", "/"):
        assert (public, status in (200, 415, 503)) == (True, True)
    else:
        assert (status, body["code"], headers["WWW-Authenticate"]) == (401, "unauthorized", "Bearer")


def test_what_is_public_is_a_short_list():
    assert {(method, path) for method, path, public in ROUTES if public} == {
        ("GET", "/"),
        ("POST", "/"),
        ("POST", "/api/v1/login"),
        *((method, path) for method in ("GET", "HEAD") for path in HEALTH),
    }


def test_an_unknown_path_is_closed_too(locked):
    assert locked.request("GET", "/etc/passwd")[0] == 401
    assert locked.request("GET", "/etc/passwd", **bearer())[1]["code"] == "not_found"


def test_each_token_is_somebody(locked):
    body = {"workflow": flow("p.image", p=use("Picture"))}
    while (found := locked.request("POST", "jobs", body, **bearer(f"{SECRET}-too")))[0] == 503:
        pass

    assert found[1]["owner"] == "bob"
    assert locked.request("GET", "jobs?owner=ann", **bearer())[1]["jobs"] == []


def test_a_one_time_address_gives_a_cookie_once(locked):
    path = locked.once.partition("localhost")[2].partition("/")[2]
    code = path.partition("code=")[2]
    form = {"Content_Type": "application/x-www-form-urlencoded", "Sec_Fetch_Site": "same-origin"}

    for _ in range(2):  # whatever looks at the address, for instance for the preview of a message, uses nothing up
        status, page, headers = locked.request(
            "GET", f"/{path}", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate"
        )
        assert (status, "Set-Cookie" in headers, headers["Referrer-Policy"]) == (200, False, "same-origin")
        assert f'name="code" value="{code}"'.encode() in page
    assert locked.request("POST", "/", f"code={code}".encode(), **{**form, "Sec_Fetch_Site": "cross-site"})[0] == 403
    status, _, headers = locked.request("POST", "/", f"code={code}".encode(), Origin=locked.address, **form)
    cookie = headers["Set-Cookie"]

    assert (status, headers["Location"]) == (303, "./")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    value = cookie.partition(";")[0]
    assert locked.request("GET", "system", Cookie=value)[0] == 200
    assert locked.request("PATCH", "queue", {"paused": False}, Cookie=value)[1]["code"] == "forbidden"
    assert locked.request("PATCH", "queue", {"paused": False}, Cookie=value, Origin=locked.address)[0] == 200
    assert locked.request("POST", "/", f"code={code}".encode(), **form)[0] == 401
    assert locked.request("POST", "/", {"code": code})[0] == 415
    forged = value.replace("ann", "bob")
    assert locked.request("GET", "system", Cookie=forged)[0] == 401


def test_a_login_gives_a_cookie(locked):
    status, _, headers = locked.request("POST", "login", {"token": SECRET})

    assert status == 200
    assert locked.request("GET", "system", Cookie=headers["Set-Cookie"].partition(";")[0])[0] == 200
    assert locked.request("POST", "login", {"token": "wrong"})[0] == 401


def test_guessing_is_slowed_down(own_server):
    server = own_server(LATENTLOOM_TOKENS=SECRET)

    statuses = [server.request("GET", "system", **bearer(f"guess {n}"))[0] for n in range(22)]

    assert statuses == [401] * 20 + [429] * 2


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1"])
def test_an_open_address_without_a_token_is_refused(tmp_path, host):
    command = [sys.executable, "-c", "import sys; from latentloom.cli.main import main; sys.exit(main())"]
    done = subprocess.run(
        [*command, "serve", "--host", host], env={"LATENTLOOM_HOME": str(tmp_path)}, capture_output=True, text=True
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert f"bad_setting: the server would listen on {host} for everybody" in done.stderr


def test_a_short_secret_is_refused_and_not_told(tmp_path):
    command = [sys.executable, "-c", "import sys; from latentloom.cli.main import main; sys.exit(main())"]
    environment = {"LATENTLOOM_HOME": str(tmp_path), "LATENTLOOM_TOKENS": "hunter2"}
    done = subprocess.run([*command, "serve"], env=environment, capture_output=True, text=True)

    assert done.returncode == 2
    assert "hunter2" not in done.stderr


def test_secrets_are_not_in_the_log_nor_in_the_workers(locked):
    for seat in locked.request("GET", "system", **bearer())[1]["workers"]:
        if seat["pid"]:
            with open(f"/proc/{seat['pid']}/environ") as file:
                assert SECRET not in file.read()
    assert SECRET not in locked.log()


# Other sites' pages


@pytest.mark.parametrize(
    "host", ["evil.test", "127.0.0.1.evil.test", "", "evil.test:80", "[::1", "localhost@evil.test"]
)
def test_a_foreign_name_is_refused(server, host):
    status, body, _ = server.request("GET", "system", Host=host)

    assert status in (400, 403), body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8420", "localhost."])
def test_its_own_names_are_not(server, host):
    assert server.request("GET", "/healthz", Host=host)[0] == 200


def test_an_allowed_name_is_let_in(own_server):
    server = own_server("--allow-host", "draw.test")

    assert server.request("GET", "/healthz", Host="draw.test")[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.test"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"},
    ],
    ids=str,
)
@pytest.mark.parametrize(("method", "path"), [("POST", "jobs"), ("GET", "outputs"), ("GET", "events/socket")])
def test_what_another_sites_page_sends_is_refused(server, method, path, headers):
    status, body, _ = server.request(method, path, **headers)

    assert (status, body["code"]) == (403, "forbidden")


def test_its_own_pages_may_ask(server):
    assert server.request("GET", "system", Origin=server.address, **BROWSER)[0] == 200


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_form_of_another_type_is_no_order(server, media):
    status, body, _ = server.request("POST", "jobs", b"{}", Content_Type=media)

    assert (status, body["code"]) == (415, "unsupported_media")


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/docs", "/api/v1/nothing", "/api/v1/system"])
def test_every_answer_has_the_safe_headers(server, path):
    headers = server.request("GET", path)[2]

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "Server" not in headers
    assert "Access-Control-Allow-Origin" not in headers


# Files


def png(width=4, height=4) -> bytes:
    out = io.BytesIO()
    Pil.new("RGB", (width, height), "red").save(out, "PNG")
    return out.getvalue()


def bomb() -> bytes:
    """A PNG of a few kilobytes that says it has 40,000 x 40,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = (40_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(100_000)))
        + chunk(b"IEND", b"")
    )


def test_an_upload_is_named_by_its_content_and_can_be_used(server):
    status, stored, _ = server.request("POST", "files", png(), Content_Type="image/png")

    assert (status, stored["width"], stored["name"]) == (
        201, 4, f"by-hash/{stored['sha256'][:2]}/{stored['sha256']}.png",
    )  # fmt: skip
    assert server.request("GET", f"files/{stored['name']}")[1] == png()
    assert stored["name"] in server.get("files")["files"]


@pytest.mark.parametrize(
    "data",
    [
        b"<script>alert(1)</script>",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"\x89PNG\r\n\x1a\n<script>alert(1)</script>",
        b"GIF89a/*<script>*/",
        bomb(),
        b"\x80\x04cos\nsystem\n.",
        b"",
    ],
    ids=["html", "svg", "polyglot png", "polyglot gif", "bomb", "pickle", "empty"],
)
def test_what_is_no_picture_is_not_kept(server, data):
    before = server.get("files")["files"]

    status, body, _ = server.request("POST", "files", data, Content_Type="image/png")

    assert (status, body["problems"][0]["code"]) == (422, "bad_file")
    assert server.get("files")["files"] == before
    assert list((server.home / "data" / "uploads").iterdir()) == []


def test_an_upload_has_a_limit(own_server):
    server = own_server(LATENTLOOM_UPLOAD_BYTES="1000")

    assert server.request("POST", "files", bytes(1001), Content_Type="image/png")[1]["code"] == "body_too_large"


def test_a_body_has_a_limit(own_server):
    server = own_server(LATENTLOOM_REQUEST_BYTES="2000", LATENTLOOM_REQUEST_NODES="3")

    assert server.request("POST", "validate", {"workflow": {"x": "y" * 3000}})[1]["code"] == "body_too_large"
    nodes = {f"n{n}": use("Picture") for n in range(4)}
    while (found := server.request("POST", "validate", {"workflow": flow("", **nodes)}))[0] == 503:
        pass
    assert found[1]["problems"][0]["code"] == "too_large"


@pytest.mark.parametrize("path", ["jobs", "files"])
def test_a_compressed_body_is_not_unpacked(server, path):
    data, media = zlib.compress(bytes(10_000_000)), "application/json" if path == "jobs" else "image/png"

    status, body, _ = server.request("POST", path, data, Content_Type=media, Content_Encoding="deflate")

    assert (status, body["code"]) == (415, "unsupported_media")


NAMES = [
    "../secret",
    "..%2fsecret",
    "%2e%2e/secret",
    "..\\secret",
    "/etc/passwd",
    "//etc/passwd",
    "C:/x",
    "a\0b",
    "link",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_out_of_the_input_folder(server, name, tmp_path):
    (server.home / "secret").write_text("secret")
    link = server.home / "input" / "link"
    if not link.is_symlink():
        link.symlink_to(server.home / "secret")

    quoted = name.replace("\0", "%00").replace("\\", "%5c")
    status, body, _ = server.request("GET", f"files/{quoted}")

    assert status in (400, 404)
    assert body != b"secret"


def test_a_file_that_is_no_picture_is_never_shown(server):
    for name, text in (("page.png", "<script>"), ("page.html", "<script>"), ("page.svg", "<svg/>")):
        (server.home / "input" / name).write_text(text)
        _, _, headers = server.request("GET", f"files/{name}")

        assert headers["Content-Type"] == "application/octet-stream"
        assert headers["Content-Disposition"] == "attachment"
        assert headers["Content-Security-Policy"] == "sandbox; default-src 'none'"


def test_a_text_of_a_client_is_never_a_path_of_the_server(server, tmp_path):
    """What the command line copies into the input folder when it is given a path, the server must not."""
    (tmp_path / "mine.png").write_bytes(png())
    document = {
        "format": "latentloom/1",
        "inputs": [{"name": "image", "to": [{"node": "l", "input": "image"}]}],
        "nodes": {"l": {"type": "LoadImage", "version": 1, "inputs": {}}},
        "outputs": [{"name": "o", "from": {"node": "l", "output": "image"}}],
    }
    order = {"workflow": document, "inputs": {"image": str(tmp_path / "mine.png")}}

    status, body, _ = server.request("POST", "jobs", order)

    assert (status, body["problems"][0]["code"]) == (422, "path_refused")
    order["inputs"] = {"image": {"base64": base64.b64encode(png()).decode()}}
    assert server.wait(server.order(order))["state"] == "done"


@pytest.mark.parametrize("source", ["models/../../..", "/etc", "models/", "../models/checkpoints"])
def test_no_folder_beside_the_models_is_looked_into(server, source):
    status, body, _ = server.request("POST", "models/hash", {"source": source, "name": "passwd"})

    assert (status, body["code"]) == (404, "not_found")
    assert server.get(f"choices?source={source}")["choices"] == []


# Bodies


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "NaN", '{"workflow": NaN}', '{"workflow": {}, "workflow": {}}', "[" * 100_000,
        '{"priority": ' + "9" * 5000 + "}", '{"workflow": {"name": "\\ud800"}}', "\ufeff{}", '{"inputs": []}',
        '{"workflow": {}, "surprise": 1}', '{"workflow": {"format": "latentloom/1", "nodes": {"a": 1}}}',
        '{"workflow": {}, "tags": [1]}', '{"workflow": {}, "outputs": "x"}',
        '{"workflow_name": "nope"}', '{"workflow_name": "../../etc/passwd"}',
    ],
    ids=range(18),
)  # fmt: skip
@pytest.mark.parametrize("path", ["jobs", "validate", "explain"])
def test_a_malformed_body_is_the_clients_fault(server, path, text):
    status, body, _ = server.request("POST", path, text.encode("utf-8", "surrogatepass"))

    assert 400 <= status < 500 or (path == "validate" and status == 200 and body["problems"]), body
    assert status == 200 or body.keys() == {"code", "message", "problems"}


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=" + "9" * 30, "limit=1&limit=2", "surprise=1", "before=nope"]
)
def test_a_malformed_query_is_too(server, query):
    assert server.request("GET", f"jobs?{query}")[0] in (400, 404)


@pytest.mark.parametrize("query", ["outputs?before=", "events?after=", "workflows/txt2img?version="])
def test_a_number_beyond_the_databases_is_too(server, query):
    assert server.request("GET", query + str(2**63))[0] == 400
    assert server.request("GET", query + str(2**63 - 1))[0] in (200, 404, 410)


def test_a_cycle_and_a_self_link_are_problems(server):
    cycle = flow("a", a=use("Note", journal="x", tag="@b"), b=use("Note", journal="x", tag="@a"))

    problems = server.request("POST", "validate", {"workflow": cycle})[1]["problems"]

    assert [problem["code"] for problem in problems] == ["cycle"]


def test_errors_have_one_shape(server):
    for method, path in (("GET", "nothing"), ("PUT", "system"), ("GET", "jobs/x"), ("GET", "outputs/x")):
        _, body, headers = server.request(method, path)
        assert body.keys() == {"code", "message", "problems"}
        assert json.dumps(body["problems"])
        assert headers["Content-Type"].startswith("application/json")


# Headers that are none


BROKEN = [
    "http://[::1",
    "http://[",
    "\x80\xff",
    "a" * 8000,
    "",
    "]",
    "::",
    "%",
    '"',
    "bytes=9-1",
    "bytes=-",
    "W/",
    "=;=;",
]


@pytest.mark.parametrize(
    "name",
    ["Origin", "Host", "Cookie", "Range", "If-Match", "If-None-Match", "If-Range", "If-Modified-Since", "Referer",
     "Authorization", "Content-Type", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Upgrade", "Accept", "X-Forwarded-For",
     "Forwarded", "Accept-Encoding", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol"],
)  # fmt: skip
def test_a_malformed_header_is_the_clients_fault(server, locked, name):
    for value in BROKEN:
        for made, path in ((server, "system"), (server, "/"), (locked, "system"), (server, "events/socket")):
            status, body, _ = made.request("GET", path, **{name: value})
            assert status < 500, (value, path, body)
        shake = {"Upgrade": "websocket", "Connection": "Upgrade", name: value}
        status, body, _ = server.request("GET", "events/socket", **shake)
        assert status < 500, (value, body)
        status, body, _ = server.request("PUT", "drafts/broken", {"workflow": {}}, **{name: value})
        assert status < 500, (value, body)


def test_a_malformed_origin_is_a_foreign_one(server):
    status, body, _ = server.request("GET", "system", Origin="http://[::1")

    assert (status, body["code"], body["problems"][0]["got"]) == (403, "forbidden", "Origin: http://[::1")


def test_health_may_be_asked_for_its_head(server, locked):
    for made in (server, locked):
        assert made.request("HEAD", "/healthz")[:2] == (200, b"")


@pytest.mark.parametrize("states", ["x,,,", "done,", ",", "", "DONE", "done,x"])
def test_a_state_that_there_is_not_is_refused(server, states):
    status, body, _ = server.request("GET", f"jobs?state={states}")

    assert (status, body["code"], body["message"]) == (400, "bad_request", "there is no such state")
    assert server.request("GET", "jobs?state=done,failed")[0] == 200


def test_a_folder_that_was_removed_under_way_is_made_again(own_server):
    server = own_server().until_ready()
    for folder in ("data/uploads", "data/thumbnails", "input"):
        shutil.rmtree(server.home / folder)

    assert server.request("POST", "files", png(), Content_Type="image/png")[0] == 201
    job = server.wait(server.submit(p=use("SavePicture")))
    sha256 = server.get(f"jobs/{job['id']}")["files"][0]["sha256"]
    assert server.request("GET", f"outputs/{sha256}/thumbnail")[0] == 200
    assert server.request("POST", "import", b"PLANT", Content_Type="application/octet-stream")[0] == 200


def test_a_folder_that_cannot_be_made_is_told(own_server):
    server = own_server().until_ready()
    shutil.rmtree(server.home / "data" / "uploads")
    (server.home / "data" / "uploads").write_text("a file")

    status, body, _ = server.request("POST", "files", png(), Content_Type="image/png")

    told = "a file of the server cannot be used: File exists"
    assert (status, body["code"], body["message"]) == (507, "storage_failed", told)


# Size


def test_a_flood_of_unknown_keys_is_told_in_short(server):
    flood = {f"k{n}": 1 for n in range(300_000)}
    bodies = [flow(p=use("Picture")) | flood, flow(p=use("Picture", **flood))]

    for body in ({"workflow": bodies[0]}, {"workflow": bodies[1]}, {"workflow": flow(), **flood}):
        for path in ("validate", "jobs"):
            status, answer, _ = server.request("POST", path, body)
            assert status in (200, 400, 422)
            assert len(answer["problems"]) == 200
            assert answer["problems"][-1]["code"] == "more_problems"
            assert len(json.dumps(answer)) < 200_000


def test_names_have_an_end(server):
    long = "x" * 3_000_000
    status, answer, _ = server.request(
        "POST", "jobs", {"workflow": {**flow("p.image", p=use("Picture")), "name": long}}
    )
    assert (status, answer["problems"][0]["message"]) == (413, "the workflow's name is too long")

    status, answer, _ = server.request("POST", "jobs", {"workflow": flow("p.image", p=use("Picture")), "tags": [long]})
    assert (status, answer["problems"][0]["input"]) == (400, "tags.0")

    assert server.request("PUT", "drafts/long", {"workflow": {"name": long}}, If_Match="*")[1]["name"] == "x" * 200
    assert {draft["name"] for draft in server.get("drafts")["drafts"]} >= {"x" * 200}
